"""GRAF's conditional NeRF against the numbers of the original release, and the laws of its two codes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from gan3d_ns.errors import UserError
from gan3d_ns.field_components.start_shape import StartShapeConfig
from gan3d_ns.fields.nerf_field import NerfField, NerfFieldConfig, world_to_field_rotation

TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}
RECORDED = NerfFieldConfig(shape_dim=8, appearance_dim=8, hidden_dim=32)
SMALL = NerfFieldConfig(shape_dim=4, appearance_dim=3, hidden_dim=16, num_layers=4, skip_layer=1, position_octaves=3)


def weights_in(arrays: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("weights/"): value for name, value in arrays.items() if name.startswith("weights/")}


def to_world(field: NerfField, vectors: Tensor) -> Tensor:
    return vectors @ field.rotation


def inputs(num: int = 20, batch: int = 2) -> tuple[Tensor, Tensor]:
    positions = 0.1 * torch.randn(batch, num, 3)
    return positions, torch.nn.functional.normalize(torch.randn(batch, num, 3), dim=-1)


def small(**changes) -> NerfField:
    torch.manual_seed(0)
    return NerfField(replace(SMALL, **changes))


@pytest.mark.parametrize("front", [0.0, 45.0])
def test_values_and_colours_match_the_original(load_fixture, front: float) -> None:
    expected = load_fixture("graf_field")
    field = NerfField(replace(RECORDED, front_azimuth_deg=front))
    field.load_authors_weights(weights_in(load_fixture("graf_generator_weights")))
    positions = to_world(field, expected["points"]).expand(4, -1, -1) / 10
    directions = to_world(field, expected["dirs"]).expand(4, -1, -1)
    latents = expected["z"]
    styles = field.condition(field.mapping(latents))
    values, rgb = field(positions, directions, styles)
    assert_close(values, expected["density_raw"], **TOLERANCE)
    assert_close(rgb, expected["rgb"], **TOLERANCE)
    assert_close(field.geometry_logits(positions, styles), expected["density_raw"], **TOLERANCE)
    swapped = torch.cat((latents[:, :8], latents.roll(-1, 0)[:, 8:]), dim=1)
    _, recoloured = field(positions, directions, field.condition(swapped))
    assert_close(recoloured, expected["rgb_appearance_rolled"], **TOLERANCE)


def test_without_view_directions_too(load_fixture) -> None:
    expected, inputs_ = load_fixture("graf_field_noviewdirs"), load_fixture("graf_field")
    field = NerfField(replace(RECORDED, use_view_directions=False))
    field.load_authors_weights(weights_in(expected))
    positions = to_world(field, inputs_["points"]).expand(4, -1, -1) / 10
    values, rgb = field(positions, torch.randn(4, 64, 3), field.condition(inputs_["z"]))
    assert_close(values, expected["density_raw"], **TOLERANCE)
    assert_close(rgb, torch.sigmoid(expected["rgb_pre"]), **TOLERANCE)


def test_full_size_has_the_parameter_count_of_the_release() -> None:
    assert sum(parameter.numel() for parameter in NerfField(NerfFieldConfig()).parameters()) == 677_764


@pytest.mark.parametrize(
    "changes",
    [{}, {"skip_layer": None}, {"positional_encoding": False}, {"use_view_directions": False}, {"skip_layer": 2}],
)
def test_the_codes_enter_as_if_they_were_repeated_at_each_point(changes) -> None:
    """The network as the paper draws it: codes are concatenated to each point's encoding."""
    from gan3d_ns.field_components.frequency_encoding import frequency_encoding

    field = small(**changes)
    positions, directions = inputs()
    latents = torch.randn(2, 7)
    shape, appearance = (code[:, None].expand(-1, 20, -1) for code in latents.split((4, 3), dim=1))
    encode = field.config.positional_encoding
    encoded = frequency_encoding(10 * positions @ field.rotation.T, 3 if encode else 0)
    entry = torch.cat((encoded, shape), dim=-1)
    hidden = entry
    for index, layer in enumerate(field.trunk):
        hidden = torch.relu(layer(hidden))
        if index == field.config.skip_layer:
            hidden = torch.cat((entry, hidden), dim=-1)
    parts = [field.feature(hidden)]
    if field.config.use_view_directions:
        parts.append(frequency_encoding(directions @ field.rotation.T, 4 if encode else 0))
    colour = field.colour_head(torch.relu(field.colour_layer(torch.cat((*parts, appearance), dim=-1))))
    values, rgb = field(positions, directions, field.condition(latents))
    assert_close(values, field.geometry_head(hidden)[..., 0], atol=1e-5, rtol=1e-5)
    assert_close(rgb, torch.sigmoid(colour), atol=1e-5, rtol=1e-5)


