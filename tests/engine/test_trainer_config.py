"""The settings of runs that were saved by older versions."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import pytest
from tiny_runs import METHOD, tiny_config

from gan3d_ns.data import built_in
from gan3d_ns.data.procedural_scenes import SceneTruth
from gan3d_ns.data.truth_folders import open_truth
from gan3d_ns.engine.schedules import DensityNoiseConfig, PatchScheduleConfig
from gan3d_ns.errors import UserError


def test_settings_that_are_newer_than_a_run_keep_their_defaults(tmp_path: Path) -> None:
    config = tiny_config(METHOD, tmp_path)
    state = {name: value for name, value in vars(config).items() if name not in ("patches", "density_noise")}
    state["ema_decay"] = 0.123
    opened = object.__new__(type(config))
    opened.__setstate__(state)
    assert (opened.patches, opened.density_noise) == (PatchScheduleConfig(), DensityNoiseConfig())
    assert opened.ema_decay == 0.123 and opened.curriculum == config.curriculum


def test_a_method_may_learn_the_built_in_scenes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Experiment name, preset, training pictures and truth follow one setting."""
    monkeypatch.setenv("GAN3D_CACHE", str(tmp_path / "cache"))
    make = built_in.scene_collection_folder
    monkeypatch.setattr(built_in, "scene_collection_folder", lambda num_images, seed: make(None, 3, 16, seed))
    config = tiny_config(METHOD, tmp_path, preset="auto")
    config.presets = {**copy.deepcopy(config.presets), "scenes": {"pipeline.model.pose_prior.fov_deg": 37.0}}
    config.pipeline.datamanager.built_in = "scenes"
    config.data = config.experiment_name = None
    config.resolve_preset()
    config.set_experiment_name()
    assert (config.base_preset, config.experiment_name) == ("scenes", "scenes")
    assert config.pipeline.knows_pictures
    assert config.pipeline.model.pose_prior.fov_deg == 37.0
    assert isinstance(open_truth(None, "scenes"), SceneTruth)


def test_a_method_without_a_preset_for_scenes_says_so(tmp_path: Path) -> None:
    config = tiny_config(METHOD, tmp_path, preset="auto")
    config.presets.pop("scenes", None)
    config.pipeline.datamanager.built_in = "scenes"
    config.data = None
    with pytest.raises(UserError, match="no preset for the built-in scenes"):
        config.resolve_preset()


@pytest.mark.parametrize("method", ["giraffe-tiny", "volumegan-tiny"])
def test_pictures_that_a_neural_renderer_cannot_make_are_refused(method: str, tmp_path: Path) -> None:
    config = tiny_config(method, tmp_path)
    config.validate_shown_sides()
    stages = config.curriculum
    config.curriculum = tuple(dataclasses.replace(stage, resolution=12) for stage in stages)
    with pytest.raises(UserError, match="pictures of 12 pixels"):
        config.validate_shown_sides()
    config.curriculum, config.patches = stages, PatchScheduleConfig(size=8)
    with pytest.raises(UserError, match="patches of 8 pixels cannot be shown where a neural renderer"):
        config.validate_shown_sides()
    config.pipeline.model.field = "tri-plane"
    config.validate_shown_sides()
