"""What the methods of this package share: the machine, optimizers, and the cameras and losses of collections."""

from dataclasses import replace
from typing import Any, Dict, Optional

import torch
from nerfstudio.configs.base_config import MachineConfig

from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS, PosePriorConfig
from gan3d_ns.engine.schedules import WindowScheduleConfig
from gan3d_ns.engine.trainer_config import GanAdamConfig
from gan3d_ns.field_components.start_shape import StartShapeConfig
from gan3d_ns.pipelines.gan_pipeline import GanLossConfig

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def machine() -> MachineConfig:
    """Trains on whatever the machine has."""
    return MachineConfig(device_type=DEVICE)  # pyright: ignore[reportArgumentType]


def optimizers(generator_lr: float, discriminator_lr: float, beta2: float, max_norm: Optional[float]) -> Dict[str, Any]:
    """Adam for the three parameter groups, without momentum and without schedulers; None clips no gradients."""
    rates = {"generator": generator_lr, "mapping": generator_lr, "discriminator": discriminator_lr}
    return {
        name: {"optimizer": GanAdamConfig(lr=rate, betas=(0.0, beta2), max_norm=max_norm), "scheduler": None}
        for name, rate in rates.items()
    }


def photograph_loss() -> GanLossConfig:
    """Losses for photographs, as tried on cats at 32x32."""
    return GanLossConfig(
        r1_weight=3.0,
        penalty_interval=4,
        pose_weight=2.0,
        normal_weight=0.5,
        normal_ray_fraction=0.25,
        coverage_weight=1.0,
    )


# Pictures of heads: seen from the front, a little from the sides (as the cats of GOF, with a shorter range).
HEADS = PosePriorConfig(
    distribution="uniform", yaw_spread_deg=28.6, elevation_spread_deg=17.2, fov_deg=12.0, near=0.88, far=1.12
)


def head_shape() -> StartShapeConfig:
    """A sphere before a wall."""
    return StartShapeConfig(backdrop=-0.5, sphere_prior_gain=14.0, max_displacement=0.3)


def collection_presets(window: WindowScheduleConfig) -> Dict[str, Dict[str, Any]]:
    """Cameras and background of known collections, for the methods with their own schedules.

    ``window`` is the schedule for the default range of 0.12; wider ranges scale it. Photographs (black background) get
    a backdrop, and every pixel must show something; cut-out objects stand alone.
    """

    def preset(pose_prior: PosePriorConfig, background: str, half_side: float, flip: bool = True) -> Dict[str, Any]:
        photographs = background == "black"
        lateral = half_side * 4.0 / 3.0 if photographs else half_side
        return {
            "pipeline.model.start_shape.backdrop": -0.5 if photographs else None,
            "pipeline.model.start_shape.sphere_prior_gain": 14.0 if photographs else 6.0,
            "pipeline.model.start_shape.max_displacement": 0.3 if photographs else None,
            "geometry_release_steps": 3000 if photographs else 300,
            "pipeline.loss.coverage_weight": 1.0 if photographs else 0.0,
            "pipeline.model.pose_prior": pose_prior,
            "window": replace(window, start=half_side, end=window.end * half_side / window.start),
            "pipeline.model.background": background,
            "pipeline.datamanager.collection.background": background,
            "pipeline.datamanager.horizontal_flip": flip,
            "pipeline.model.start_shape.box_half_sides": (lateral, lateral, half_side),
        }

    priors = POSE_PRIOR_PRESETS
    return {
        "default": preset(HEADS, "black", 0.12),
        "procedural": preset(priors["procedural"], "white", 0.12),
        "cats": preset(priors["cats"], "black", 0.2),
        "celeba": preset(priors["celeba"], "black", 0.12),
        "bfm": preset(priors["bfm"], "black", 0.12),
        "carla": preset(priors["carla"], "white", priors["carla"].far - priors["carla"].radius, flip=False),
    }
