"""GIRAFFE's scene against the numbers of the original release, and the laws of its composition."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from giraffe_release import RECORDED, recorded_field, recorded_latents
from torch import Tensor
from torch.testing import assert_close

from gan3d_ns.errors import UserError
from gan3d_ns.fields.composite_field import CompositeField, CompositeFieldConfig, CompositeStyles, composed
from gan3d_ns.fields.giraffe_decoder import GiraffeDecoderConfig
from gan3d_ns.fields.placement import PlacementConfig, first_free, in_box, number_of_objects, turned, uniforms_of

TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}
SMALL = replace(
    RECORDED,
    objects=GiraffeDecoderConfig(
        shape_dim=3, appearance_dim=2, hidden_dim=16, num_layers=4, skip_layers=(2,), position_octaves=3
    ),
    background=GiraffeDecoderConfig(
        shape_dim=2, appearance_dim=3, hidden_dim=8, num_layers=2, skip_layers=(), input_scale=12.0, position_octaves=2
    ),
    feature_dim=5,
)


def to_world(field: CompositeField, vectors: Tensor) -> Tensor:
    return vectors @ field.rotation


def world_points(field: CompositeField, points: Tensor) -> Tensor:
    return to_world(field, points)[None] / field.config.coordinate_scale


def directions_of(field: CompositeField, rays: Tensor) -> Tensor:
    return torch.nn.functional.normalize(to_world(field, rays), dim=-1)[None]


def small(seed: int = 0, **changes) -> CompositeField:
    torch.manual_seed(seed)
    field = CompositeField(replace(SMALL, **changes))
    with torch.no_grad():  # matter in about half of the space
        for decoder in (field.object_decoder, field.background_decoder):
            decoder.density_head.weight *= 20.0
    return field


def inputs(num: int = 40, batch: int = 2) -> tuple[Tensor, Tensor]:
    """Points in and around the boxes, and directions."""
    return 0.25 * torch.randn(batch, num, 3), torch.nn.functional.normalize(torch.randn(batch, num, 3), dim=-1)


def styles_of(field: CompositeField, batch: int = 2) -> CompositeStyles:
    return field.condition(torch.randn(batch, field.latent_dim))


def test_both_decoders_match_the_original(load_fixture) -> None:
    field, expected = recorded_field(load_fixture), load_fixture("giraffe_field")
    for decoder, things, points, rays in (
        (field.object_decoder, (expected["z_shape_obj"][:, 0], expected["z_app_obj"][:, 0]), "points_box", "ray_box"),
        (field.background_decoder, (expected["z_shape_bg"], expected["z_app_bg"]), "points_bg", "ray_bg"),
    ):
        styles = decoder.condition(*things)
        hidden = decoder.hidden(expected[points].expand(4, -1, -1), styles.first[:, None], styles.skips[:, None])
        features = decoder.features(hidden, expected[rays].expand(4, -1, -1), styles.feature[:, None])
        name = "obj" if decoder is field.object_decoder else "bg"
        assert_close(decoder.densities(hidden), expected[f"{name}_density_raw"], **TOLERANCE)
        assert_close(features, expected[f"{name}_feature"], **TOLERANCE)


def test_placements_match_the_original(load_fixture) -> None:
    field, expected = recorded_field(load_fixture), load_fixture("giraffe_composition")
    styles = field.condition(recorded_latents(load_fixture))
    assert_close(styles.scales[0], expected["scale"], atol=1e-5, rtol=1e-5)
    assert_close(styles.translations[0], expected["translation"], atol=1e-5, rtol=1e-5)
    assert_close(
        turned(expected["points"], styles.background_turn[0]), expected["points"] @ expected["background_rotation"].T
    )
    for index in (0, 1):
        places = in_box(
            expected["points"], styles.translations[0, index], styles.rotations[0, index], styles.scales[0, index]
        )
        assert_close(places, expected[f"points_box{index}"], **TOLERANCE)
        inside = field.points_of_objects(expected["points"].expand(4, -1, -1), styles)
        found = inside.point[(inside.batch == 0) & (inside.object == index)]
        assert found.tolist() == expected[f"mask{index}"].nonzero().flatten().tolist()


@pytest.mark.parametrize("how", ["sum", "max"])
@pytest.mark.parametrize("scene", [0, 1])
def test_compositions_match_the_original(load_fixture, how, scene: int) -> None:
    field, expected = recorded_field(load_fixture, composition=how), load_fixture("giraffe_composition")
    styles = field.condition(recorded_latents(load_fixture))[scene : scene + 1]
    points, directions = world_points(field, expected["points"]), directions_of(field, expected["ray"])
    values, features = field(points, directions, styles)
    density, feature = ("density_sum", "feature") if how == "sum" else ("density_max", "feature_max")
    assert_close(torch.relu(values[0]), expected[f"latent{scene}_{density}"], **TOLERANCE)
    assert_close(field.geometry_logits(points, styles), values, **TOLERANCE)
    # The original gives a feature to empty points as well, in the composition by the maximum; nothing ever sees it.
    matter = expected[f"latent{scene}_{density}"] > 0
    assert matter.sum() >= 8
    assert_close(features[0, matter], expected[f"latent{scene}_{feature}"][matter], **TOLERANCE)


def test_full_sizes_have_the_parameter_counts_of_the_release() -> None:
    def counts(config: CompositeFieldConfig) -> list[int]:
        field = CompositeField(config)
        decoders = (field.object_decoder, field.background_decoder)
        return [sum(parameter.numel() for parameter in decoder.parameters()) for decoder in decoders]

    assert counts(CompositeFieldConfig()) == [266_241, 47_041]
    assert counts(CompositeFieldConfig(feature_dim=256)) == [282_753, 55_361]


def test_an_empty_field_changes_nothing() -> None:
    densities = torch.rand(2, 3, 7)
    empty = torch.cat((densities, torch.zeros(2, 1, 7)), dim=1)
    for how in ("sum", "max"):
        (values, weights), (with_empty, more) = composed(densities, how), composed(empty, how)
        assert_close(with_empty, values)
        assert_close(more[:, :-1], weights)
        assert_close(weights.sum(dim=1), torch.ones(2, 7))
        assert (more[:, -1] == 0).all()
    nothing, without = torch.full((2, 3, 7), -1.0), torch.full((2, 2, 7), -1.0)
    nothing[:, 2] = -3.0
    for how in ("sum", "max"):
        assert_close(composed(nothing, how)[0], composed(without, how)[0])
        assert not composed(nothing, how)[1].any()


def test_where_there_is_nothing_features_are_zero() -> None:
    values, weights = composed(torch.zeros(1, 2, 3))
    assert not values.any() and not weights.any()


def test_the_sum_is_the_slow_one() -> None:
    """Every thing asked at every point, as the paper has it, against the packed questions."""
    field, (positions, directions) = small(), inputs()
    styles = styles_of(field)
    places = positions @ field.rotation.T * field.config.coordinate_scale
    ways = directions @ field.rotation.T
    total, weighted = torch.zeros(2, 40), torch.zeros(2, 40, 5)
    for index in range(3):
        decoder, things = (
            (field.object_decoder, styles.objects) if index < 2 else (field.background_decoder, styles.background)
        )
        row = [getattr(things, name) for name in ("first", "skips", "feature")]
        row = [entry[:, index, None] if index < 2 else entry[:, None] for entry in row]
        local, way, mask = (
            turned(places, styles.background_turn[:, None]),
            turned(ways, styles.background_turn[:, None]),
            1.0,
        )
        if index < 2:
            angle, scale = styles.rotations[:, index, None], styles.scales[:, index, None]
            local = turned(places - styles.translations[:, index, None], angle) / scale
            way, mask = turned(ways, angle) / scale, (local.abs() <= 1.1).all(dim=-1)
        hidden = decoder.hidden(local, row[0], row[1])
        density = torch.relu(decoder.densities(hidden)) * mask
        total, weighted = total + density, weighted + density[..., None] * decoder.features(hidden, way, row[2])
    values, features = field(positions, directions, styles)
    assert (total > 0).float().mean() > 0.2
    assert_close(torch.relu(values), total, atol=1e-4, rtol=1e-4)
    assert_close(features, weighted / total.clamp(min=1e-4)[..., None], atol=1e-3, rtol=1e-3)


def without_background(styles: CompositeStyles) -> CompositeStyles:
    return replace(styles, background_present=torch.zeros_like(styles.background_present))


def test_outside_the_boxes_there_is_nothing_but_background() -> None:
    field, (positions, _) = small(), inputs(400)
    styles = without_background(styles_of(field))
    places = positions @ field.rotation.T * field.config.coordinate_scale
    inside = torch.zeros(2, 400, dtype=torch.bool)
    for index in (0, 1):
        local = in_box(
            places,
            styles.translations[:, index, None],
            styles.rotations[:, index, None],
            styles.scales[:, index, None],
        )
        inside |= local.abs().amax(dim=-1) <= 1.1
    values = field.geometry_logits(positions, styles)
    assert inside.any() and not inside.all()
    assert (values[~inside] < 0).all() and (values[inside] > 0).any()
    noise = torch.full((2, 400, 3), 100.0)
    noisy, _ = field.noisy(positions, positions, styles, noise)
    assert (noisy[~inside] < 0).all() and (noisy[inside] > 50).all()


def test_noise_is_each_parts_own() -> None:
    field, (positions, directions) = small(), inputs()
    styles = styles_of(field)
    values = field.geometry_logits(positions, styles)
    assert_close(field.noisy(positions, directions, styles, torch.zeros(2, 40, 3))[0], values)
    drowned = torch.zeros(2, 40, 3)
    drowned[..., -1] = -1e6
    expected = field.geometry_logits(positions, without_background(styles))
    assert_close(field.noisy(positions, directions, styles, drowned)[0], expected)


def test_turning_the_objects_is_turning_the_camera_the_other_way() -> None:
    """With angle w more for an object at the upward axis, a view turned by -w sees what the first view saw."""
    field, (positions, directions) = small(num_objects=1), inputs()
    styles = without_background(styles_of(field))
    styles = replace(styles, translations=styles.translations * torch.tensor([0.0, 0.0, 1.0]))
    angle = 0.7
    in_field = [vectors @ field.rotation.T for vectors in (positions, directions)]
    moved = [turned(vectors, torch.tensor(-angle)) @ field.rotation for vectors in in_field]
    seen = field(positions, directions, styles)
    other = field(*moved, replace(styles, rotations=styles.rotations + angle))
    assert (seen[0] > 0).any()
    assert_close(other[0], seen[0], atol=1e-4, rtol=1e-4)
    assert_close(other[1], seen[1], atol=1e-4, rtol=1e-4)


def test_more_objects_need_only_more_rows() -> None:
    field, (positions, directions) = small(), inputs()
    styles = without_background(styles_of(field))
    rows = {
        name: torch.cat((getattr(styles, name), getattr(styles, name)[:, :1]), 1)
        for name in ("scales", "translations", "rotations", "present")
    }
    rows["translations"][:, 2] += torch.tensor([0.0, 100.0, 0.0])
    objects = {
        name: torch.cat((getattr(styles.objects, name), getattr(styles.objects, name)[:, :1]), 1)
        for name in ("first", "skips", "feature")
    }
    more = replace(styles, **rows, objects=type(styles.objects)(**objects))
    values, features = field(positions, directions, styles)
    assert_close(field(positions, directions, more)[0], values)
    assert_close(field(positions, directions, more)[1], features)
    far = positions + torch.tensor([100.0, 0.0, 0.0]) / field.config.coordinate_scale
    alone = replace(styles, present=torch.tensor([True, False]).expand(2, -1))
    assert_close(field.geometry_logits(far, more), field.geometry_logits(positions, alone), atol=1e-3, rtol=1e-3)


def test_truncation_leaves_the_places_alone() -> None:
    field = small()
    codes, centre = torch.randn(2, 3, field.code_dim)
    centre = centre[0]
    styles, average = field.condition(codes), field.condition(field.truncated(codes, centre, 0.0))
    for name in ("scales", "translations", "rotations", "present", "background_turn"):
        assert torch.equal(getattr(styles, name), getattr(average, name))
    assert_close(average.objects.first, field.condition(centre.expand(3, -1)).objects.first)
    assert_close(field.truncated(codes, centre, 1.0), codes)


def test_each_style_layer_exchanges_its_things_alone() -> None:
    field = small()
    first, second = torch.randn(2, 1, field.code_dim)
    own, other = field.condition(first), field.condition(second)
    what = {
        "shapes": ("objects.first",),
        "appearances": ("objects.feature",),
        "background shape": ("background.first",),
        "background appearance": ("background.feature",),
        "placements": ("scales", "translations", "rotations", "background_turn"),
    }

    def entry(styles: CompositeStyles, path: str) -> Tensor:
        name, _, inner = path.partition(".")
        return getattr(getattr(styles, name), inner) if inner else getattr(styles, name)

    for index, layer in enumerate(field.style_layers):
        codes = first.expand(5, 1, -1).clone()
        codes[index] = second
        mixed = field.condition_layers(codes)
        for name, paths in what.items():
            for path in paths:
                assert_close(entry(mixed, path), entry(other if name == layer else own, path))


def test_styles_can_be_cut_by_scene() -> None:
    field, (positions, directions) = small(), inputs(batch=3)
    styles = styles_of(field, 3)
    assert len(styles) == 3
    values, features = field(positions, directions, styles)
    for part in (slice(1, 3), torch.tensor([2, 0])):
        some, theirs = field(positions[part], directions[part], styles[part])
        assert_close(some, values[part])
        assert_close(theirs, features[part])


def test_every_weight_learns() -> None:
    field = small()
    values, features = field(*inputs(), styles_of(field))
    (values.sum() + features.sum()).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in field.parameters())


def test_normals_follow_the_object() -> None:
    field, (positions, _) = small(), inputs()
    styles = styles_of(field)
    values = field.geometry_logits(positions, styles)
    step = 1e-4
    normals = field.normals(positions, styles)
    uphill = field.geometry_logits(positions - step * normals, styles)
    inside = (values > 1.0) & (normals.norm(dim=-1) > 0.5)
    assert inside.sum() > 20
    assert (uphill > values)[inside].float().mean() > 0.95


def test_numbers_are_even_and_counts_follow_their_probabilities() -> None:
    uniforms = uniforms_of(torch.randn(20_000))
    assert_close(uniforms.sort().values, torch.linspace(0, 1, 20_000), atol=0.02, rtol=0)
    probabilities = (0.0, 0.2, 0.5, 0.3)
    counts = number_of_objects(uniforms, probabilities, 4)
    assert_close(torch.bincount(counts, minlength=5)[1:] / 20_000, torch.tensor(probabilities), atol=0.02, rtol=0)
    assert (number_of_objects(uniforms, (), 3) == 3).all()
    field = small(placement=replace(SMALL.placement, count_probabilities=(1.0, 0.0)))
    assert styles_of(field).present.tolist() == [[True, False]] * 2


def test_boxes_keep_their_distance_where_there_is_room() -> None:
    places, scales = 2.0 * torch.rand(200, 3, 20, 3) - 1.0, 0.05 + 0.1 * torch.rand(200, 3, 3)
    chosen = first_free(places, scales, 0.1)
    for index in range(3):
        assert (chosen[:, index, None] == places[:, index]).all(dim=-1).any(dim=-1).all()
        for other in range(index):
            apart = (chosen[:, index, :2] - chosen[:, other, :2]).abs().amax(dim=-1)
            assert (apart > scales[:, index, :2].amax(-1) + scales[:, other, :2].amax(-1) + 0.1).all()
    # The first one that is free: an object alone takes its first place, and so does one whose first place is clear.
    assert torch.equal(chosen[:, 0], places[:, 0, 0])
    crowded = torch.zeros(1, 2, 4, 3)
    assert torch.equal(first_free(crowded, torch.ones(1, 2, 3), 0.0), torch.zeros(1, 2, 3))


def test_a_padding_asks_for_more_numbers_and_uses_them() -> None:
    loose = small()
    placement = replace(SMALL.placement, padding=0.0, num_tries=5, largest_scale=(0.3, 0.25, 0.2))
    strict = small(placement=placement)
    assert strict.latent_dim - loose.latent_dim == 2 * 4 * 3

    def share_apart(field: CompositeField) -> float:
        styles = styles_of(field, 300)
        apart = (styles.translations[:, 0, :2] - styles.translations[:, 1, :2]).abs().amax(dim=-1)
        return float((apart > styles.scales[..., :2].amax(-1).sum(1)).float().mean())

    assert share_apart(strict) > 0.8 > 0.5 > share_apart(small(placement=replace(placement, padding=None)))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: replace(RECORDED, num_objects=0), "one object"),
        (lambda: replace(RECORDED, placement=PlacementConfig(count_probabilities=(1.0,))), "count_probabilities"),
        (lambda: PlacementConfig(smallest_scale=(0.0, 1.0, 1.0)), "positive sides"),
        (lambda: PlacementConfig(lowest_translation=(1.0, 0.0, 0.0)), "lies above"),
        (lambda: PlacementConfig(num_tries=0), "num_tries"),
        (lambda: GiraffeDecoderConfig(skip_layers=(7,)), "leave out 7"),
        (lambda: GiraffeDecoderConfig(hidden_dim=0), "at least"),
    ],
)
def test_impossible_settings_are_refused(make, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        make()


def test_turning_keeps_lengths_and_heights() -> None:
    vectors = torch.randn(5, 3)
    turn = turned(vectors, torch.tensor(math.pi / 2))
    assert_close(turn, torch.stack((-vectors[:, 1], vectors[:, 0], vectors[:, 2]), dim=-1))
