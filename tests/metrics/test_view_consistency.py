"""Warping between two views of shapes that are formulas, with true depths, wrong ones and things in the way."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from analytic_field import BallField
from ball_model import StripedBall, ball_model
from torch import Tensor

from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS, PosePrior, poses_from_degrees
from gan3d_ns.metrics.generated_views import Rendered
from gan3d_ns.metrics.view_consistency import occlusion_tolerance, reprojection_error, view_consistency
from gan3d_ns.model_components.ray_samplers import SurfaceWindowSampler, SurfaceWindowSamplerConfig
from gan3d_ns.models.generator import Generator

PRIOR = PosePrior(POSE_PRIOR_PRESETS["procedural"])
YAWS = torch.tensor([-10.0, 5.0])
POSES_A, POSES_B = (poses_from_degrees(YAWS + turn, torch.tensor([5.0, 20.0])) for turn in (0.0, 12.0))


def texture(points: Tensor) -> Tensor:
    """Colours in [0, 1], a wave in 0.08 world units."""
    return 0.5 + 0.4 * torch.sin(80.0 * points + points.new_tensor([0.0, 1.0, 2.0]))


def square_seen(poses: Tensor, side: int, height: float = 0.0, half: float = 0.07) -> Rendered:
    """A textured square that faces +z at this height, over white."""
    rays = PRIOR.rays(poses, side)
    depth = (height - rays.origins[..., 2]) / rays.directions[..., 2]
    points = rays.origins + depth[..., None] * rays.directions
    return _seen(points, depth, (points[..., :2].abs() <= half).all(dim=-1), side)


def ball_seen(poses: Tensor, side: int, radius: float = 0.08) -> Rendered:
    """A textured ball at the origin, over white."""
    rays = PRIOR.rays(poses, side)
    middle = -(rays.origins * rays.directions).sum(dim=-1)
    chord = radius**2 - (rays.origins + middle[..., None] * rays.directions).square().sum(dim=-1)
    depth = middle - chord.clamp(min=0.0).sqrt()
    return _seen(rays.origins + depth[..., None] * rays.directions, depth, chord > 0, side)


def _seen(points: Tensor, depth: Tensor, hit: Tensor, side: int) -> Rendered:
    square = (len(points), side, side)
    rgb = torch.where(hit[..., None], texture(points), 1.0).unflatten(1, (side, side)).permute(0, 3, 1, 2)
    return Rendered(rgb, torch.where(hit, depth, 1.12).reshape(square), hit.reshape(square))


@pytest.mark.parametrize("scene", [square_seen, ball_seen])
def test_true_depths_leave_what_the_pixels_leave(scene: Any) -> None:
    errors = []
    for side in (32, 64, 128):
        found = reprojection_error(scene(POSES_A, side), POSES_A, scene(POSES_B, side), POSES_B, PRIOR)
        assert bool((found.share > 0.7).all())
        errors.append(float(found.error.max()))
    assert errors[2] < 0.3 * errors[1] < 0.3 * 0.4 * errors[0]  # bilinear reads: with the square of a pixel
    assert errors[1] < 0.01


@pytest.mark.parametrize("offset", [-0.02, 0.02])
def test_wrong_depths_cost_colours(offset: float) -> None:
    views = [square_seen(poses, 64) for poses in (POSES_A, POSES_B)]
    wrong = [seen._replace(surface_depth=seen.surface_depth + offset) for seen in views]
    right = reprojection_error(views[0], POSES_A, views[1], POSES_B, PRIOR)
    found = reprojection_error(wrong[0], POSES_A, wrong[1], POSES_B, PRIOR)
    # A turn by 12 degrees moves what lies 0.02 beside the axis' surface by 0.02 sin(12 degrees) across.
    slope = 0.4 * 80.0 * 2.0 / math.pi / 3.0
    assert bool((found.error > 0.6 * slope * 0.02 * math.sin(math.radians(12.0))).all())
    assert bool((found.error > 8.0 * right.error).all())


def test_a_constant_difference_of_colours_is_the_error() -> None:
    first, second = square_seen(POSES_A, 32), square_seen(POSES_B, 32)
    grey = [seen._replace(rgb=torch.full_like(seen.rgb, level)) for seen, level in ((first, 0.3), (second, 0.5))]
    found = reprojection_error(grey[0], POSES_A, grey[1], POSES_B, PRIOR)
    torch.testing.assert_close(found.error, torch.full((2,), 0.2))


def test_what_is_hidden_from_the_other_camera_is_not_compared() -> None:
    """A small red square floats before the textured one: behind it, as camera A sees it, B sees the texture."""

    def seen(poses: Tensor) -> Rendered:
        far, near = square_seen(poses, 64), square_seen(poses, 64, height=0.08, half=0.02)
        front = near.hit[:, None]
        red = near.rgb.new_tensor([1.0, 0.0, 0.0])[None, :, None, None]
        rgb = torch.where(front, red, far.rgb)
        return Rendered(rgb, torch.where(near.hit, near.surface_depth, far.surface_depth), near.hit | far.hit)

    found = reprojection_error(seen(POSES_A), POSES_A, seen(POSES_B), POSES_B, PRIOR)
    alone = reprojection_error(square_seen(POSES_A, 64), POSES_A, square_seen(POSES_B, 64), POSES_B, PRIOR)
    hidden = (seen(POSES_B).hit & ~found.compared).sum() - (square_seen(POSES_B, 64).hit & ~alone.compared).sum()
    assert hidden > 50  # the red square covers about 140 pixels
    # Only pixels at the rim of the red square, where A's pictures mix both, differ.
    assert bool((found.error < 0.03).all())


def test_surfaces_that_only_one_camera_sees_through_count() -> None:
    """A depth that leaps out of the other view's surface is no occlusion: it must not escape the comparison."""
    first, second = square_seen(POSES_A, 64), square_seen(POSES_B, 64)
    nearer = second._replace(surface_depth=second.surface_depth - 0.05)
    found = reprojection_error(first, POSES_A, nearer, POSES_B, PRIOR)
    assert bool((found.share > 0.7).all()) and bool((found.error > 0.05).all())


