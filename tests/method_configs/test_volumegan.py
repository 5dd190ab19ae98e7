"""VolumeGAN's published numbers, and its two variants."""

from __future__ import annotations

import copy
from typing import Any

import pytest


def resolved(preset: str) -> Any:
    from nerfstudio.configs.method_configs import all_methods

    config: Any = copy.deepcopy(all_methods["volumegan-paper"])
    config.preset = preset
    config.resolve_preset()
    return config


def test_the_released_training() -> None:
    config = resolved("ffhq")
    # 750,000 pictures at 32 pixels; then each resolution fades in over as many and stays for as many, 64 a step.
    assert [(stage.start_step, stage.resolution) for stage in config.curriculum] == [
        (0, 32),
        (11_718, 64),
        (35_154, 128),
        (58_590, 256),
    ]
    assert {stage.batch_size for stage in config.curriculum} == {64}
    assert config.fade_steps == 11_718
    assert config.max_num_iterations == 390_625
    # Half after 20,000 pictures.
    assert config.ema_decay ** (20_000 / 64) == pytest.approx(0.5)
    loss = config.pipeline.loss
    # gamma / 2 |grad|^2 with gamma 10, every 16 steps; our penalty has the half.
    assert (loss.r1_weight, loss.penalty_interval) == (10.0, 16)
    assert (loss.path_length_weight, loss.path_length_interval, loss.style_mixing) == (2.0, 4, 0.9)


def test_the_variants_differ_where_paper_and_release_do() -> None:
    released, described = (resolved(preset).pipeline.model for preset in ("ffhq", "ffhq-paper"))
    assert (released.feature_volume.network, described.feature_volume.network) == ("modulated", "film-siren")
    assert released.feature_volume.style_order == "style-then-activate"
    assert described.feature_volume.style_order == "activate-then-style"
    assert (released.feature_volume.position_octaves, described.feature_volume.position_octaves) == (10, 0)
    assert not released.feature_volume.use_view_directions
    assert described.feature_volume.use_view_directions
    assert (released.neural_renderer.ray_side, described.neural_renderer.ray_side) == (32, 64)


@pytest.mark.parametrize("preset", ["ffhq", "ffhq-paper", "procedural"])
def test_the_pictures_grow_from_the_rays(preset: str) -> None:
    config = resolved(preset)
    renderer = config.pipeline.model.neural_renderer
    sides = [stage.resolution for stage in config.curriculum]
    assert sides == [renderer.ray_side, *renderer.sides]
    assert sides[-1] == renderer.resolution == config.pipeline.discriminator.resolution
