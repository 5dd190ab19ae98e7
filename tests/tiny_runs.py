"""Runs for tests: any registered method, shrunk to seconds on a CPU and trained by nerfstudio's own trainer."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import torch
from torch import Tensor

METHOD = "gof-gan-tiny"
RESOLUTION = 16
NUM_PICTURES = 8

# Dotted paths below the trainer's config; a method takes those that it has.
SIZES: dict[str, Any] = {
    "fade_steps": 0,
    "steps_per_panel": 1000,
    "hollow_check_step": 0,
    "panel_objects": 2,
    "mixed_precision": False,
    "vis": "tensorboard",
    "machine.device_type": "cpu",
    "logging.steps_per_log": 1,
    "pipeline.datamanager.dataparser.num_virtual_views": 4,
    "pipeline.datamanager.dataparser.virtual_view_resolution": RESOLUTION,
    "pipeline.discriminator.resolution": RESOLUTION,
    "pipeline.discriminator.first_resolution": RESOLUTION,
    "pipeline.discriminator.base_channels": 8,
    "pipeline.discriminator.max_channels": 16,
    "pipeline.discriminator.latent_dim": 0,
    "pipeline.discriminator.last_channels": 16,
    "pipeline.loss.penalty_interval": 1,
    "pipeline.model.film_siren.latent_dim": 8,
    "pipeline.model.film_siren.hidden_dim": 16,
    "pipeline.model.film_siren.num_layers": 3,
    "pipeline.model.tri_plane.latent_dim": 8,
    "pipeline.model.tri_plane.generator_channels": (8, 8, 8),
    "pipeline.model.tri_plane.geometry_side": 16,
    "pipeline.model.tri_plane.plane_channels": 4,
    "pipeline.model.tri_plane.decoder_dim": 8,
    "pipeline.model.hash_grid.latent_dim": 8,
    "pipeline.model.hash_grid.hidden_dim": 16,
    "pipeline.model.hash_grid.geometry.num_levels": 2,
    "pipeline.model.hash_grid.geometry.finest_resolution": 16,
    "pipeline.model.hash_grid.colour.num_levels": 3,
    "pipeline.model.hash_grid.colour.log2_table_size": 10,
    "pipeline.model.nerf.shape_dim": 5,
    "pipeline.model.nerf.appearance_dim": 4,
    "pipeline.model.nerf.hidden_dim": 16,
    "pipeline.model.nerf.num_layers": 3,
    "pipeline.model.nerf.skip_layer": 1,
    "pipeline.model.nerf.position_octaves": 3,
    "pipeline.model.composite.num_objects": 2,
    "pipeline.model.composite.feature_dim": 8,
    **{
        f"pipeline.model.composite.{part}.{name}": size
        for part, dim in (("objects", 4), ("background", 3))
        for name, size in (
            ("shape_dim", dim),
            ("appearance_dim", dim),
            ("hidden_dim", 16),
            ("num_layers", 3),
            ("skip_layers", (1,)),
            ("position_octaves", 3),
            ("direction_octaves", 1),
        )
    },
    "pipeline.model.decomposed.shape_dim": 5,
    "pipeline.model.decomposed.appearance_dim": 4,
    "pipeline.model.decomposed.hidden_dim": 16,
    "pipeline.model.decomposed.num_layers": 3,
    "pipeline.model.decomposed.position_octaves": 3,
    "pipeline.model.decomposed.background_octaves": 2,
    "pipeline.model.decomposed.background_samples": 2,
    "pipeline.model.camera_generator.hidden_dim": 8,
    "pipeline.model.camera_generator.num_layers": 1,
    "camera_release_step": 1,
    "pipeline.model.feature_volume.latent_dim": 8,
    "pipeline.model.feature_volume.mapping_dim": 8,
    "pipeline.model.feature_volume.mapping_layers": 2,
    "pipeline.model.feature_volume.code_dim": 8,
    "pipeline.model.feature_volume.volume_channels": (6, 4),
    "pipeline.model.feature_volume.hidden_dim": 16,
    "pipeline.model.feature_volume.num_layers": 2,
    "pipeline.model.feature_volume.feature_dim": 8,
    "pipeline.model.neural_renderer.feature_dim": 8,
    "pipeline.model.neural_renderer.code_dim": 8,
    "pipeline.model.neural_renderer.max_channels": 8,
    "pipeline.model.neural_renderer.min_channels": 4,
    "pipeline.model.neural_renderer.ray_side": RESOLUTION // 2,
    "pipeline.model.neural_renderer.resolution": RESOLUTION,
    "pipeline.model.latent_grid.resolution": 12,
    "pipeline.model.sampler.num_coarse_samples": 4,
    "pipeline.model.sampler.num_window_samples": 3,
    "pipeline.model.sampler.num_fine_samples": 2,
    "pipeline.model.sampler.num_root_steps": 2,
    "pipeline.model.volume_sampler.num_coarse_samples": 4,
}


def set_path(config: Any, path: str, value: Any) -> bool:
    """Set the value at a dotted path where the config has it; returns whether it has."""
    *parents, name = path.split(".")
    for parent in parents:
        if not hasattr(config, parent):
            return False
        config = getattr(config, parent)
    if not hasattr(config, name):
        return False
    setattr(config, name, value)
    return True


def write_pictures(folder: Path, num: int = NUM_PICTURES, side: int = 2 * RESOLUTION) -> Path:
    """A folder of pictures: a bright disc of some colour on black, so that there is something to learn."""
    folder.mkdir(parents=True, exist_ok=True)
    randomness = np.random.default_rng(0)
    row, column = np.mgrid[:side, :side] / (side - 1) * 2 - 1
    for index in range(num):
        centre, colour = randomness.uniform(-0.3, 0.3, 2), randomness.uniform(80, 255, 3)
        inside = (row - centre[0]) ** 2 + (column - centre[1]) ** 2 < 0.4
        imageio.imwrite(folder / f"disc{index}.png", (inside[..., None] * colour).astype(np.uint8))
    return folder


def tiny_config(method_name: str, folder: Path, steps: int = 2, **overrides: Any) -> Any:
    """A registered method's config, shrunk; `overrides` are dotted paths: `**{"pipeline.loss.r2_weight": 1.0}`."""
    from nerfstudio.configs.method_configs import all_methods

    from gan3d_ns.engine.schedules import CurriculumStage

    config: Any = copy.deepcopy(all_methods[method_name])
    for path, value in SIZES.items():
        set_path(config, path, value)
    config.curriculum = (CurriculumStage(0, RESOLUTION, 2),)
    if config.patches.size is not None:
        config.patches = dataclasses.replace(config.patches, size=RESOLUTION)
    config.data = write_pictures(folder / "pictures")
    config.output_dir, config.timestamp = folder / "outputs", "tiny"
    config.max_num_iterations = steps
    for path, value in overrides.items():
        if not set_path(config, path, value):
            raise AttributeError(f"{method_name} has no setting {path}")
    return config


def make_tiny_run(method_name: str, folder: Path, steps: int = 2, **overrides: Any) -> Path:
    """Train a shrunk method for a few steps in this process and return its config.yml (see `tiny_config`)."""
    from nerfstudio.scripts.train import main

    config = tiny_config(method_name, folder, steps, **overrides)
    main(config)
    return config.get_base_dir() / "config.yml"


def weights_of(module: torch.nn.Module) -> list[Tensor]:
    """Copies of all parameters."""
    return [parameter.detach().clone() for parameter in module.parameters()]


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    """Whether all tensors are equal to the last bit."""
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