def test_nothing_in_sight_is_no_number() -> None:
    empty = square_seen(POSES_A, 16)
    empty = empty._replace(hit=torch.zeros_like(empty.hit))
    for first, second in ((empty, square_seen(POSES_B, 16)), (square_seen(POSES_A, 16), empty)):
        found = reprojection_error(first, POSES_A, second, POSES_B, PRIOR)
        assert bool(found.error.isnan().all()) and bool((found.share == 0).all())


def test_the_tolerance_follows_pixels_and_range() -> None:
    config = PRIOR.config
    footprint = 2.0 * math.tan(math.radians(6.0)) / 63
    assert occlusion_tolerance(config, 64) == pytest.approx(2.0 * footprint + 0.01 * (config.far - config.near))


class PaintedBall(StripedBall):
    """Its colour follows the camera, not the place."""

    def colours(self, positions, directions, styles):
        return 0.5 + 0.5 * torch.sin(12.0 * directions)


def generator_of(field: BallField) -> Generator:
    sampler = SurfaceWindowSampler(SurfaceWindowSamplerConfig(num_coarse_samples=24, num_fine_samples=0))
    sampler.half_width.fill_(0.004)
    return Generator(field, sampler, "white")


def test_a_generator_agrees_with_itself_unless_its_colours_follow_the_camera() -> None:
    model = ball_model()
    poses = PRIOR.sample(3, torch.Generator().manual_seed(1))
    latents = torch.zeros(3, 3)
    consistent = generator_of(StripedBall(8000.0))
    found = view_consistency(consistent, consistent.styles(latents), model.pose_prior, poses)
    painted = generator_of(PaintedBall(8000.0))
    other = view_consistency(painted, painted.styles(latents), model.pose_prior, poses)
    assert found.error.shape == (3,) and bool((found.share > 0.7).all())
    assert bool((found.error < 0.03).all())
    assert bool((other.error > 0.04).all()) and bool((other.error > 2.0 * found.error).all())
    again = view_consistency(consistent, consistent.styles(latents), model.pose_prior, poses)
    assert torch.equal(found.error, again.error)


def test_each_object_is_measured_by_itself() -> None:
    field = BallField(0.05)
    generator = generator_of(field)
    centres = torch.tensor([[0.0, 0.0, 0.0], [0.03, 0.0, 0.02]])
    poses = PRIOR.sample(2, torch.Generator().manual_seed(2))
    both = view_consistency(generator, generator.styles(centres), PRIOR, poses)
    for index in range(2):
        alone = view_consistency(
            generator, generator.styles(centres[index : index + 1]), PRIOR, poses[index : index + 1]
        )
        torch.testing.assert_close(both.error[index], alone.error[0])
