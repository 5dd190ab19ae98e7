"""Laws of the tri-plane field: planes, modulation and gradients. Its start shape has tests of its own."""

from __future__ import annotations

import pytest
import torch

from gan3d_ns.errors import UserError
from gan3d_ns.field_components.modulated import ModulatedConv2d
from gan3d_ns.field_components.tri_plane import sample_tri_planes
from gan3d_ns.fields.tri_plane_field import TriPlaneField, TriPlaneFieldConfig


def test_geometry_planes_of_a_side_that_is_not_drawn_are_refused() -> None:
    with pytest.raises(UserError, match="geometry_side is 5"):
        TriPlaneField(TriPlaneFieldConfig(geometry_side=5))


@pytest.fixture
def field() -> TriPlaneField:
    return TriPlaneField(
        TriPlaneFieldConfig(latent_dim=8, generator_channels=(16, 16, 8), plane_channels=4, geometry_side=8)
    )


def test_planes_are_read_bilinearly_at_their_own_axes() -> None:
    """A plane that holds its own horizontal coordinate gives that coordinate back, inside the outer texel centres."""
    side = 8
    ramp = (torch.arange(side) + 0.5) / side * 2 - 1
    empty = torch.zeros(side, side)
    positions = (torch.rand(1, 64, 3) - 0.5) * 1.7
    for plane, (horizontal, vertical) in enumerate(((0, 1), (0, 2), (2, 1))):
        for pattern, axis in ((ramp.expand(side, side), horizontal), (ramp[:, None].expand(side, side), vertical)):
            planes = torch.stack([pattern if index == plane else empty for index in range(3)])[None, :, None]
            reads = sample_tri_planes(planes, positions)[..., 0]
            torch.testing.assert_close(reads, positions[..., axis], atol=1e-5, rtol=1e-5)


def test_points_outside_the_box_read_the_border() -> None:
    planes = torch.rand(1, 3, 2, 8, 8)
    outside = sample_tri_planes(planes, torch.tensor([[[3.0, 0.2, -5.0]]]))
    border = sample_tri_planes(planes, torch.tensor([[[1.0, 0.2, -1.0]]]))
    torch.testing.assert_close(outside, border)


def test_modulation_equals_convolving_with_modulated_and_demodulated_weights() -> None:
    layer = ModulatedConv2d(3, 5, code_dim=4)
    features, code = torch.randn(2, 3, 8, 8), torch.randn(2, 4)
    expected = []
    for image, style in zip(features, layer.style(code), strict=True):
        weight = layer.weight * style[None, :, None, None]
        weight = weight * torch.rsqrt(weight.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8)
        expected.append(torch.nn.functional.conv2d(image[None], weight, padding=1))
    torch.testing.assert_close(layer(features, code), torch.cat(expected), atol=1e-5, rtol=1e-4)


def test_differences_agree_with_automatic_gradients_where_the_logit_is_smooth(field) -> None:
    styles = field.condition(field.mapping(torch.randn(1, 8)))
    smooth = torch.nn.functional.avg_pool2d(styles.geometry_planes[0], 5, 1, 2, count_include_pad=False)[None]
    styles = type(styles)(smooth, styles.colour_planes)
    positions = (torch.rand(1, 200, 3) - 0.5) * 0.1
    with torch.no_grad():
        exact = field.normals(positions, styles)
    differences = field.normals(positions, styles)
    assert (exact * differences).sum(dim=-1).mean() > 0.99
    assert differences.requires_grad


def test_geometry_alone_equals_geometry_with_colour(field) -> None:
    styles = field.condition(field.mapping(torch.randn(2, 8)))
    positions = (torch.rand(2, 50, 3) - 0.5) * 0.2
    logits, rgb = field(positions, torch.randn(2, 50, 3), styles)
    torch.testing.assert_close(field.geometry_logits(positions, styles), logits)
    assert ((rgb > 0) & (rgb < 1)).all()
