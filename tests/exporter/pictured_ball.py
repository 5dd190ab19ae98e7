"""A ball that cameras look at: the analytic object of the tests of points and splats."""

from __future__ import annotations

import torch
from analytic_field import BallField

from gan3d_ns.cameras.pose_prior import PosePrior, PosePriorConfig
from gan3d_ns.exporter.object_pictures import PicturedObject
from gan3d_ns.model_components.ray_samplers import SurfaceWindowSamplerConfig
from gan3d_ns.models.generator import Generator

RADIUS = 0.06


def pictured_ball(
    yaw_spread_deg: float = 180.0, elevation_spread_deg: float = 80.0, background: str = "white"
) -> PicturedObject:
    prior = PosePrior(
        PosePriorConfig(
            distribution="uniform", yaw_spread_deg=yaw_spread_deg, elevation_spread_deg=elevation_spread_deg
        )
    )
    sampler = SurfaceWindowSamplerConfig(num_coarse_samples=32, num_root_steps=6, num_window_samples=5).setup()
    sampler.half_width.fill_(0.004)
    generator = Generator(BallField(RADIUS), sampler, background)  # pyright: ignore[reportArgumentType]
    return PicturedObject(generator.eval(), generator.styles(torch.zeros(1, 3)), prior)
