"""Cameras that differ in distance and field of view: rays follow both, and gradients reach them."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch.testing import assert_close

from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS, PosePrior
from gan3d_ns.cameras.viewpoints import Viewpoints

CONFIG = POSE_PRIOR_PRESETS["carla"]
SIDE = 6


def poses(num: int = 3) -> torch.Tensor:
    return PosePrior(CONFIG).sample(num, torch.Generator().manual_seed(0))


def test_tangents_are_another_field_of_view() -> None:
    wide = PosePrior(dataclasses.replace(CONFIG, fov_deg=50.0))
    tangent = math.tan(math.radians(25.0))
    viewpoints = Viewpoints(poses(), tangents=torch.full((3, 2), tangent))
    rays, expected = PosePrior(CONFIG).viewpoint_rays(viewpoints, SIDE), wide.rays(poses(), SIDE)
    assert_close(rays.directions, expected.directions)
    assert_close(rays.pixel_area, expected.pixel_area)


def test_tangents_across_and_down_are_told_apart() -> None:
    flat = Viewpoints(poses(1), tangents=torch.tensor([[0.4, 0.1]]))
    prior = PosePrior(CONFIG)
    corner = prior.viewpoint_rays_at(flat, torch.tensor([[[1.0, 1.0]]])).directions[0, 0]
    right, up, backward = prior.camera_to_world(poses(1))[0, :, :3].unbind(-1)
    assert_close((corner @ right) / -(corner @ backward), torch.tensor(0.4))
    assert_close((corner @ up) / -(corner @ backward), torch.tensor(-0.1))


def test_the_same_space_is_seen_from_every_distance() -> None:
    radii = torch.tensor([0.9, 1.0, 1.1])
    rays = PosePrior(CONFIG).viewpoint_rays(Viewpoints(poses(), radii), SIDE)
    assert_close(rays.origins.norm(dim=-1), radii[:, None].expand(-1, SIDE**2))
    assert rays.nears is not None
    before = rays.origins.norm(dim=-1, keepdim=True) - rays.nears
    assert_close(before, torch.full_like(before, 0.3), atol=1e-6, rtol=0)


@pytest.mark.parametrize("at_coordinates", [False, True])
def test_gradients_reach_poses_distances_and_fields_of_view(at_coordinates: bool) -> None:
    prior = PosePrior(CONFIG)
    entries = [poses().requires_grad_(), torch.ones(3, requires_grad=True), torch.full((3, 2), 0.2, requires_grad=True)]
    viewpoints = Viewpoints(*entries)
    if at_coordinates:
        rays = prior.viewpoint_rays_at(viewpoints, torch.rand(1, 5, 2, generator=torch.Generator().manual_seed(1)))
    else:
        rays = prior.viewpoint_rays(viewpoints, SIDE)
    weights = torch.randn(rays.origins.shape, generator=torch.Generator().manual_seed(2))
    (weights * (rays.origins + 0.7 * rays.directions)).sum().backward()
    for entry in entries:
        assert entry.grad is not None
        assert (entry.grad != 0).all()
    assert rays.nears is not None
    assert not rays.nears.requires_grad
