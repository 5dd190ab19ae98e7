"""Laws of the start shape, in each field that has one: the sphere, the wall behind it, the envelope and the release."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gan3d_ns.errors import UserError
from gan3d_ns.field_components.hash_encoding import HashTableConfig
from gan3d_ns.field_components.start_shape import StartShapeConfig
from gan3d_ns.fields.hash_grid_field import HashGridField, HashGridFieldConfig
from gan3d_ns.fields.tri_plane_field import TriPlaneField, TriPlaneFieldConfig

ShapedField = TriPlaneField | HashGridField
MakeField = Callable[..., ShapedField]


@pytest.fixture(params=["tri-plane", "hash"])
def make_field(request: pytest.FixtureRequest) -> MakeField:
    """A small field of each kind from a start shape's settings."""

    def make(**settings: object) -> ShapedField:
        shape = StartShapeConfig(**settings)  # type: ignore[arg-type]
        if request.param == "tri-plane":
            config = TriPlaneFieldConfig(latent_dim=8, generator_channels=(16, 16, 8), geometry_side=8)
            return TriPlaneField(config, shape)
        table = HashTableConfig(num_levels=2, base_resolution=4, finest_resolution=8, log2_table_size=8)
        return HashGridField(HashGridFieldConfig(latent_dim=8, geometry=table, colour=table, hidden_dim=16), shape)

    return make


def silence(field: ShapedField, logit: float = 0.0) -> None:
    """Makes the decoder answer one logit everywhere."""
    if isinstance(field, TriPlaneField):
        last = field.geometry_decoder[2]
        assert isinstance(last, nn.Linear)
        weights, bias = [last.weight], last.bias
    else:
        layer = field.geometry_network.layers[-1]
        weights, bias = [layer.weight, layer.shift.weight], layer.shift.bias  # type: ignore[union-attr,list-item]
    for weight in weights:
        nn.init.zeros_(weight)  # type: ignore[arg-type]
    nn.init.constant_(bias, logit)  # type: ignore[arg-type]


def styles_of(field: ShapedField) -> object:
    return field.condition(field.mapping(torch.randn(1, 8)))


def test_a_silent_decoder_leaves_the_sphere_with_outward_normals(make_field: MakeField) -> None:
    field = make_field()
    silence(field)
    directions = torch.nn.functional.normalize(torch.randn(1, 100, 3), dim=-1)
    surface = directions * 0.12 * field.start_shape.config.sphere_prior_radius
    styles = styles_of(field)
    torch.testing.assert_close(field.geometry_logits(surface, styles), torch.zeros(1, 100), atol=1e-5, rtol=0)
    with torch.no_grad():
        torch.testing.assert_close(field.normals(surface, styles), directions, atol=1e-3, rtol=0)


def test_the_backdrop_is_a_wall_behind_the_sphere(make_field: MakeField) -> None:
    field = make_field(backdrop=-0.5)
    silence(field)
    points = torch.tensor([[[0.14, 0.1, -0.055], [0.14, 0.1, -0.065], [0.0, 0.0, 0.08], [0.1, 0.0, 0.05]]])
    matter = field.geometry_logits(points, styles_of(field))[0] > 0
    assert matter.tolist() == [False, True, True, False]


def test_unreleased_geometry_is_the_start_shape(make_field: MakeField) -> None:
    field = make_field()
    styles, positions = styles_of(field), (torch.rand(1, 64, 3) - 0.5) * 0.2
    free = field.geometry_logits(positions, styles)
    field.release_geometry(0.0)
    held = field.geometry_logits(positions, styles)
    silence(field)
    torch.testing.assert_close(held, field.geometry_logits(positions, styles_of(field)))
    assert not torch.allclose(held, free)
    assert "start_shape.geometry_release" in field.state_dict(), "a viewer opens a run with the release that it had"


def test_matter_cannot_fill_the_near_plane(make_field: MakeField) -> None:
    """Even a decoder that wants matter everywhere leaves the near plane of a frontal camera free."""
    field = make_field()
    silence(field, 10.0)
    styles, lateral = styles_of(field), torch.linspace(-0.1, 0.1, 9)
    x, y = torch.meshgrid(lateral, lateral, indexing="xy")
    near_plane = torch.stack((x, y, torch.full_like(x, 0.12)), dim=-1).reshape(1, -1, 3)
    assert (field.geometry_logits(near_plane, styles) < 0).all()
    assert field.geometry_logits(torch.zeros(1, 1, 3), styles) > 0


def test_displacement_is_bounded(make_field: MakeField) -> None:
    """Whatever the decoder wants, the sphere's surface moves by no more than the bound."""
    field = make_field(max_displacement=0.1)
    config, directions = field.start_shape.config, torch.nn.functional.normalize(torch.randn(1, 50, 3), dim=-1)
    for logit, offset in ((1e3, -0.101), (1e3, 0.099), (-1e3, -0.099), (-1e3, 0.101)):
        silence(field, logit)
        points: Tensor = directions * 0.12 * (config.sphere_prior_radius + offset)
        inside = field.geometry_logits(points, styles_of(field)) > 0
        assert inside.all() if offset < 0.1 * (1 if logit > 0 else -1) else not inside.any()


def test_the_box_is_the_fields() -> None:
    shape = StartShapeConfig(box_half_sides=(0.2, 0.1, 0.3))
    for field in (TriPlaneField(TriPlaneFieldConfig(latent_dim=8), shape), HashGridField(HashGridFieldConfig(), shape)):
        assert field.half_sides == (0.2, 0.1, 0.3)
        corner = torch.tensor([[0.2, -0.1, 0.3]])
        torch.testing.assert_close(field.start_shape.in_box(corner), torch.tensor([[1.0, -1.0, 1.0]]))
        assert field.start_shape.smallest_half_side == 0.1


def test_a_displacement_that_is_no_length_is_refused() -> None:
    with pytest.raises(UserError, match="give a positive length"):
        StartShapeConfig(max_displacement=0.0)
