"""CAMPARI's two networks against the numbers of the original release, and the laws of their four codes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor
from torch.testing import assert_close

from gan3d_ns.errors import UserError
from gan3d_ns.field_components.inverted_sphere import inverted_sphere_points
from gan3d_ns.field_components.start_shape import StartShapeConfig
from gan3d_ns.fields.decomposed_field import DecomposedField, DecomposedFieldConfig

TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}
# The recorded heads have weights up to 50 000 that nearly cancel: what was recorded is itself this far from the values
# in double precision.
CANCELLING = {"atol": 4e-3, "rtol": 1e-4}
RECORDED = DecomposedFieldConfig(shape_dim=8, appearance_dim=8, hidden_dim=24)
SMALL = DecomposedFieldConfig(shape_dim=3, appearance_dim=2, hidden_dim=16, num_layers=3, position_octaves=3)


def recorded_field(load_fixture, collection: str, **changes) -> DecomposedField:
    field = DecomposedField(replace(RECORDED, background_field=collection == "celeba", **changes))
    weights = load_fixture(f"campari_{collection}_generator_weights")
    field.load_authors_weights(
        {name.removeprefix("weights/"): value for name, value in weights.items() if "latent_cameras" not in name}
    )
    return field


def recorded_latents(arrays: dict[str, Tensor], background: bool) -> Tensor:
    """Shape codes first: of object and background, then the appearance codes."""
    codes = [arrays["z_fg"], arrays["z_bg"]] if background else [arrays["z_fg"]]
    return torch.cat([code[:, :8] for code in codes] + [code[:, 8:] for code in codes], dim=1)


def small(**changes) -> DecomposedField:
    torch.manual_seed(0)
    return DecomposedField(replace(SMALL, **changes))


def some_rays(num: int = 30, batch: int = 2) -> RayBundle:
    directions = torch.nn.functional.normalize(torch.randn(batch, num, 3), dim=-1)
    return RayBundle(0.4 * torch.randn(batch, num, 3), directions, torch.ones(batch, num, 1))


@pytest.mark.parametrize("collection", ["celeba", "carla"])
def test_values_and_colours_match_the_original(load_fixture, collection: str) -> None:
    expected, field = load_fixture(f"campari_{collection}_field"), recorded_field(load_fixture, collection)
    positions = (expected["points"] @ field.rotation).expand(4, -1, -1)
    directions = torch.nn.functional.normalize(expected["dirs"], dim=-1).expand(4, -1, -1)
    styles = field.condition(recorded_latents(expected, field.has_backdrop))
    values, rgb = field(positions, directions @ field.rotation, styles)
    assert_close(values, expected["density_raw"], **CANCELLING)
    assert_close(rgb, expected["rgb"], **TOLERANCE)
    assert_close(field.geometry_logits(positions, styles), expected["density_raw"], **CANCELLING)
    if field.has_backdrop:
        values, rgb = field.background_at(expected["points_bg"].expand(4, -1, -1), directions, styles)
        assert_close(values, expected["bg_density_raw"], **CANCELLING)
        assert_close(rgb, expected["bg_rgb"], **TOLERANCE)


def test_the_backdrop_matches_the_original(load_fixture) -> None:
    camera, expected = load_fixture("campari_celeba_camera"), load_fixture("campari_celeba_render")
    field = recorded_field(load_fixture, "celeba", background_samples=4)
    views, objects = [1, 2, 1, 2], [0, 0, 1, 1]
    origins = camera["ray_origins"][views].reshape(4, 64, 3) @ field.rotation
    directions = torch.nn.functional.normalize(camera["ray_dirs"][views], dim=-1).reshape(4, 64, 3) @ field.rotation
    rays = RayBundle(origins, directions, torch.ones(4, 64, 1))
    latents = recorded_latents(load_fixture("campari_celeba_field"), True)[objects]
    shown = field.backdrop(rays, field.condition(latents))
    assert_close(shown.reshape(4, 8, 8, 3).permute(0, 3, 1, 2), expected["bg_rgb"], **TOLERANCE)
    radii = field.inverse_radii(rays)
    assert_close(radii[:, 0], expected["bg_s"], **TOLERANCE)
    points = inverted_sphere_points(field.in_field(origins), field.in_field(directions), radii)
    assert_close(points[0].reshape(8, 8, 4, 4), expected["bg_points"], **TOLERANCE)


def test_full_size_has_the_parameter_counts_of_the_release() -> None:
    """Those of the release include the layers of a skip connection that it never uses."""

    def count(module: torch.nn.Module | None) -> int:
        assert module is not None
        return sum(parameter.numel() for parameter in module.parameters())

    with_skip = DecomposedField(DecomposedFieldConfig(skip_layer=4))
    assert (count(with_skip.object), count(with_skip.background)) == (202_116, 207_492)
    without = DecomposedField(DecomposedFieldConfig())
    assert count(with_skip.object) - count(without.object) == (63 + 1 + 128 + 1) * 128


def test_the_skip_connection_adds_position_and_shape_again(load_fixture) -> None:
    off, on = recorded_field(load_fixture, "carla"), recorded_field(load_fixture, "carla", skip_layer=4)
    expected = load_fixture("campari_carla_field")
    positions, latents = expected["points"][None], expected["z_fg"][:1]
    with torch.no_grad():
        on.object.skip.weight.zero_(), on.object.skip.bias.zero_(), on.object.shape_skip.weight.zero_()
        on.object.shape_skip.bias.zero_()
    same = off.geometry_logits(positions, off.condition(latents))
    assert_close(on.geometry_logits(positions, on.condition(latents)), same, atol=1e-5, rtol=1e-5)
    torch.nn.init.normal_(on.object.shape_skip.weight)
    assert not torch.allclose(on.geometry_logits(positions, on.condition(latents)), same, atol=1e-3)


def test_points_of_the_inverted_sphere_lie_on_their_rays() -> None:
    """At inverse distance s, the point unit / s is on the ray, ahead of the origin."""
    rays = some_rays()
    origins, directions = rays.origins.double() / 2, torch.nn.functional.normalize(rays.directions.double(), dim=-1)
    inverse = torch.rand(2, 30, 6).double() * 0.95 + 0.05
    points = inverted_sphere_points(origins, directions, inverse)
    assert_close(points[..., :3].norm(dim=-1), torch.ones_like(inverse))
    from_origin = points[..., :3] / inverse[..., None] - origins[..., None, :]
    ahead = (from_origin * directions[..., None, :]).sum(dim=-1)
    assert (ahead > 0).all()
    assert_close(from_origin, ahead[..., None] * directions[..., None, :], atol=1e-8, rtol=1e-8)
    at_infinity = inverted_sphere_points(origins, directions, torch.zeros(2, 30, 1).double())
    assert_close(at_infinity[:, :, 0, :3], directions)


def test_cameras_outside_the_sphere_still_see_numbers() -> None:
    field, rays = small(background_radius=0.2), some_rays()
    shown = field.backdrop(rays, field.condition(torch.randn(2, 10)))
    assert shown.isfinite().all()
    assert ((shown >= 0) & (shown <= 1)).all()


@pytest.mark.parametrize("activation", ["relu", "softplus"])
def test_background_weights_conserve_light(activation) -> None:
    """Their sum is 1 where the last sample is matter, which is endless; with softplus it always is."""
    field = small(background_activation=activation)
    values, radii = torch.randn(500, 5), torch.linspace(1, 0, 5).expand(500, 5)
    weights = field.background_weights(values, radii)
    last = (values[:, -1] > 0) | torch.tensor(activation == "softplus")
    assert_close(weights.sum(dim=-1)[last], torch.ones(int(last.sum())), atol=1e-6, rtol=1e-6)
    assert activation == "softplus" or (weights.sum(dim=-1)[~last] < 1).any()


def test_jittered_samples_stay_in_order_and_differ_from_ray_to_ray() -> None:
    field, rays = small(background_samples=6), some_rays()
    radii = field.inverse_radii(rays, torch.Generator().manual_seed(1))
    assert (radii[..., 1:] <= radii[..., :-1]).all()
    assert ((radii >= 0) & (radii <= 1)).all()
    assert radii.std(dim=1).min() > 0


def seen(field: DecomposedField, latents: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(3)
    rays = some_rays(batch=1)
    styles = field.condition(latents)
    values, rgb = field(rays.origins, rays.directions, styles)
    return {"values": values, "colours": rgb, "backdrop": field.backdrop(rays, styles)}


def test_each_code_changes_its_part_alone() -> None:
    """The latent holds the shape codes of object and background, then their appearance codes."""
    field = small()
    first, other = torch.randn(2, 1, 10)
    before = seen(field, first)
    changes = [
        (slice(0, 3), {"values", "colours"}),
        (slice(3, 6), {"backdrop"}),
        (slice(6, 8), {"colours"}),
        (slice(8, 10), {"backdrop"}),
    ]
    for part, changed in changes:
        mixed = first.clone()
        mixed[:, part] = other[:, part]
        after = seen(field, mixed)
        assert {name for name in before if not torch.equal(before[name], after[name])} == changed, part
    assert field.latent_parts == {"shape": slice(0, 6), "appearance": slice(6, 10)}


def test_style_layers_can_be_exchanged_one_by_one() -> None:
    field = small(skip_layer=1)
    codes = torch.randn(2, 1, 10)
    alone, other = field.condition(codes[0]), field.condition(codes[1])
    assert len(field.style_layers) == 4
    mixed = field.condition_layers(torch.stack((codes[0], codes[1], codes[1], codes[0])))
    assert torch.equal(mixed.entry, alone.entry) and torch.equal(mixed.skip, alone.skip)
    assert torch.equal(mixed.colour, other.colour) and torch.equal(mixed.background_entry, other.background_entry)
    assert torch.equal(mixed.background_colour, alone.background_colour)


def test_without_a_background_there_is_none() -> None:
    field = small(background_field=False)
    assert (field.latent_dim, field.has_backdrop, field.style_layers) == (5, False, ("shape", "colour"))
    values, _ = field(*torch.randn(2, 1, 4, 3), field.condition(torch.randn(1, 5)))
    assert values.shape == (1, 4)


def test_noise_reaches_the_background_in_training_alone() -> None:
    field, rays = small(), some_rays()
    styles = field.condition(torch.randn(2, 10))

    def shown(std: float, jitter: int | None = 0) -> Tensor:
        field.backdrop_noise_std = std
        return field.backdrop(rays, styles, None if jitter is None else torch.Generator().manual_seed(jitter))

    assert not torch.equal(shown(0.0), shown(1.0))
    assert torch.equal(shown(0.0, None), shown(1.0, None))


def test_geometry_starts_as_a_sphere_where_asked_for() -> None:
    field = small(start_shape=True, coordinate_scale=16.0)
    shape = StartShapeConfig()
    field.release_geometry(0.0)
    radius = shape.sphere_prior_radius * min(shape.box_half_sides)
    directions = torch.nn.functional.normalize(torch.randn(1, 50, 3), dim=-1)
    styles = field.condition(torch.randn(1, 10))
    assert (field.geometry_logits(0.95 * radius * directions, styles) > 0).all()
    assert (field.geometry_logits(1.05 * radius * directions, styles) < 0).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"shape_dim": 0}, "codes of 1 number"),
        ({"skip_layer": 7}, "skip_layer is 7"),
        ({"background_radius": 0.0}, "background_radius is 0"),
    ],
)
def test_impossible_sizes_are_refused(settings, words: str) -> None:
    with pytest.raises(UserError, match=words):
        DecomposedFieldConfig(**settings)
