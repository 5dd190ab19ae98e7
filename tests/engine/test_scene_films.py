"""Programmes for the things of a scene: each moves what it names, within the range of training, and closes its loop."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from giraffe_model import giraffe_model, model_of_one_object

from gan3d_ns.engine.scene_films import NUM_ANCHORS, ScenePart, scene_reel, without_background
from gan3d_ns.errors import UserError
from gan3d_ns.fields.composite_field import CompositeField, CompositeStyles
from gan3d_ns.model_components.latents import LatentSelection
from gan3d_ns.model_components.scenes import MOST_OBJECTS, ObjectEdit, Scene
from gan3d_ns.models.gan_model import GanModel

FRAMES = 16
START = LatentSelection(seed=5, truncation=0.8)


@pytest.fixture(scope="module")
def model() -> GanModel:
    return giraffe_model()


def styles_along(model: GanModel, programme: ScenePart, index: int = 0) -> list[CompositeStyles]:
    return [model.styles_of(entry) for entry in scene_reel(model, START, programme, FRAMES, index)]  # type: ignore[misc]


def entries(styles: CompositeStyles) -> dict[str, torch.Tensor]:
    return {
        "place": torch.cat((styles.translations, styles.scales), dim=-1),
        "turn": styles.rotations,
        "shape": styles.objects.first,
        "appearance": styles.objects.feature,
        "background": torch.cat((styles.background.first, styles.background.feature), dim=-1),
    }


MOVES = {
    "object-rotation": {"turn"},
    "object-translation": {"place"},
    "object-depth": {"place"},
    "object-circle": {"place"},
    "shape": {"shape"},
    "appearance": {"appearance"},
    "background": {"background"},
}


@pytest.mark.parametrize("programme", list(MOVES))
def test_a_programme_moves_what_it_names_and_that_alone(model: GanModel, programme: ScenePart) -> None:
    index = 1
    along = [entries(styles) for styles in styles_along(model, programme, index)]
    start = entries(model.styles_of(START))  # type: ignore[arg-type]
    for name in start:
        stack = torch.stack([frame[name][0] for frame in along])
        if name == "background":
            assert (stack.std(dim=0).max() > 1e-3) == (name in MOVES[programme])
            continue
        others = [position for position in range(stack.shape[1]) if position != index]
        assert torch.equal(stack[:, others], start[name][:, others].expand(FRAMES, -1, *stack.shape[2:]))
        assert (stack[:, index].std(dim=0).max() > 1e-3) == (name in MOVES[programme]), name


def test_every_programme_is_tested_and_offered() -> None:
    from gan3d_ns.scripts.video import Video

    assert set(get_args(ScenePart)) == {*MOVES, "add-objects"}
    offered = Video.__annotations__["programme"]
    assert set(get_args(get_args(offered)[0])) == set(get_args(ScenePart))


@pytest.mark.parametrize("programme", list(MOVES))
def test_loops_are_closed_and_smooth(model: GanModel, programme: ScenePart) -> None:
    """The step from the last frame to the first is no larger than the others."""
    name = next(iter(MOVES[programme]))
    along = torch.stack([entries(styles)[name].flatten() for styles in styles_along(model, programme)])
    if name == "turn":
        along = torch.cat((along.cos(), along.sin()), dim=1)
    steps = (along - along.roll(1, 0)).norm(dim=1)
    assert steps[0] <= 1.01 * steps[1:].max()
    assert steps.max() < 0.8 * (along - along.mean(0)).norm(dim=1).max()


def test_moves_stay_in_the_range_of_training(model: GanModel) -> None:
    field = model.generator.field
    assert isinstance(field, CompositeField)
    places = field.config.placement
    low, high = torch.tensor(places.lowest_translation), torch.tensor(places.highest_translation)
    spans = {"object-translation": (False, True), "object-depth": (True, False), "object-circle": (True, True)}
    for programme, axes in spans.items():
        along = torch.cat([styles.translations[:, 0] for styles in styles_along(model, programme)])  # type: ignore[arg-type]
        assert (along >= low - 1e-5).all() and (along <= high + 1e-5).all()
        reach = (along.amax(0) - along.amin(0)) / (high - low)
        for axis, wide in enumerate(axes):
            assert (reach[axis] > 0.7) == wide
        assert reach[2] < 1e-4


def test_a_limited_rotation_swings_over_its_range() -> None:
    from dataclasses import replace

    from gan3d_ns.engine.scene_films import rotation

    field = giraffe_model().generator.field
    assert isinstance(field, CompositeField)
    swing = rotation(replace(field.config.placement, rotation_turns=(0.4, 0.6)))
    angles = torch.tensor([swing(frame / 40, ObjectEdit()).angle_deg for frame in range(40)])
    assert math.isclose(float(angles.max()), -(0.5 - 0.08) * 360, abs_tol=0.1)
    assert math.isclose(float(angles.min()), -(0.5 + 0.08) * 360, abs_tol=0.1)


def test_objects_are_added_one_by_one(model: GanModel) -> None:
    counts = [int(styles.present.sum()) for styles in styles_along(model, "add-objects")]
    assert counts == sorted(counts) and set(counts) == set(range(1, MOST_OBJECTS + 1))


def test_films_go_on_from_the_scene_that_they_are_given(model: GanModel) -> None:
    scene = Scene(num_objects=3, objects=(ObjectEdit(size=2.0), ObjectEdit(present=False)), background=False, seed=4)
    reel = scene_reel(model, LatentSelection(seed=5, scene=scene), "object-circle", FRAMES, 0)
    for entry in reel:
        assert entry.scene is not None
        assert (entry.scene.num_objects, entry.scene.background, entry.scene.seed) == (3, False, 4)
        assert entry.scene.objects[0].size == 2.0 and entry.scene.objects[1] == ObjectEdit(present=False)
    later = scene_reel(model, START, "object-circle", FRAMES, 6)
    assert later[0].scene is not None and later[0].scene.num_objects == 7
    assert without_background(START).scene == Scene(background=False, seed=5)


def test_other_methods_are_refused_in_a_sentence() -> None:
    other = model_of_one_object()
    with pytest.raises(UserError, match="the programme shape needs scenes of several objects, and other shows"):
        scene_reel(other, START, "shape", 2)
    with pytest.raises(UserError, match="whose parts cannot be moved"):
        other.styles_of(LatentSelection(scene=Scene(num_objects=2)))


def test_the_way_over_seeds_has_its_anchors(model: GanModel) -> None:
    reel = scene_reel(model, START, "appearance", 4 * NUM_ANCHORS)
    ways = [entry.scene.objects[0].appearance for entry in reel]  # type: ignore[union-attr]
    assert [way.seed for way in ways[::4]] == [5, 6, 7, 8] and [way.amount for way in ways[::4]] == [0.0] * 4
    assert ways[-1].second_seed == 5
