"""Presets fill in what the user has not set, and each preset of each method makes something that can be built."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from gan3d_ns.cameras.framing import framing_problem
from gan3d_ns.engine.presets import apply_preset, read_path
from gan3d_ns.errors import UserError


@dataclass
class Camera:
    yaw: float = 10.0
    near: float = 0.9


@dataclass(frozen=True)
class Window:
    start: float = 0.12
    end: float = 0.02


@dataclass
class Config:
    camera: Camera = field(default_factory=Camera)
    window: Window = field(default_factory=Window)
    background: str = "black"
    stages: tuple[int, ...] = (32, 64)
    options: dict[str, Any] = field(default_factory=lambda: {"flip": True})


PRESETS = {
    "default": {"camera": Camera(), "window": Window(), "background": "black", "stages": (32, 64)},
    "cars": {"camera": Camera(180.0, 0.8), "window": Window(0.2, 0.1), "background": "white", "stages": (64,)},
}


def test_moves_what_the_user_left_alone() -> None:
    config = Config()
    changed = apply_preset(config, PRESETS, "cars", "default")
    assert config == Config(Camera(180.0, 0.8), Window(0.2, 0.1), "white", (64,))
    assert set(changed) == {"camera", "window", "background", "stages"}


def test_keeps_what_the_user_set() -> None:
    config = Config(background="grey", stages=(16,))
    apply_preset(config, PRESETS, "cars", "default")
    assert (config.background, config.stages) == ("grey", (16,))
    assert config.camera == Camera(180.0, 0.8)


def test_keeps_one_flag_of_a_group_and_moves_the_rest() -> None:
    """`--preset cars --camera.yaw 90 --window.end .05` must not lose the preset's near and start."""
    config = Config(camera=Camera(yaw=90.0), window=Window(end=0.05))
    apply_preset(config, PRESETS, "cars", "default")
    assert config.camera == Camera(yaw=90.0, near=0.8)
    assert config.window == Window(start=0.2, end=0.05)


def test_merges_stages_of_equal_number() -> None:
    """`--preset b --curriculum.0.batch 4` keeps the batch and takes the rest of both stages."""
    config = Config(stages=(99, 64))
    apply_preset(config, {"a": {"stages": (32, 64)}, "b": {"stages": (16, 128)}}, "b", "a")
    assert config.stages == (99, 128)


def test_does_not_share_its_values_with_the_config() -> None:
    presets = copy.deepcopy(PRESETS)
    config = Config()
    apply_preset(config, presets, "cars", "default")
    config.camera.yaw = 1.0
    assert presets["cars"]["camera"] == Camera(180.0, 0.8)


def test_nothing_changes_the_second_time() -> None:
    config = Config()
    apply_preset(config, PRESETS, "cars", "default")
    assert apply_preset(config, PRESETS, "cars", "default") == []


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"no preset 'dogs'.*default, cars"):
        apply_preset(Config(), PRESETS, "dogs", "default")


def method_configs() -> dict[str, Any]:
    from nerfstudio.configs.method_configs import all_methods

    from gan3d_ns.engine.trainer_config import GanTrainerConfig

    return {name: config for name, config in all_methods.items() if isinstance(config, GanTrainerConfig)}


def test_each_preset_of_each_method_builds() -> None:
    """At full size, as the user would: the model, a discriminator that covers the curriculum, the first plan."""
    from nerfstudio.data.scene_box import SceneBox

    box = SceneBox(aabb=torch.tensor([[-0.12] * 3, [0.12] * 3]))
    for name, template in method_configs().items():
        assert template.presets
        for preset, values in template.presets.items():
            config = copy.deepcopy(template)
            config.preset, config.data = preset, Path("pictures")
            config.resolve_preset()
            for path, value in values.items():
                assert read_path(config, path) == value, (name, preset, path)
            config.validate_shown_sides()
            prior = config.pipeline.model.pose_prior
            assert prior.near < prior.radius < prior.far
            assert config.window.start <= prior.far - prior.near
            # At full size the networks take seconds to initialise; the fields do not depend on it.
            config.pipeline.model.tri_plane.generator_channels = (8, 8, 8)
            config.pipeline.model.tri_plane.geometry_side = 16
            config.pipeline.model.film_siren.hidden_dim = 16
            model = config.pipeline.model.setup(scene_box=box, num_train_data=1)
            assert model.generator.background == config.pipeline.model.background
            assert framing_problem(prior, model.generator.field.expected_half_sides) is None, (name, preset)


def test_auto_is_the_toy_cars_only_without_pictures() -> None:
    template = method_configs()["gof-gan-tiny"]

    def resolved(**paths: Path) -> Any:
        config = copy.deepcopy(template)
        for path, value in paths.items():
            parent, _, name = path.rpartition(".")
            setattr(read_path(config, parent) if parent else config, name, value)
        config.resolve_preset()
        return config

    without = resolved()
    assert without.pipeline.model.background == "white"
    assert without.pipeline.model.pose_prior.yaw_spread_deg == 180.0
    for path in ("data", "pipeline.datamanager.data", "pipeline.datamanager.dataparser.data"):
        assert resolved(**{path: Path("pictures")}).pipeline == replace_data(template, path).pipeline, path


def replace_data(template: Any, path: str) -> Any:
    config = copy.deepcopy(template)
    parent, _, name = path.rpartition(".")
    setattr(read_path(config, parent) if parent else config, name, Path("pictures"))
    config.note_pictures()
    return config
