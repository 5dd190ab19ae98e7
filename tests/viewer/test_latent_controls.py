"""Controls: start values, odd values, and what pressing Random does."""

from __future__ import annotations

import math
import random

import pytest
import torch
from nerfstudio.viewer.viewer_elements import ViewerButton

from gan3d_ns.model_components.latents import LatentSelection, whole_seed
from gan3d_ns.viewer.latent_controls import LatentControls

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
    assert {controls.own_appearance, controls.appearance_seed} <= set(controls.elements)
    controls.appearance_seed.value = 8
    assert controls.selection().appearance_seed is None
    controls.own_appearance.value = True
    assert controls.selection() == LatentSelection(3, 4, 0.0, 1.0, appearance_seed=8)


def test_without_separate_codes_there_is_no_appearance_to_choose():
    controls = LatentControls(3, 1.0)
    assert not {controls.own_appearance, controls.appearance_seed} & set(controls.elements)
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
