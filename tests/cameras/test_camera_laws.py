"""Laws of what else is known of cameras: projection, patches, ways, framing, what they see, learned cameras."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import get_args

import pytest
import torch
from camera_values import DISTRIBUTIONS, pose_priors
from hypothesis import given
from hypothesis import strategies as st
from random_values import magnitudes, numbers, seeds, share_of_examples, tensors
from torch.testing import assert_close

from gan3d_ns.cameras.camera_generator import CameraGenerator, CameraGeneratorConfig, fitted_prior
from gan3d_ns.cameras.camera_vectors import (
    VECTOR_LENGTHS,
    CameraRanges,
    Parametrisation,
    Range,
    vectors_of_viewpoints,
    viewpoints_of_vectors,
)
from gan3d_ns.cameras.framing import framing_problem
from gan3d_ns.cameras.patches import Patches, draw_patches
from gan3d_ns.cameras.pose_prior import PosePrior, PosePriorConfig, poses_to_camera_to_world, poses_to_positions
from gan3d_ns.cameras.projection import projected
from gan3d_ns.cameras.trajectories import HIGHEST_DEG, Programme, trajectory
from gan3d_ns.cameras.view_coverage import BORDER_SOFTNESS, BOUNDS_STEPS, ViewCoverage
from gan3d_ns.cameras.viewpoints import Viewpoints

NUM = 4


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def whole_parts(views: Viewpoints) -> list[torch.Tensor]:
    return [entry for entry in (views.poses, views.radii, views.tangents) if entry is not None]


@given(pose_priors(), seeds, tensors((NUM, 5, 2), -1.5, 1.5), tensors((NUM, 5), 0.125, 10.0))
def test_projection_is_the_way_back_from_rays(config, seed, coordinates, distances):
    prior = PosePrior(config)
    poses, distances = prior.sample(NUM, seeded(seed)).double(), config.radius * distances.double()
    rays = prior.rays_at(poses, coordinates.double())
    points = rays.origins + distances[..., None] * rays.directions
    found = projected(points, prior.camera_to_world(poses), config.fov_deg)
    assert_close(found.coordinates, coordinates.double(), atol=1e-4, rtol=1e-4)
    assert_close(found.distance, distances, atol=0, rtol=1e-4)
    assert (found.depth > 0).all() and (found.depth <= found.distance * (1 + 1e-6)).all()
    backwards = projected(2.0 * rays.origins - points, prior.camera_to_world(poses), config.fov_deg)
    assert_close(backwards.depth, -found.depth, atol=1e-5 * config.radius, rtol=1e-5)


@given(pose_priors(), seeds, st.integers(0, NUM), st.integers(0, NUM))
def test_cameras_can_be_cut_and_put_together(config, seed, first, second):
    views = PosePrior(config).sample_viewpoints(NUM, seeded(seed))
    first, second = sorted((first, second))
    parts = [views[:first], views[first:second], views[second:]]
    assert [len(part) for part in parts] == [first, second - first, NUM - second]
    for one, other in zip(whole_parts(Viewpoints.cat(parts)), whole_parts(views), strict=True):
        assert torch.equal(one, other)


@given(st.integers(0, 6), st.integers(2, 9), numbers(1e-3, 1.0), seeds)
def test_patches_are_squares_inside_the_frame(count, side, smallest, seed):
    patches = draw_patches(count, side, smallest, seeded(seed))
    coordinates = patches.coordinates()
    assert coordinates.shape == (count, side**2, 2)
    assert (coordinates.abs() <= 1.0 + 1e-6).all()
    assert ((patches.scale >= smallest * (1 - 1e-6)) & (patches.scale <= 1.0)).all()
    corners = coordinates[:, [0, side - 1, -side, -1]]
    middle = patches.centre[:, None]
    assert_close(corners.mean(dim=1, keepdim=True), middle, atol=1e-6, rtol=0)
    assert_close((corners - middle).abs(), patches.scale[:, None, None].expand_as(corners), atol=1e-6, rtol=0)


@given(seeds, st.integers(2, 12))
def test_a_patch_of_everything_is_the_picture(seed, side):
    images = torch.rand(2, 3, side, side, generator=seeded(seed))
    everything = draw_patches(2, side, 1.0, seeded(seed))
    assert_close(everything.of(images), images, atol=1e-5, rtol=0)
    assert_close(everything.coordinates(), Patches(torch.ones(2), torch.zeros(2, 2), side).coordinates())


@given(
    pose_priors(),
    st.sampled_from(get_args(Programme)),
    st.integers(1, 40),
    st.integers(1, 3),
    st.none() | numbers(-400.0, 400.0),
    st.none() | numbers(-90.0, 90.0),
)
def test_ways_close_and_keep_their_distance(prior, programme, num_frames, turns, yaw_deg, elevation_deg):
    poses = trajectory(prior, programme, num_frames, turns, yaw_deg, elevation_deg)
    assert poses.shape == (num_frames, 2) and poses.isfinite().all()
    positions = PosePrior(prior).camera_to_world(poses)[:, :, 3]
    assert_close(positions.norm(dim=-1), torch.full((num_frames,), prior.radius), rtol=1e-5, atol=0)
    assert (poses[:, 0] >= math.radians(90.0 - HIGHEST_DEG) - 1e-5).all()
    assert (poses[:, 0] <= math.radians(90.0 + HIGHEST_DEG) + 1e-5).all()
    # Twice the turns in twice the frames: the frame after the last is the first.
    longer = trajectory(prior, programme, 2 * num_frames, 2 * turns, yaw_deg, elevation_deg)
    assert_close(poses_to_positions(longer[num_frames:]), poses_to_positions(poses), atol=2e-5, rtol=0)
    if programme == "still":
        assert torch.equal(poses, poses[:1].expand_as(poses))


def cured(prior: PosePriorConfig, problem: str, half_sides: tuple[float, float, float]) -> PosePriorConfig:
    """The prior that takes the advice in a sentence."""
    advised = dict(re.findall(r"--pipeline\.model\.pose-prior\.([a-z-]+) ([\d.e-]*\d)", problem))
    if not advised:  # "set near below and far above": the box around the centre
        advised = {"near": prior.largest_radius - min(half_sides), "far": prior.largest_radius + min(half_sides)}
    return dataclasses.replace(prior, **{name.replace("-", "_"): float(value) for name, value in advised.items()})


@given(pose_priors(), st.tuples(*[numbers(0.02, 0.9)] * 3))
def test_the_advice_about_framing_is_a_cure(prior, shares):
    """In three steps at most: distances around the centre, then all of the object, then the frame."""
    half_sides = tuple(share * prior.radius for share in shares)
    for _ in range(3):
        problem = framing_problem(prior, half_sides)
        if problem is None:
            return
        prior = cured(prior, problem, half_sides)
    assert framing_problem(prior, half_sides) is None


@given(pose_priors(), numbers(10.0, 170.0), numbers(0.3, 1.5), numbers(0.01, 2.0), seeds)
@share_of_examples(0.2)
def test_the_seen_region_has_bounds_and_view_directions(config, fov_deg, near, length, seed):
    """For frames that are wider than their soft border: of narrower ones it shows places behind the camera."""
    config = dataclasses.replace(config, fov_deg=fov_deg, radius=1.0, radius_spread=0.0, near=near, far=near + length)
    coverage = ViewCoverage(PosePrior(config), num_cameras=8)
    lower, upper = coverage.bounds()
    assert lower.isfinite().all() and upper.isfinite().all() and (lower < upper).all()
    points = coverage.positions[:1] + config.far * torch.randn(300, 3, generator=seeded(seed))
    margin = coverage.margin(points)
    assert margin.isfinite().all()
    # The lattice that looks for the region is that coarse at most, and its border that soft.
    seen, reach = points[margin > 0], 2.0 * (1.0 + config.far) / BOUNDS_STEPS + 2.0 * BORDER_SOFTNESS
    assert ((seen >= lower - reach) & (seen <= upper + reach)).all()
    normals = torch.nn.functional.normalize(points, dim=-1)
    assert_close(coverage.facing_directions(normals).norm(dim=-1), torch.ones(300))


@st.composite
def camera_ranges(draw: st.DrawFn) -> CameraRanges:
    radius = draw(numbers(0.1, 10.0))
    fov = draw(numbers(1.0, 179.0))
    return CameraRanges(
        fov_deg=Range(fov, draw(numbers(0.1, 0.99)) * min(fov, 180.0 - fov)),
        yaw_deg=Range(draw(numbers(-360.0, 360.0)), draw(numbers(1.0, 180.0))),
        elevation_deg=Range(0.0, draw(numbers(1.0, 90.0))),
        radius=Range(radius, draw(numbers(0.01, 0.99)) * radius),
    )


parametrisations = st.sampled_from(get_args(Parametrisation))


@given(camera_ranges(), parametrisations, st.data())
def test_cameras_are_the_same_after_a_round_trip_through_their_vectors(ranges, parametrisation, data):
    vectors = data.draw(tensors((NUM, VECTOR_LENGTHS[parametrisation]), -1.0, 1.0, torch.float64))
    views = viewpoints_of_vectors(vectors, parametrisation, ranges)
    again = viewpoints_of_vectors(vectors_of_viewpoints(views, parametrisation, ranges), parametrisation, ranges)
    frames, others = (poses_to_camera_to_world(each.poses) for each in (views, again))
    assert_close(frames, others, atol=1e-6, rtol=0)
    assert_close(views.radii, again.radii, atol=0, rtol=1e-6)
    assert_close(views.tangents, again.tangents, atol=1e-9, rtol=1e-6)


@given(camera_ranges(), parametrisations, st.data())
def test_no_vector_leaves_the_ranges(ranges, parametrisation, data):
    vectors = data.draw(tensors((NUM, VECTOR_LENGTHS[parametrisation]), -1e6, 1e6))
    views = viewpoints_of_vectors(vectors, parametrisation, ranges)
    elevation = torch.rad2deg(views.poses[:, 0]) - 90.0
    assert (elevation.abs() <= ranges.elevation_deg.half * (1 + 1e-5) + 1e-4).all()
    if parametrisation == "normal":
        yaw = torch.rad2deg(views.poses[:, 1]) - 90.0 - ranges.yaw_deg.centre
        assert (yaw.abs() <= ranges.yaw_deg.half + 1e-3).all()
    assert ((views.radii - ranges.radius.centre).abs() <= ranges.radius.half * (1 + 1e-5) + 1e-6).all()
    assert (views.radii > 0).all() and (views.tangents > 0).all() and views.tangents.isfinite().all()


@st.composite
def learned_cameras(draw: st.DrawFn) -> CameraGenerator:
    """A network that moves cameras far, of any prior that learned cameras may start from."""
    moves = draw(st.lists(st.booleans(), min_size=4, max_size=4))
    config = CameraGeneratorConfig(
        parametrisation=draw(st.sampled_from(("auto", "normal", "full"))),
        learn_yaw=moves[0],
        learn_elevation=moves[1],
        learn_fov=moves[2],
        learn_radius=moves[3],
        yaw_range_deg=draw(numbers(1.0, 180.0) | magnitudes(1e-9, 180.0)),
        elevation_range_deg=draw(numbers(1.0, 90.0) | magnitudes(1e-9, 90.0)),
        hidden_dim=4,
        num_layers=1,
        initial_std=draw(magnitudes(0.01, 100.0)),
    )
    prior = draw(pose_priors())
    if draw(st.booleans()):
        config.radius_range = draw(numbers(0.0, 0.99)) * prior.radius
        config.fov_range_deg = draw(numbers(0.0, 0.99)) * min(prior.fov_deg, 180.0 - prior.fov_deg)
    torch.manual_seed(draw(seeds))
    return CameraGenerator(config, prior)


@given(learned_cameras(), seeds)
def test_learned_cameras_wait_move_within_their_limits_and_are_a_prior_again(cameras, seed):
    prior = PosePrior(cameras.prior).sample_viewpoints(50, seeded(seed))
    with torch.no_grad():
        assert cameras(prior) is prior, "before the release"
        cameras.release()
        moved = cameras(prior)
    for column, quantity in ((0, "elevation"), (1, "yaw")):
        if not cameras.moves[quantity]:
            assert torch.equal(moved.poses[:, column], prior.poses[:, column])
    for quantity, name in (("radius", "radii"), ("fov", "tangents")):
        if not cameras.moves[quantity]:
            assert getattr(moved, name) is getattr(prior, name)
    if cameras.moves["elevation"]:
        limit = math.radians(cameras.config.elevation_range_deg)
        assert ((moved.poses[:, 0] - math.pi / 2).abs() <= limit + 1e-5).all()
    if moved.radii is not None:
        assert (moved.radii > 0).all()
    if moved.tangents is not None:
        assert (moved.tangents > 0).all() and moved.tangents.isfinite().all()
    rays = PosePrior(cameras.prior).viewpoint_rays(moved, 3)
    assert (rays.nears > 0).all() and (rays.fars > rays.nears).all() and rays.directions.isfinite().all()
    # What viewers and films look from: any learned law fits into a prior that is valid.
    PosePrior(fitted_prior(cameras.prior, moved))


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@given(st.data())
@share_of_examples(0.3)
def test_any_cameras_have_a_prior_that_is_valid(distribution, data):
    """However they stand: in two places, on both poles, far apart, or all in one."""
    prior = data.draw(pose_priors((distribution,)))
    pitch, yaw = data.draw(tensors((NUM,), 0.0, math.pi)), data.draw(tensors((NUM,), -7.0, 7.0))
    radii = prior.radius * data.draw(st.lists(magnitudes(1e-3, 10.0), min_size=NUM, max_size=NUM).map(torch.tensor))
    tangents = data.draw(tensors((NUM, 2), 1e-3, 20.0))
    PosePrior(fitted_prior(prior, Viewpoints(torch.stack((pitch, yaw), dim=-1), radii, tangents)))


@given(pose_priors(), st.sampled_from(("uniform", "gaussian")), numbers(0.0, 50.0), numbers(0.0, 0.25), seeds)
@share_of_examples(0.4)
def test_the_prior_fitted_to_a_prior_is_like_it(config, distribution, yaw_spread, elevation_share, seed):
    config = dataclasses.replace(
        config,
        distribution=distribution,
        yaw_spread_deg=yaw_spread,
        elevation_spread_deg=elevation_share * (90.0 - abs(config.elevation_mean_deg)),
    )
    fitted = fitted_prior(config, PosePrior(config).sample_viewpoints(4096, seeded(seed)))
    turned = math.remainder(fitted.yaw_mean_deg - config.yaw_mean_deg, 360.0)
    assert abs(turned) <= 0.1 * config.yaw_spread_deg + 1e-3
    assert abs(fitted.yaw_spread_deg - config.yaw_spread_deg) <= 0.1 * config.yaw_spread_deg + 1e-3
    assert abs(fitted.elevation_mean_deg - config.elevation_mean_deg) <= 0.1 * config.elevation_spread_deg + 1e-3
    assert abs(fitted.elevation_spread_deg - config.elevation_spread_deg) <= 0.1 * config.elevation_spread_deg + 1e-3
    assert math.isclose(fitted.radius, config.radius, rel_tol=0.05)
