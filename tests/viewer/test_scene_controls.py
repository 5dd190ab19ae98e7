"""The Scene panel without a viewer: what its controls make of a scene."""

from __future__ import annotations

import pytest
import torch

from gan3d_ns.model_components.latents import LatentSelection, SavedLatent
from gan3d_ns.model_components.scenes import ObjectEdit, Scene, SeedWay
from gan3d_ns.viewer.latent_controls import LatentControls
from gan3d_ns.viewer.scene_controls import SceneControls


@pytest.fixture
def controls() -> SceneControls:
    return SceneControls(num_objects=2, reach=0.2)


def choose(controls: SceneControls, index: int) -> None:
    controls.chosen.value = controls.chosen.options[index]
    controls.fill()


def test_untouched_controls_edit_nothing(controls) -> None:
    assert controls.scene(3) is None
    choose(controls, 4)
    controls.note()
    assert controls.scene(3) is None


def test_the_number_of_objects_is_the_drawn_one_until_it_gets_its_own(controls) -> None:
    controls.number.value = 6
    assert controls.scene(3) is None
    controls.own_number.value = True
    assert controls.scene(3) == Scene(num_objects=6, seed=3)
    assert (controls.number.min, controls.number.max) == (0, 8)


def test_each_object_keeps_its_own_edits(controls) -> None:
    controls.turn.value = 90.0
    controls.note()
    choose(controls, 2)
    assert controls.turn.value == 0.0
    controls.moves[0].value, controls.size.value, controls.present.value = 0.1, 1.5, False
    controls.note()
    choose(controls, 0)
    assert (controls.turn.value, controls.size.value, controls.present.value) == (90.0, 1.0, True)
    assert controls.scene(1) == Scene(
        objects=(ObjectEdit(turn_deg=90.0), ObjectEdit(), ObjectEdit(shift=(0.1, 0.0, 0.0), size=1.5, present=False)),
        seed=1,
    )


def test_seeds_count_where_they_are_switched_on(controls) -> None:
    controls.shape_seed.value, controls.colour_seed.value = 5, -1
    controls.note()
    assert controls.scene(0) is None
    controls.own_shape.value = controls.own_colours.value = True
    controls.note()
    (edit,) = controls.scene(0).objects
    assert edit.shape == SeedWay(5) and edit.appearance is not None and edit.appearance.seed > 0


@pytest.mark.parametrize("value", [None, "", "seven", float("nan"), float("inf"), -1e300])
def test_odd_values_are_read_as_numbers(controls, value) -> None:
    for element in (controls.number, controls.turn, controls.size, *controls.moves, controls.shape_seed):
        element.value = value
    controls.own_number.value = controls.own_shape.value = True
    controls.note()
    scene = controls.scene(0)
    assert scene is not None
    assert scene.num_objects == 0 or 0 <= scene.num_objects <= 8
    assert abs(scene.objects[0].turn_deg) <= 180 and 0.25 <= scene.objects[0].size <= 2.5


def test_the_background_can_be_switched_off(controls) -> None:
    controls.background.value = False
    assert controls.scene(0) == Scene(background=False)


def test_a_loaded_latent_brings_its_scene_and_a_reset_takes_it_away(controls) -> None:
    scene = Scene(num_objects=4, objects=(ObjectEdit(size=2.0),), background=False, background_turn_deg=5.0, seed=9)
    latent = LatentControls(0, 1.0, scene=controls)
    latent.show_saved(SavedLatent(torch.zeros(5, 4), metadata={"scene": scene.to_json()}))
    assert latent.selection().scene == scene
    assert (controls.number.value, controls.size.value, controls.background.value) == (4, 2.0, False)
    controls.press_reset()
    assert latent.selection().used_scene == Scene()
    latent.show_saved(SavedLatent(torch.zeros(5, 4)))
    assert latent.selection().scene is None


def test_methods_with_one_object_have_no_scene() -> None:
    assert LatentControls(0, 1.0).selection() == LatentSelection(0, 1, 0.0, 1.0)
