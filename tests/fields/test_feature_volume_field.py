"""VolumeGAN's field: the recorded numbers of the release, and what styles which part."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from gan3d_ns.errors import UserError
from gan3d_ns.field_components.frequency_encoding import frequency_encoding
from gan3d_ns.fields.base_field import tetrahedral_gradient
from gan3d_ns.fields.feature_volume_field import FeatureVolumeField, FeatureVolumeFieldConfig

TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}
RECORDED = FeatureVolumeFieldConfig(
    latent_dim=16, mapping_dim=24, code_dim=32, volume_channels=(16, 8, 8), hidden_dim=16, feature_dim=16
)
SMALL = FeatureVolumeFieldConfig(
    latent_dim=4, mapping_dim=5, mapping_layers=2, code_dim=6, volume_channels=(4, 3), hidden_dim=7, num_layers=3,
    feature_dim=5, position_octaves=2, coordinate_scale=8.0, constant_std=1.0,
)  # fmt: skip
RENDERER_LAYERS = ("first", "second")


@pytest.fixture
def published(load_fixture) -> FeatureVolumeField:
    field = FeatureVolumeField(RECORDED)
    weights = load_fixture("volumegan_generator_weights")
    field.load_authors_weights({name.removeprefix("weights/"): tensor for name, tensor in weights.items()})
    return field


def small_field(**changes) -> FeatureVolumeField:
    torch.manual_seed(0)
    return FeatureVolumeField(dataclasses.replace(SMALL, **changes), renderer_layers=RENDERER_LAYERS)


def points_and_directions() -> tuple[torch.Tensor, torch.Tensor]:
    directions = torch.nn.functional.normalize(torch.randn(2, 40, 3), dim=-1)
    return torch.rand(2, 40, 3) * 0.4 - 0.2, directions


def test_codes_match_the_original(published, load_fixture) -> None:
    mapping = load_fixture("volumegan_mapping")
    torch.testing.assert_close(published.mapping(mapping["z"]), mapping["w"], **TOLERANCE)


def test_densities_and_features_match_the_original(published, load_fixture) -> None:
    mapping, expected = load_fixture("volumegan_mapping"), load_fixture("volumegan_field")
    torch.testing.assert_close(frequency_encoding(expected["points"], 10), expected["encoded_points"], **TOLERANCE)
    points = expected["points"].expand(4, -1, -1)
    density, feature = published(points, torch.zeros_like(points), published.condition(mapping["w"]))
    torch.testing.assert_close(density, expected["density_raw"], **TOLERANCE)
    torch.testing.assert_close(feature, expected["feature"], **TOLERANCE)


def test_the_first_code_drives_volume_and_first_layer_in_the_release(published, load_fixture) -> None:
    codes, expected = load_fixture("volumegan_mapping")["w"], load_fixture("volumegan_field")
    layers = codes.expand(5, -1, -1).clone()
    layers[:2] = codes.roll(-1, dims=0)
    points = expected["points"].expand(4, -1, -1)
    density = published.geometry_logits(points, published.condition_layers(layers))
    torch.testing.assert_close(density, expected["density_raw_layer0_rolled"], **TOLERANCE)


def test_the_published_sizes_have_the_published_number_of_weights() -> None:
    field = FeatureVolumeField(FeatureVolumeFieldConfig())
    count = {name: sum(entry.numel() for entry in part.parameters()) for name, part in field.named_children()}
    assert count.pop("mapping_network") == 2_101_248
    assert count["volume"] == 3_440_032
    assert sum(count.values()) == 4_236_544


@pytest.mark.parametrize("network", ["modulated", "film-siren"])
def test_volume_code_and_layer_codes_decide_their_own_parts(network) -> None:
    field = small_field(network=network)
    codes = torch.randn(2, 6)
    plain = field.condition(codes)
    layers = codes.expand(len(field.style_layers), -1, -1).clone()
    layers[0] = torch.randn(2, 6)
    other_volume = field.condition_layers(layers)
    assert (other_volume.volume - plain.volume).abs().max() > 1e-3
    for name in ("entry", "matrices", "offsets", "renderer_codes"):
        assert torch.equal(getattr(other_volume, name), getattr(plain, name))
    layers[:] = codes
    layers[list(field.appearance_layers)] = torch.randn(len(field.appearance_layers), 2, 6)
    other_appearance = field.condition_layers(layers)
    assert torch.equal(other_appearance.volume, plain.volume)
    assert (other_appearance.entry - plain.entry).abs().max() > 1e-3
    assert torch.equal(other_appearance.renderer_codes[:, 1], layers[-1])
    layers[:] = codes
    layers[-len(RENDERER_LAYERS) :] = torch.randn(len(RENDERER_LAYERS), 2, 6)
    other_texture = field.condition_layers(layers)
    points, directions = points_and_directions()
    for seen, expected in zip(field(points, directions, other_texture), field(points, directions, plain), strict=True):
        assert torch.equal(seen, expected), "codes of the renderer alone leave the feature field as it is"
    assert field.style_layers == ("volume", "field 1", "field 2", "field 3", *RENDERER_LAYERS)


def test_without_a_volume_points_have_no_descriptors() -> None:
    field = small_field(use_volume=False)
    points, directions = points_and_directions()
    styles = field.condition(torch.randn(2, 6))
    assert field.descriptors(points, styles).shape == (2, 40, 0)
    values, features = field(points, directions, styles)
    assert values.shape == (2, 40)
    assert features.shape == (2, 40, 5)
    assert not any(name.startswith("volume.") for name in field.state_dict())
    assert 0 < len(field.appearance_layers) < len(field.style_layers)


def test_only_the_papers_variant_looks_at_the_view() -> None:
    points, directions = points_and_directions()
    for seen in (False, True):
        field = small_field(use_view_directions=seen)
        styles = field.condition(torch.randn(2, 6))
        (values, features), (other_values, others) = (field(points, sign * directions, styles) for sign in (1.0, -1.0))
        assert torch.equal(values, other_values)
        assert torch.equal(features, others) != seen


def test_without_a_renderer_points_have_colours() -> None:
    points, directions = points_and_directions()
    field = small_field(feature_dim=None)
    colours = field(points, directions, field.condition(torch.randn(2, 6)))[1]
    assert colours.shape == (2, 40, 3)
    assert (colours > 0).all()
    assert (colours < 1).all()
    assert len(field.style_layers) == 4


def test_the_start_shape_holds_until_geometry_is_released() -> None:
    field = small_field(start_shape=True)
    points, _ = points_and_directions()
    field.release_geometry(0.0)
    values = field.geometry_logits(points, field.condition(torch.randn(2, 6)))
    radius = 0.75 * 0.12  # the start shape's defaults
    assert torch.equal(values > 0, points.norm(dim=-1) < radius)


@pytest.mark.parametrize("network", ["modulated", "film-siren"])
def test_the_gradient_while_learning_is_the_gradient(network) -> None:
    field = small_field(network=network, position_octaves=0, coordinate_scale=1.0, start_shape=True)
    points, _ = points_and_directions()
    points = points * 0.2
    styles = field.condition(torch.randn(2, 6))
    with torch.no_grad():
        exact = field.logit_gradient(points, styles)
        fine = tetrahedral_gradient(lambda entry: field.geometry_logits(entry, styles), points, 1e-3)
    while_learning = field.logit_gradient(points, styles)
    assert while_learning.requires_grad
    for other in (fine, while_learning):
        alike = torch.nn.functional.cosine_similarity(exact, other.detach(), dim=-1)
        assert alike.median() > 0.99


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(UserError, match="at least 1"):
        FeatureVolumeFieldConfig(volume_channels=())
    with pytest.raises(UserError, match="empty"):
        FeatureVolumeFieldConfig(box_low=(0.2, 0.0, 0.0))
