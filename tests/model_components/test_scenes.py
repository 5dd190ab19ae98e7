"""Edits of a scene: what they say of themselves, and that each changes what it names and nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from giraffe_release import RECORDED
from torch import Tensor
from torch.testing import assert_close

from gan3d_ns.errors import UserError
from gan3d_ns.fields.composite_field import CompositeField, CompositeStyles
from gan3d_ns.model_components.latents import LatentSelection, SavedLatent, decode_latent, described, encode_latent
from gan3d_ns.model_components.scene_arrangement import arranged
from gan3d_ns.model_components.scenes import ObjectEdit, Scene, SeedWay

EVERYTHING = Scene(
    num_objects=5,
    objects=(
        ObjectEdit(),
        ObjectEdit(30.0, 5.0, (0.1, 0.0, -0.1), (0.0, 0.2, 0.0), 1.5, SeedWay(3, 4, 0.5), SeedWay(7)),
    ),
    background=False,
    background_turn_deg=-12.5,
    background_shape=SeedWay(1),
    background_appearance=SeedWay(2, 9, 1.0),
    seed=11,
)


@pytest.fixture
def field() -> CompositeField:
    return CompositeField(replace(RECORDED, start_gain=5.0))


@pytest.fixture
def codes(field: CompositeField) -> Callable[[int], Tensor]:
    return lambda seed: torch.randn(1, field.code_dim, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def styles(field, codes) -> CompositeStyles:
    return field.condition(codes(0))


def rows(styles: CompositeStyles) -> dict[str, Tensor]:
    """All that belongs to single objects, by name."""
    of_objects = {name: getattr(styles.objects, name) for name in ("first", "skips", "feature")}
    return {
        **{name: getattr(styles, name) for name in ("scales", "translations", "rotations", "present")},
        **of_objects,
    }


def changed(before: CompositeStyles, after: CompositeStyles) -> set[tuple[str, int]]:
    """Which entries of which of the first objects differ."""
    first, second = rows(before), rows(after)
    return {
        (name, index)
        for name in first
        for index in range(first[name].shape[1])
        if not torch.equal(first[name][:, index], second[name][:, index])
    }


def of_background(styles: CompositeStyles) -> list[Tensor]:
    things = styles.background
    return [things.first, things.skips, things.feature, styles.background_turn, styles.background_present]


def same_background(first: CompositeStyles, second: CompositeStyles) -> bool:
    return all(torch.equal(one, other) for one, other in zip(of_background(first), of_background(second), strict=True))


@pytest.mark.parametrize(
    "scene", [Scene(), EVERYTHING, Scene(num_objects=0), Scene(objects=(ObjectEdit(present=False),))]
)
def test_a_scene_is_what_its_text_says(scene: Scene) -> None:
    assert Scene.from_json(scene.to_json()) == scene
    assert hash(scene) == hash(Scene.from_json(scene.to_json()))
    assert Scene().to_json() == "{}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3",
        "[]",
        "[" * 100_000,
        '{"colour": 1}',
        '{"num_objects": 1000000000}',
        '{"num_objects": -1}',
        '{"num_objects": "3"}',
        '{"num_objects": 2.5}',
        '{"background": "no"}',
        '{"background_turn_deg": NaN}',
        '{"background_shape": [1]}',
        '{"seed": null}',
        '{"objects": 3}',
        '{"objects": [' + "{}, " * 1000 + "{}]}",
        '{"objects": [{"size": 0}]}',
        '{"objects": [{"size": 1' + "0" * 400 + "}]}",
        '{"objects": [{"size": 1e400}]}',
        '{"objects": [{"shift": [1, 2]}]}',
        '{"objects": [{"angle_deg": []}]}',
        '{"objects": [{"present": "yes"}]}',
        '{"objects": [{"shape": 3}]}',
        '{"objects": [{"shape": {"seed": "x"}}]}',
        '{"objects": [{"shape": {"seed": 1, "second_seed": 2, "amount": NaN}}]}',
    ],
    ids=lambda text: text[:48],
)
def test_other_texts_are_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(UserError) as refusal:
        Scene.from_json(text)
    assert len(str(refusal.value)) < 600


@pytest.mark.parametrize(
    "numbers", [{"size": 0.0}, {"size": math.nan}, {"turn_deg": math.inf}, {"centre": (0.0, math.nan, 0.0)}]
)
def test_impossible_places_are_refused(numbers) -> None:
    with pytest.raises(UserError, match="finite"):
        ObjectEdit(**numbers)


def test_without_edits_nothing_changes(field, styles, codes) -> None:
    after = arranged(field, styles, Scene(), codes)
    assert not changed(styles, after) and same_background(styles, after)


@pytest.mark.parametrize(
    ("edit", "names"),
    [
        (ObjectEdit(turn_deg=20.0), {"rotations"}),
        (ObjectEdit(angle_deg=20.0), {"rotations"}),
        (ObjectEdit(shift=(0.1, 0.0, 0.0)), {"translations"}),
        (ObjectEdit(centre=(0.1, 0.0, 0.0)), {"translations"}),
        (ObjectEdit(size=2.0), {"scales"}),
        (ObjectEdit(shape=SeedWay(5)), {"first", "skips"}),
        (ObjectEdit(appearance=SeedWay(5)), {"feature"}),
        (ObjectEdit(present=False), {"present"}),
    ],
)
def test_an_edit_changes_what_it_names_of_one_object(field, styles, codes, edit: ObjectEdit, names: set[str]) -> None:
    after = arranged(field, styles, Scene(objects=(ObjectEdit(), edit)), codes)
    assert changed(styles, after) == {(name, 1) for name in names}
    assert same_background(styles, after)


def test_lengths_and_angles_are_the_worlds(field, styles, codes) -> None:
    """A point that goes with the object finds in it what it found before."""
    turn, shift, size = 40.0, (0.05, 0.1, -0.2), 1.5
    alone = replace(styles, present=torch.tensor([[False, True]]), background_present=torch.tensor([False]))
    edit = ObjectEdit(turn_deg=turn, shift=shift, size=size)
    after = arranged(field, alone, Scene(objects=(ObjectEdit(), edit)), codes)
    centre = field.rotation.T @ styles.translations[0, 1] / field.config.coordinate_scale
    # Our world's y is up: counterclockwise seen from above is from z to x.
    sine, cosine = math.sin(math.radians(turn)), math.cos(math.radians(turn))
    rotation = torch.tensor([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])
    offsets = 0.1 * torch.randn(200, 3)
    moved = centre + torch.tensor(shift) + size * offsets @ rotation.T
    before = field.geometry_logits((centre + offsets)[None], alone)
    assert (before > 0).sum() > 10
    assert_close(field.geometry_logits(moved[None], after), before, atol=1e-3, rtol=1e-3)


def test_absolute_places_forget_where_the_object_was(field, styles, codes) -> None:
    edit = ObjectEdit(angle_deg=25.0, centre=(0.1, -0.05, 0.2))
    after = arranged(field, styles, Scene(objects=(edit, edit)), codes)
    assert torch.equal(after.translations[:, 0], after.translations[:, 1])
    assert_close(field.rotation.T @ after.translations[0, 0] / field.config.coordinate_scale, torch.tensor(edit.centre))
    assert_close(after.rotations, torch.full((1, 2), -math.radians(25.0)))


def test_shapes_and_looks_are_those_of_the_other_scene(field, styles, codes) -> None:
    other = field.condition(codes(5))
    for edit, name in ((ObjectEdit(shape=SeedWay(5)), "first"), (ObjectEdit(appearance=SeedWay(5)), "feature")):
        after = arranged(field, styles, Scene(objects=(ObjectEdit(), edit)), codes)
        assert torch.equal(rows(after)[name][:, 1], rows(other)[name][:, 1])
    backdrop = arranged(field, styles, Scene(background_shape=SeedWay(5), background_appearance=SeedWay(5)), codes)
    assert torch.equal(backdrop.background.first, other.background.first)
    assert torch.equal(backdrop.background.feature, other.background.feature)
    assert not changed(styles, backdrop)


def test_a_way_begins_and_ends_at_its_seeds(field, styles, codes) -> None:
    def look(way: SeedWay) -> Tensor:
        after = arranged(field, styles, Scene(objects=(ObjectEdit(appearance=way),)), codes)
        return after.objects.feature[:, 0]

    assert_close(look(SeedWay(5, 6, 0.0)), look(SeedWay(5)))
    assert_close(look(SeedWay(5, 6, 1.0)), look(SeedWay(6)), atol=1e-4, rtol=1e-4)
    half = look(SeedWay(5, 6, 0.5))
    assert not torch.allclose(half, look(SeedWay(5))) and not torch.allclose(half, look(SeedWay(6)))


@pytest.mark.parametrize("number", [0, 1, 2, 3, 6])
def test_any_number_of_objects_can_be_there(field, styles, codes, number: int) -> None:
    after = arranged(field, styles, Scene(num_objects=number, seed=4), codes)
    assert int(after.present.sum()) == number
    assert {name for name, _ in changed(styles, after)} <= {"present"}
    assert after.scales.shape[1] == max(2, number) == after.objects.feature.shape[1]
    again = arranged(field, styles, Scene(num_objects=6, seed=4), codes)
    for name, values in rows(after).items():
        if name != "present":
            assert torch.equal(values, rows(again)[name][:, : values.shape[1]])
    looks = again.objects.feature[0]
    assert torch.cdist(looks, looks).add(torch.eye(6)).min() > 1e-3


def test_added_objects_keep_clear_where_the_trained_ones_do(codes) -> None:
    places = replace(
        RECORDED.placement, smallest_scale=(0.05,) * 3, largest_scale=(0.08,) * 3, padding=0.05, num_tries=20
    )
    field = CompositeField(replace(RECORDED, placement=places))
    wide = lambda seed: torch.randn(1, field.code_dim, generator=torch.Generator().manual_seed(seed))  # noqa: E731
    after = arranged(field, field.condition(wide(0)), Scene(num_objects=6), wide)
    apart = (after.translations[0, :, None, :2] - after.translations[0, None, :, :2]).abs().amax(-1) + torch.eye(6)
    assert apart.min() > 2 * 0.05 + 0.05


def test_an_edited_object_may_be_one_that_was_never_drawn(field, styles, codes) -> None:
    scene = Scene(objects=(ObjectEdit(), ObjectEdit(), ObjectEdit(), ObjectEdit(size=2.0)))
    after = arranged(field, styles, scene, codes)
    assert after.present.tolist() == [[True, True, False, False]]


def test_the_background_can_be_left_out_and_turned(field, styles, codes) -> None:
    assert not arranged(field, styles, Scene(background=False), codes).background_present.any()
    turned = arranged(field, styles, Scene(background_turn_deg=90.0), codes)
    assert_close(turned.background_turn, styles.background_turn - math.pi / 2)


def test_a_saved_latent_keeps_its_scene() -> None:
    selection = LatentSelection(seed=3, scene=EVERYTHING)
    content = encode_latent(torch.zeros(5, 4), described(selection, ()))
    saved = decode_latent(content, "kept.safetensors")
    opened = LatentSelection(saved=saved)
    assert opened.used_scene == EVERYTHING
    assert LatentSelection(saved=saved, scene=Scene()).used_scene == Scene()
    # And keeps it when it is saved again.
    assert Scene.from_json(described(opened, ())["scene"]) == EVERYTHING
    assert "scene" not in described(LatentSelection(scene=Scene()), ())
    broken = SavedLatent(torch.zeros(5, 4), metadata={"scene": "{"})
    with pytest.raises(UserError, match="describes no scene"):
        _ = LatentSelection(saved=broken).used_scene


def test_names_of_files_tell_edited_scenes_apart() -> None:
    names = {
        LatentSelection(scene=scene).name for scene in (None, Scene(num_objects=3), EVERYTHING, Scene(background=False))
    }
    assert len(names) == 4
    assert LatentSelection(scene=Scene()).name == LatentSelection().name