def test_another_appearance_leaves_geometry_alone_and_another_shape_does_not() -> None:
    field = small()
    positions, directions = inputs(batch=1)
    latent, other = torch.randn(2, 1, 7)
    parts = field.latent_parts
    values, rgb = field(positions, directions, field.condition(latent))
    for part, same in (("appearance", True), ("shape", False)):
        mixed = latent.clone()
        mixed[:, parts[part]] = other[:, parts[part]]
        mixed_values, mixed_rgb = field(positions, directions, field.condition(mixed))
        assert torch.equal(mixed_values, values) is same
        assert not torch.allclose(mixed_rgb, rgb)


def test_only_colour_depends_on_the_view_and_only_where_asked_for() -> None:
    positions, directions = inputs()
    for wanted in (True, False):
        field = small(use_view_directions=wanted)
        styles = field.condition(torch.randn(2, 7))
        values, rgb = field(positions, directions, styles)
        other_values, other_rgb = field(positions, -directions, styles)
        assert torch.equal(values, other_values)
        assert torch.equal(rgb, other_rgb) is not wanted


def test_every_weight_learns() -> None:
    field = small()
    values, rgb = field(*inputs(), field.condition(torch.randn(2, 7)))
    (values.sum() + rgb.sum()).backward()
    assert all(parameter.grad is not None for parameter in field.parameters())


@pytest.mark.parametrize("front", [0.0, 35.0, -120.0])
def test_the_world_is_turned_and_not_mirrored(front: float) -> None:
    rotation = world_to_field_rotation(front)
    assert_close(rotation @ rotation.T, torch.eye(3), atol=1e-6, rtol=0)
    assert_close(torch.linalg.det(rotation), torch.tensor(1.0))
    azimuth = torch.deg2rad(torch.tensor(front))
    up, forward = torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])
    assert_close(rotation @ up, torch.tensor([0.0, 0.0, 1.0]))
    assert_close(rotation @ forward, torch.stack((azimuth.cos(), azimuth.sin(), torch.zeros(()))))


def test_a_start_shape_is_the_first_surface() -> None:
    shape = StartShapeConfig(geometry_rate=0.0)
    field = NerfField(replace(SMALL, start_shape=True), shape)
    positions, _ = inputs()
    expected = field.start_shape(torch.zeros(2, 20), positions)  # type: ignore[misc]
    assert_close(field.geometry_logits(positions, field.condition(torch.randn(2, 7))), expected)
    field.release_geometry(0.25)
    assert float(field.state_dict()["start_shape.geometry_release"]) == 0.25


@pytest.mark.parametrize("changes", [{"skip_layer": 3}, {"skip_layer": -1}, {"shape_dim": 0}, {"hidden_dim": 1}])
def test_impossible_sizes_are_refused(changes) -> None:
    with pytest.raises(UserError, match=r"skip_layer is|at least"):
        replace(SMALL, **changes)


def test_weights_of_another_size_are_refused(load_fixture) -> None:
    with pytest.raises(RuntimeError, match="size mismatch"):
        NerfField(replace(RECORDED, hidden_dim=16)).load_authors_weights(
            weights_in(load_fixture("graf_generator_weights"))
        )
