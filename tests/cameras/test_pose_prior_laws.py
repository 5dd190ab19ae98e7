"""What holds for the cameras and rays of every pose prior."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from camera_values import DISTRIBUTIONS, pose_priors
from hypothesis import given
from hypothesis import strategies as st
from random_values import dtypes, magnitudes, numbers, seeds, share_of_examples, tensors
from torch import Tensor
from torch.testing import assert_close

from gan3d_ns.cameras.pose_prior import (
    FOV_LIMITS_DEG,
    POLE_MARGIN,
    TRUNCATION,
    PosePrior,
    PosePriorConfig,
    look_at_origin,
    poses_from_degrees,
    poses_to_camera_to_world,
    poses_to_positions,
)
from gan3d_ns.cameras.viewpoints import Viewpoints
from gan3d_ns.errors import UserError

NUM = 5


def drawn(config: PosePriorConfig, seed: int) -> tuple[PosePrior, Viewpoints]:
    prior = PosePrior(config)
    return prior, prior.sample_viewpoints(NUM, torch.Generator().manual_seed(seed))


def angle_between(first: Tensor, second: Tensor) -> Tensor:
    """The smallest turn from one angle to the other, in radians."""
    return (torch.remainder(first - second + math.pi, 2.0 * math.pi) - math.pi).abs()


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@given(st.data(), seeds)
@share_of_examples(0.3)
def test_random_cameras_keep_the_bounds_of_their_law(distribution, data, seed):
    config = data.draw(pose_priors((distribution,)))
    prior, views = drawn(config, seed)
    pitch, yaw = views.poses.double().unbind(-1)
    mean, rounding = prior.mean_pose().double(), 1e-5 + 1e-6 * abs(config.yaw_mean_deg)
    assert (pitch >= 0.99 * POLE_MARGIN).all() and (pitch <= math.pi - 0.9 * POLE_MARGIN).all()
    reach = {"fixed": 0.0, "uniform": 1.0, "spherical": 1.0, "truncated-gaussian": TRUNCATION}
    if config.distribution in reach:
        yaw_reach = reach[config.distribution] * math.radians(config.yaw_spread_deg)
        assert ((yaw - mean[1]).abs() <= yaw_reach + rounding + 1e-6 * yaw_reach).all()
    if config.distribution in ("fixed", "uniform", "truncated-gaussian"):
        pitch_reach = reach[config.distribution] * math.radians(config.elevation_spread_deg)
        assert ((pitch - mean[0]).abs() <= pitch_reach + 2.0 * POLE_MARGIN).all()
    if config.distribution == "spherical":
        # The share of the sphere's area above the camera; the same law in other words.
        area = (1.0 - pitch.cos()) / 2.0
        middle, half = (90.0 - config.elevation_mean_deg) / 180.0, config.elevation_spread_deg / 180.0
        assert (area >= min(max(middle - half, 0.0), 1.0) - 3.0 * POLE_MARGIN).all()
        assert (area <= max(min(middle + half, 1.0), 0.0) + 3.0 * POLE_MARGIN).all()
    if views.radii is not None:
        assert ((views.radii - config.radius).abs() <= config.radius_spread * (1 + 1e-5) + 1e-6 * config.radius).all()
        assert (views.radii > 0).all()
    if views.tangents is not None:
        fovs = torch.rad2deg(2.0 * torch.atan(views.tangents.double()))
        assert (fovs >= FOV_LIMITS_DEG[0] - 1e-3).all() and (fovs <= FOV_LIMITS_DEG[1] + 1e-3).all()


@given(pose_priors(), seeds, st.integers(2, 9))
def test_rays_start_at_their_camera_are_unit_and_surround_the_origin(config, seed, resolution):
    prior, views = drawn(config, seed)
    rays = prior.viewpoint_rays(views, resolution)
    radii = torch.full((NUM,), config.radius) if views.radii is None else views.radii
    positions = poses_to_positions(views.poses) * radii[:, None]
    assert rays.shape == (NUM, resolution**2)
    assert_close(rays.origins, positions[:, None].expand_as(rays.origins), rtol=1e-5, atol=1e-5 * config.radius)
    assert_close(rays.directions.norm(dim=-1), torch.ones(rays.shape), atol=1e-6, rtol=0)
    assert (rays.nears > 0).all() and (rays.fars > rays.nears).all()
    assert rays.fars.isfinite().all() and (rays.pixel_area > 0).all()
    # The picture is symmetric about the origin: opposite pixels look past it on opposite sides.
    inward = -torch.nn.functional.normalize(positions, dim=-1)
    along = (rays.directions * inward[:, None]).sum(dim=-1, keepdim=True)
    across = rays.directions / along - inward[:, None]
    assert (along > 0).all()
    assert_close(across, -across.flip(1), atol=1e-4, rtol=1e-4)
    if resolution % 2:
        middle = rays.directions[:, resolution**2 // 2]
        assert_close(middle, inward, atol=1e-5, rtol=0)


@given(pose_priors(), seeds, st.integers(2, 7))
def test_cameras_of_nerfstudio_have_the_same_rays(config, seed, resolution):
    prior, views = drawn(config, seed)
    fast, cameras = prior.rays(views.poses, resolution), prior.cameras(views.poses, resolution)
    for index in (0, NUM - 1):
        slow = cameras.generate_rays(camera_indices=index).flatten()
        assert_close(fast.origins[index], slow.origins, rtol=1e-5, atol=1e-5 * config.radius)
        assert_close(fast.directions[index], slow.directions, atol=2e-5, rtol=0)


@given(pose_priors(), seeds, tensors((1, 6, 2), -1.0, 1.0), dtypes)
def test_rays_through_chosen_points_are_those_of_the_pixels_there(config, seed, points, dtype):
    """Also for poses in double precision, and one list of points for all cameras."""
    prior, views = drawn(config, seed)
    poses = views.poses.to(dtype)
    corners = torch.tensor([[[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]]])
    at_corners, pixels = prior.viewpoint_rays_at(Viewpoints(poses), corners), prior.rays(poses, 2)
    for name in ("origins", "directions", "nears", "fars"):
        assert getattr(at_corners, name).dtype == dtype
        assert_close(getattr(at_corners, name), getattr(pixels, name), rtol=1e-5, atol=1e-5)
    apart = prior.rays_at(poses, points.expand(NUM, -1, -1))
    assert_close(prior.viewpoint_rays_at(Viewpoints(poses), points).directions, apart.directions)


@given(
    tensors((4,), 0.0, math.pi, torch.float64), tensors((4,), -30.0, 30.0, torch.float64), numbers(0.01, 100.0), dtypes
)
def test_camera_frames_are_rotations_that_look_at_the_origin(pitch, yaw, radius, dtype):
    poses = torch.stack((pitch, yaw), dim=-1).to(dtype)
    matrices = poses_to_camera_to_world(poses, radius)
    frames, positions = matrices[:, :, :3].double(), matrices[:, :, 3].double()
    assert_close(frames @ frames.transpose(1, 2), torch.eye(3).double().expand(4, 3, 3), atol=1e-6, rtol=0)
    assert_close(torch.linalg.det(frames), torch.ones(4).double(), atol=1e-6, rtol=0)
    assert_close(frames[:, :, 2] * radius, positions, rtol=1e-5, atol=1e-6 * radius)
    assert (frames[:, 1, 1] >= -1e-6).all(), "up never points down"
    # Away from the poles there is one such frame.
    if (poses[:, 0].sin() > 1e-2).all():
        assert_close(look_at_origin(positions), matrices.double(), rtol=1e-4, atol=1e-4 * max(radius, 1.0))


@given(tensors((4,), -360.0, 360.0), tensors((4,), -90.0, 90.0), st.integers(-3, 3))
def test_a_full_turn_of_the_yaw_is_no_turn(yaw_deg, elevation_deg, turns):
    once = poses_to_camera_to_world(poses_from_degrees(yaw_deg, elevation_deg))
    again = poses_to_camera_to_world(poses_from_degrees(yaw_deg + 360.0 * turns, elevation_deg))
    assert_close(once, again, atol=5e-6, rtol=0)


NUMBERS = [entry.name for entry in dataclasses.fields(PosePriorConfig) if entry.type is float]


@given(st.sampled_from(NUMBERS), st.sampled_from((math.nan, math.inf, -math.inf)))
def test_numbers_that_are_not_finite_are_refused_by_name(name, value):
    with pytest.raises(UserError, match=name):
        PosePrior(dataclasses.replace(PosePriorConfig(), **{name: value}))


@given(
    pose_priors(),
    st.tuples(*[magnitudes(0.01, 10.0)] * 3),
    numbers(0.0, 0.6),
    st.none() | st.tuples(st.sampled_from(NUMBERS), numbers(-2.0, 400.0)),
    seeds,
)
def test_any_numbers_are_refused_or_give_usable_cameras(config, lengths, share, change, seed):
    radius, near, length = lengths
    config = dataclasses.replace(config, radius=radius, near=near, far=near + length, radius_spread=share * near)
    if change is not None:
        config = dataclasses.replace(config, **{change[0]: change[1]})
    try:
        prior = PosePrior(config)
    except UserError:
        return
    rays = prior.viewpoint_rays(prior.sample_viewpoints(NUM, torch.Generator().manual_seed(seed)), 3)
    assert rays.origins.isfinite().all() and rays.directions.isfinite().all()
    assert (rays.nears > 0).all() and (rays.fars > rays.nears).all()
    outward = torch.nn.functional.normalize(rays.origins, dim=-1)
    assert ((rays.directions * outward).sum(dim=-1)[:, 4] < -0.99).all(), "cameras look inwards"
