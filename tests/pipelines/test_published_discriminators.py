"""Both phases with each of the published discriminators: the pipeline asks for no estimate that one does not make."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from recorded_training import train
from tiny_runs import tiny_config


@pytest.mark.parametrize("architecture", ["progressive", "ccs", "strided"])
def test_training_takes_each_published_discriminator(architecture: str, tmp_path: Path, monkeypatch: Any) -> None:
    """A pose loss holds where the pose is estimated and is left out where it is not; fade-in and top-k are on."""
    # The published widths are for pictures of 64 pixels and more.
    monkeypatch.setattr("gan3d_ns.discriminators.progressive.MAX_CHANNELS", 8)
    overrides = {
        "pipeline.discriminator.architecture": architecture,
        "pipeline.discriminator.latent_dim": 3,
        "pipeline.loss.pose_weight": 15.0,
        "fade_steps": 4,
        "fade_first_resolution": True,
    }
    run = train(tiny_config("pi-gan-paper", tmp_path, 2, **overrides))
    pose_terms = set() if architecture == "strided" else {"d_pose", "g_pose"}
    for terms in run.losses.values():
        assert {"d_adversarial", "d_r1", "g_adversarial"} | pose_terms == terms.keys()
        assert all(torch.isfinite(term) for term in terms.values())
    moments = run.checkpoint(1)["optimizers"]["discriminator"]["state"]
    still = [index for index, moment in moments.items() if not moment["exp_avg_sq"].any()]
    # The latent estimate takes part in no loss; its numbers share tensors with the score, so that none stands still.
    assert not still


@pytest.mark.parametrize("name", ["dc", "coord_residual", "style"])
def test_training_takes_each_discriminator_without_a_pose(name: str, tmp_path: Path) -> None:
    """One without stages ignores the fade; one with stages has one below the pictures to fade in from."""
    from gan3d_ns.discriminators.coord_residual import CoordResidualDiscriminatorConfig
    from gan3d_ns.discriminators.dc import DCDiscriminatorConfig
    from gan3d_ns.discriminators.style import StyleDiscriminatorConfig

    overrides = {"pipeline.loss.pose_weight": 15.0, "fade_steps": 4, "fade_first_resolution": True}
    config = tiny_config("gof-gan-tiny", tmp_path, 2, **overrides)
    config.pipeline.discriminator = {
        "dc": DCDiscriminatorConfig(resolution=16, last_channels=16),
        "coord_residual": CoordResidualDiscriminatorConfig(
            resolution=16, first_resolution=8, base_channels=8, max_channels=16
        ),
        "style": StyleDiscriminatorConfig(resolution=16, base_channels=8, max_channels=16),
    }[name]
    run = train(config)
    for terms in run.losses.values():
        assert {"d_adversarial", "d_r1", "g_adversarial"} <= terms.keys()
        assert not {"d_pose", "g_pose"} & terms.keys()
        assert all(torch.isfinite(term) for term in terms.values())
    saved = {key for key in run.checkpoint(1)["pipeline"] if key.startswith("discriminator.")}
    assert saved == {f"discriminator.{key}" for key in config.pipeline.discriminator.setup().state_dict()}


def test_presets_choose_the_discriminator() -> None:
    from nerfstudio.configs.method_configs import all_methods

    expected = {"celeba": "ccs", "carla": "progressive", "cats": "strided"}
    for preset, architecture in expected.items():
        config: Any = copy.deepcopy(all_methods["pi-gan-paper"])
        config.preset = preset
        config.resolve_preset()
        assert config.pipeline.discriminator.architecture == architecture


def test_an_architecture_from_the_command_line_survives_the_preset() -> None:
    from nerfstudio.configs.method_configs import all_methods

    config: Any = copy.deepcopy(all_methods["pi-gan-paper"])
    config.preset, config.pipeline.discriminator.architecture = "cats", "progressive"
    config.resolve_preset()
    assert config.pipeline.discriminator.architecture == "progressive"
