"""Projection is the way back from rays."""

from __future__ import annotations

import torch

from gan3d_ns.cameras.pose_prior import PosePrior, PosePriorConfig
from gan3d_ns.cameras.projection import projected


def test_points_on_rays_come_back_to_the_coordinates_of_their_rays() -> None:
    prior = PosePrior(PosePriorConfig(distribution="uniform", yaw_spread_deg=180.0, fov_deg=30.0))
    randomness = torch.Generator().manual_seed(0)
    poses = prior.sample(3, randomness)
    coordinates = 2.4 * torch.rand(3, 50, 2, generator=randomness) - 1.2
    distances = 0.5 + torch.rand(3, 50, generator=randomness)
    rays = prior.rays_at(poses, coordinates)
    found = projected(rays.origins + distances[..., None] * rays.directions, prior.camera_to_world(poses), 30.0)
    torch.testing.assert_close(found.coordinates, coordinates, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.distance, distances)
    behind = projected(rays.origins - rays.directions, prior.camera_to_world(poses), 30.0)
    assert bool((found.depth > 0).all()) and bool((behind.depth < 0).all())
