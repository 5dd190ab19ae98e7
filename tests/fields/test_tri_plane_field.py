"""Laws of the tri-plane field: planes, gradients, the ellipsoid that it starts from and the envelope that it keeps."""

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


def silence(field: TriPlaneField, logit: float = 0.0) -> None:
    """Makes the decoder answer one logit everywhere."""
    torch.nn.init.zeros_(field.geometry_decoder[2].weight)
    torch.nn.init.constant_(field.geometry_decoder[2].bias, logit)


def test_a_silent_decoder_leaves_the_sphere_with_outward_normals(field) -> None:
    silence(field)
    styles = field.condition(field.mapping(torch.randn(1, 8)))
    directions = torch.nn.functional.normalize(torch.randn(1, 100, 3), dim=-1)
    surface = directions * 0.12 * field.config.sphere_prior_radius
    torch.testing.assert_close(field.geometry_logits(surface, styles), torch.zeros(1, 100), atol=1e-5, rtol=0)
    with torch.no_grad():
        torch.testing.assert_close(field.normals(surface, styles), directions, atol=1e-3, rtol=0)


def test_the_backdrop_is_a_wall_behind_the_sphere(field) -> None:
    silence(field)
    field.config.backdrop = -0.5
    styles = field.condition(field.mapping(torch.randn(1, 8)))
    points = torch.tensor([[[0.14, 0.1, -0.055], [0.14, 0.1, -0.065], [0.0, 0.0, 0.08], [0.1, 0.0, 0.05]]])
    matter = field.geometry_logits(points, styles)[0] > 0
    assert matter.tolist() == [False, True, True, False]


def test_unreleased_geometry_is_the_start_shape(field) -> None:
    styles = field.condition(field.mapping(torch.randn(1, 8)))
    positions = (torch.rand(1, 64, 3) - 0.5) * 0.2
    field.geometry_release.fill_(0.0)
    held = field.geometry_logits(positions, styles)
    silence(field)
    torch.testing.assert_close(held, field.geometry_logits(positions, styles))


def test_matter_cannot_fill_the_near_plane(field) -> None:
    """Even a decoder that wants matter everywhere leaves the near plane of a frontal camera free."""
    silence(field, 10.0)
    styles = field.condition(field.mapping(torch.randn(1, 8)))
    lateral = torch.linspace(-0.1, 0.1, 9)
    x, y = torch.meshgrid(lateral, lateral, indexing="xy")
    near_plane = torch.stack((x, y, torch.full_like(x, 0.12)), dim=-1).reshape(1, -1, 3)
    assert (field.geometry_logits(near_plane, styles) < 0).all()
    assert field.geometry_logits(torch.zeros(1, 1, 3), styles) > 0


def test_geometry_alone_equals_geometry_with_colour(field) -> None:
    styles = field.condition(field.mapping(torch.randn(2, 8)))
    positions = (torch.rand(2, 50, 3) - 0.5) * 0.2
    logits, rgb = field(positions, torch.randn(2, 50, 3), styles)
    torch.testing.assert_close(field.geometry_logits(positions, styles), logits)
    assert ((rgb > 0) & (rgb < 1)).all()
