"""What cameras see, against counting frusta one by one; view directions against the prior's."""

from __future__ import annotations

import math

import pytest
import torch

from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS, PosePrior, PosePriorConfig
from gan3d_ns.cameras.view_coverage import BORDER_SOFTNESS, ViewCoverage, mirrored_poses

PRESETS = ("celeba", "cats", "carla", "procedural")


def coverage_of(name: str) -> ViewCoverage:
    return ViewCoverage(PosePrior(POSE_PRIOR_PRESETS[name]), num_cameras=16)


def sees(config: PosePriorConfig, position: torch.Tensor, rotation: torch.Tensor, point: torch.Tensor) -> bool:
    """One camera and one point, from the definition of a frustum."""
    right, up, backward = rotation.unbind(dim=1)
    ray = point - position
    depth = float(-ray @ backward)
    limit = math.tan(math.radians(config.fov_deg) / 2) * depth
    in_frame = abs(float(ray @ right)) < limit and abs(float(ray @ up)) < limit
    return in_frame and config.near < float(ray.norm()) < config.far


@pytest.mark.parametrize("name", PRESETS)
def test_the_margin_is_positive_where_a_quarter_of_the_cameras_sees_the_point(name: str) -> None:
    coverage = coverage_of(name)
    points = torch.empty(300, 3).uniform_(-0.25, 0.25)
    # The border is soft: right at it a neighbouring camera may decide.
    clear = coverage.margin(points).abs() > BORDER_SOFTNESS
    assert clear.float().mean() > 0.8
    for point, margin in zip(points[clear], coverage.margin(points[clear]), strict=True):
        cameras = zip(coverage.positions, coverage.rotations, strict=True)
        count = sum(sees(coverage.config, position, rotation, point) for position, rotation in cameras)
        assert (count >= 3) if float(margin) > 0 else (count <= 5)


def test_for_a_single_place_the_margin_is_the_way_to_the_nearest_side() -> None:
    """Up to a constant of the soft border."""
    coverage = ViewCoverage(PosePrior(PosePriorConfig(distribution="fixed")))
    tangent = math.tan(math.radians(6.0))
    points = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 0.1], [0.05, 0.0, 0.0], [0.0, -0.13, 0.0]])
    expected = torch.tensor([tangent, 0.02, tangent - 0.05, tangent - 0.13])
    constant = BORDER_SOFTNESS * math.log(3.0)
    torch.testing.assert_close(coverage.margin(points), expected + constant, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", PRESETS)
def test_the_bounds_hold_everything_that_is_seen(name: str) -> None:
    coverage = coverage_of(name)
    lower, upper = coverage.bounds()
    points = torch.empty(20_000, 3).uniform_(-0.5, 0.5)
    seen = points[coverage.margin(points) > 0]
    assert len(seen) > 0
    assert (seen > lower).all() and (seen < upper).all()
    assert (upper - lower < 1.5 * (seen.amax(dim=0) - seen.amin(dim=0))).all()


def test_all_around_a_surface_is_seen_along_its_inward_normal() -> None:
    prior = PosePriorConfig(distribution="spherical", elevation_spread_deg=90.0, yaw_spread_deg=180.0)
    coverage = ViewCoverage(PosePrior(prior), num_cameras=256)
    normals = torch.nn.functional.normalize(torch.randn(50, 3), dim=-1)
    directions = coverage.facing_directions(normals)
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(50))
    assert ((directions * -normals).sum(dim=-1) > 0.95).all()


def test_a_single_camera_sees_everything_along_its_own_direction() -> None:
    coverage = ViewCoverage(PosePrior(PosePriorConfig(distribution="fixed")))
    directions = coverage.facing_directions(torch.nn.functional.normalize(torch.randn(9, 3), dim=-1))
    torch.testing.assert_close(directions, torch.tensor([[0.0, 0.0, -1.0]]).expand(9, 3), atol=1e-6, rtol=0)


def test_frontal_cameras_see_backs_from_the_front() -> None:
    """A view-dependent colour has never been trained from behind."""
    directions = coverage_of("celeba").facing_directions(torch.tensor([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0]]))
    assert (directions[:, 2] < -0.5).all()
    assert directions[1, 0] < directions[0, 0], "the side of the object is seen from its side"


@pytest.mark.parametrize("name", PRESETS)
def test_poses_come_in_mirrored_pairs(name):
    prior = PosePrior(POSE_PRIOR_PRESETS[name])
    poses, middle = mirrored_poses(prior, 6), prior.mean_pose()[1]
    torch.testing.assert_close(poses[:3, 0], poses[3:, 0])
    torch.testing.assert_close(poses[:3, 1] - middle, middle - poses[3:, 1])
    assert torch.equal(mirrored_poses(prior, 6), poses), "the same in every call"
