"""Controls: start values, odd values, and what pressing Random does."""

from __future__ import annotations

import math
import random
import time

import pytest
import torch
from nerfstudio.viewer.viewer_elements import ViewerButton

from gan3d_ns.model_components.latents import LatentSelection, SavedLatent, whole_seed
from gan3d_ns.viewer.latent_controls import FOLDER, WAYS, LatentControls

ODD_NUMBERS = [None, "", "seven", float("nan"), float("inf"), -1, -(2**70), 2**70, 3.9, 1e300]


def test_controls_start_with_the_values_they_were_given():
    assert LatentControls(3, 0.7).selection() == LatentSelection(3, 4, 0.0, 0.7)


@pytest.mark.parametrize("value", ODD_NUMBERS)
def test_every_seed_is_one_that_torch_and_a_browser_accept(value):
    seed = whole_seed(value)
    torch.Generator().manual_seed(seed)
    assert float(seed) == seed
    assert seed >= 0


def test_neighbouring_seeds_stay_apart_after_wrapping():
    assert len({whole_seed(seed) for seed in (-2, -1, 0, 1, 2)}) == 5


@pytest.mark.parametrize("value", ODD_NUMBERS)
def test_odd_values_of_the_controls_are_read_as_numbers(value):
    controls = LatentControls(0, 0.8)
    for element in (controls.seed, controls.second_seed, controls.interpolation, controls.truncation):
        element.value = value
    selection = controls.selection()
    assert 0.0 <= selection.interpolation <= 1.0
    assert math.isfinite(selection.truncation)


@pytest.mark.parametrize("truncation", [-0.5, 0.0, 1.0, 1.3])
def test_the_slider_reaches_the_truncation_of_the_config(truncation):
    slider = LatentControls(0, truncation).truncation
    assert slider.min <= truncation <= slider.max


def test_appearance_follows_the_seed_until_it_gets_its_own():
    controls = LatentControls(3, 1.0, separates_appearance=True)
    assert {controls.own_appearance, controls.appearance_seed} <= set(controls.folders[FOLDER])
    controls.appearance_seed.value = 8
    assert controls.selection().appearance_seed is None
    controls.own_appearance.value = True
    assert controls.selection() == LatentSelection(3, 4, 0.0, 1.0, appearance_seed=8)


def test_without_separate_codes_there_is_no_appearance_to_choose():
    controls = LatentControls(3, 1.0)
    assert not {controls.own_appearance, controls.appearance_seed} & set(controls.folders[FOLDER])
    controls.own_appearance.value = True
    assert controls.selection().appearance_seed is None


def test_random_shows_the_new_seed_and_leaves_global_randomness_alone():
    controls = LatentControls(0, 1.0)
    controls.interpolation.value = 1.0
    seeds = set()
    for _ in range(4):
        assert isinstance(controls.random, ViewerButton)
        before = random.getstate(), torch.get_rng_state()
        controls.random.cb_hook(controls.random)
        assert random.getstate() == before[0]
        assert torch.equal(torch.get_rng_state(), before[1])
        seeds.add(controls.selection().seed)
    assert controls.selection().interpolation == 0.0
    assert len(seeds) > 1


def test_layers_are_mixed_once_one_is_chosen():
    controls = LatentControls(3, 1.0, style_layers=("4x4", "8x8", "colour"))
    assert controls.selection() == LatentSelection(3, 4, 0.0, 1.0)
    controls.mixed_seed.value = 9
    controls.mixed_layers[0].value = controls.mixed_layers[2].value = True
    assert controls.selection() == LatentSelection(3, 4, 0.0, 1.0, mixed_seed=9, mixed_layers=(0, 2))


@pytest.mark.parametrize("way", list(WAYS))
def test_ways_and_weights_reach_the_selection(way):
    controls = LatentControls(3, 1.0)
    controls.way.value, controls.weights.value = way, "in training"
    selection = controls.selection()
    assert (selection.space, selection.curve) == WAYS[way]
    assert selection.raw_weights


def test_a_loaded_latent_is_shown_until_another_seed_is_chosen():
    controls = LatentControls(3, 1.0)
    kept = SavedLatent(torch.zeros(1, 2))
    for leave in (controls.choose_seed, controls.press_random):
        controls.interpolation.value = 0.5
        controls.show_saved(kept)
        assert controls.selection().saved is kept
        assert controls.selection().interpolation == 0.0
        leave(controls.random)
        assert controls.selection().saved is None


def test_play_moves_the_slider_until_it_is_stopped():
    controls = LatentControls(3, 1.0)
    controls.play.value = True
    controls.press_play(controls.play)
    end = time.monotonic() + 10.0
    while controls.selection().interpolation == 0.0:
        assert time.monotonic() < end
        time.sleep(0.02)
    controls.play.value = False
    controls.press_play(controls.play)
    assert not controls.player.playing
    assert controls.player.thread is not None
    controls.player.thread.join(timeout=5.0)
    assert not controls.player.thread.is_alive()
