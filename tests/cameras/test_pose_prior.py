import math
from dataclasses import replace

import pytest
import torch
import tyro
from torch.testing import assert_close

from gan3d_ns.cameras.pose_prior import (
    POSE_PRIOR_PRESETS,
    PosePriorConfig,
    poses_from_degrees,
    poses_to_camera_to_world,
    poses_to_positions,
)
from gan3d_ns.errors import UserError

RIGHT_ANGLE = math.pi / 2


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(num=20000, seed=0, **changes):
    prior = PosePriorConfig(**{"yaw_spread_deg": 20.0, "elevation_spread_deg": 10.0, **changes}).setup()
    return prior, torch.rad2deg(prior.sample(num, seeded(seed)))


def test_cameras_match_the_original(load_fixture):
    reference = load_fixture("gof_camera")
    poses = reference["yaw_pitch"].flip(-1)
    prior = PosePriorConfig().setup()
    assert_close(prior.camera_to_world(poses), reference["cam2world"][:, :3], atol=1e-5, rtol=0)
    rays = prior.rays(poses, 8)
    assert_close(rays.origins, reference["ray_origins"], atol=1e-5, rtol=0)
    assert_close(rays.directions, reference["ray_dirs"], atol=1e-5, rtol=0)
    points = rays.origins[:, :, None] + reference["t"][..., None] * rays.directions[:, :, None]
    assert_close(points, reference["points"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("preset", sorted(POSE_PRIOR_PRESETS))
@pytest.mark.parametrize("resolution", [7, 32])
def test_rays_are_those_of_the_nerfstudio_cameras(preset, resolution):
    prior = POSE_PRIOR_PRESETS[preset].setup()
    poses = prior.sample(3, seeded())
    fast = prior.rays(poses, resolution)
    cameras = prior.cameras(poses, resolution)
    assert fast.shape == (3, resolution**2)
    for index in range(3):
        slow = cameras.generate_rays(camera_indices=index).flatten()
        assert_close(fast.origins[index], slow.origins, atol=1e-6, rtol=0)
        assert_close(fast.directions[index], slow.directions, atol=1e-6, rtol=0)
        assert_close(fast.pixel_area[index], slow.pixel_area, atol=1e-6, rtol=2e-3)
    closer = prior.config.radius_spread
    backward = prior.camera_to_world(poses)[:, None, :, 2]
    depth = -(fast.directions * backward).sum(-1, keepdim=True) if prior.config.planar_depth else torch.ones(())
    assert_close(fast.nears * depth, torch.full((3, resolution**2, 1), prior.config.near - closer))
    assert_close(fast.fars * depth, torch.full((3, resolution**2, 1), prior.config.far - closer))


def test_frontal_view_is_on_plus_z_with_the_image_upright():
    front = poses_from_degrees(torch.tensor([0.0]), torch.tensor([0.0]))
    expected = torch.tensor([[[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 2]]])
    assert_close(poses_to_camera_to_world(front, radius=2.0), expected, atol=1e-6, rtol=0)
    corner = PosePriorConfig().setup().rays(front, 5).directions[0, 0]
    assert corner[0] < 0 < corner[1]


def test_elevation_goes_up():
    above = poses_from_degrees(torch.tensor(0.0), torch.tensor(30.0))
    assert_close(poses_to_positions(above), torch.tensor([0, 0.5, math.sqrt(3) / 2]), atol=1e-6, rtol=0)


def test_rays_are_differentiable_in_the_pose():
    poses = torch.tensor([[1.2, 1.7]], requires_grad=True)
    rays = PosePriorConfig().setup().rays(poses, 4)
    (gradient,) = torch.autograd.grad(
        (rays.origins + rays.directions).square().sum() + rays.origins[..., 1].sum(), poses
    )
    assert gradient.abs().sum() > 0


def test_uniform_covers_mean_plus_minus_spread():
    _, degrees = draw(distribution="uniform", yaw_mean_deg=15.0, elevation_mean_deg=5.0)
    pitch, yaw = degrees.unbind(-1)
    assert yaw.min() >= 85
    assert yaw.max() <= 125
    assert pitch.min() >= 75
    assert pitch.max() <= 95
    assert_close(yaw.mean(), torch.tensor(105.0), atol=0.4, rtol=0)
    assert_close(yaw.std(), torch.tensor(20 / math.sqrt(3)), atol=0.2, rtol=0)
    assert_close(pitch.std(), torch.tensor(10 / math.sqrt(3)), atol=0.1, rtol=0)


def test_gaussian_has_the_spread_as_standard_deviation():
    _, degrees = draw(distribution="gaussian")
    assert_close(degrees.mean(0), torch.tensor([90.0, 90.0]), atol=0.5, rtol=0)
    assert_close(degrees.std(0), torch.tensor([10.0, 20.0]), atol=0.3, rtol=0)


def test_truncated_gaussian_follows_the_rejection_sampler():
    _, degrees = draw(distribution="truncated-gaussian", num=50000)
    standardised = (degrees[:, 1] - 90) / 20
    assert standardised.abs().max() <= 2 + 1e-4
    accepted = torch.randn(80000, generator=seeded(1))
    accepted = accepted[accepted.abs() < 2]
    levels = torch.linspace(0.05, 0.95, 19)
    assert_close(standardised.quantile(levels), accepted.quantile(levels), atol=0.03, rtol=0)


def test_hybrid_is_one_law_for_each_batch():
    prior = PosePriorConfig(distribution="hybrid", yaw_spread_deg=10.0, elevation_spread_deg=5.0).setup()
    generator = seeded()
    beyond = [(torch.rad2deg(prior.sample(2000, generator)[:, 1]) - 90).abs().max().item() > 20.001 for _ in range(200)]
    # A Gaussian batch of 2000 reaches beyond two standard deviations with certainty, a uniform one never does.
    assert 0.38 < sum(beyond) / len(beyond) < 0.62


def test_spherical_is_uniform_by_area():
    _, degrees = draw(
        distribution="spherical", yaw_spread_deg=180.0, elevation_mean_deg=0.0, elevation_spread_deg=90.0, num=50000
    )
    positions = poses_to_positions(torch.deg2rad(degrees))
    assert_close(positions.mean(0), torch.zeros(3), atol=0.015, rtol=0)
    assert_close(positions.T @ positions / len(positions), torch.eye(3) / 3, atol=0.01, rtol=0)


def test_carla_spans_the_published_polar_angles():
    prior = POSE_PRIOR_PRESETS["carla"].setup()
    pitch, yaw = torch.rad2deg(prior.sample(20000, seeded())).unbind(-1)
    limit = math.degrees(math.acos(1 - 85 / 90))
    assert 0 < pitch.min() < 2
    assert limit - 0.2 < pitch.max() <= limit + 1e-3
    assert yaw.min() < -89
    assert yaw.max() > 269
    assert_close(pitch.median(), torch.rad2deg(prior.mean_pose()[0]), atol=1, rtol=0)


def test_spherical_clamps_the_area_at_the_poles():
    _, degrees = draw(distribution="spherical", elevation_mean_deg=80.0, elevation_spread_deg=60.0)
    assert torch.isfinite(degrees).all()
    smallest = math.degrees(math.acos(1 - 2e-5))
    assert_close(degrees[:, 0].min(), torch.tensor(smallest), atol=0.05, rtol=0)


def test_fixed_is_the_mean_pose():
    prior, degrees = draw(distribution="fixed", yaw_mean_deg=-20.0, elevation_mean_deg=10.0, num=3)
    assert_close(degrees, torch.tensor([[80.0, 70.0]]).expand(3, 2))
    assert_close(torch.deg2rad(degrees[0]), prior.mean_pose())


@pytest.mark.parametrize("distribution", ["uniform", "gaussian", "truncated-gaussian", "hybrid", "spherical", "fixed"])
def test_same_seed_same_poses(distribution):
    prior = PosePriorConfig(distribution=distribution).setup()
    assert torch.equal(prior.sample(5, seeded(3)), prior.sample(5, seeded(3)))
    assert prior.sample(0, seeded(3)).shape == (0, 2)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"near": 0.0}, "near is 0.0"),
        ({"near": 1.2}, "set far above near"),
        ({"fov_deg": 180.0}, "fov_deg is 180.0"),
        ({"radius": -1.0}, "radius is -1.0"),
        ({"yaw_spread_deg": -3.0}, "set them to 0 or more"),
        ({"elevation_mean_deg": 100.0}, "between -90 and 90"),
        ({"distribution": "uniform", "elevation_mean_deg": 60.0, "elevation_spread_deg": 40.0}, "beyond the pole"),
    ],
)
def test_contradictions_are_refused_with_the_way_out(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        replace(PosePriorConfig(), **changes).setup()


def test_a_single_pixel_is_refused():
    with pytest.raises(UserError, match="resolution is 1"):
        PosePriorConfig().setup().rays(torch.tensor([[1.0, 1.0]]), 1)


def test_the_command_line_can_set_every_field():
    config = tyro.cli(PosePriorConfig, args=["--distribution", "truncated-gaussian", "--fov-deg", "30"])
    assert config == PosePriorConfig(distribution="truncated-gaussian", fov_deg=30.0)


@pytest.mark.parametrize("collection", ["celeba", "carla"])
def test_pigans_cameras_and_rays_match_the_original(load_fixture, collection):
    reference, prior = load_fixture(f"pigan_{collection}_camera"), POSE_PRIOR_PRESETS[collection].setup()
    poses = reference["yaw_pitch"].flip(-1)
    assert_close(prior.camera_to_world(poses), reference["cam2world"][:, :3], atol=1e-4, rtol=1e-4)
    rays = prior.rays(poses, 8)
    assert_close(rays.origins, reference["ray_origins"], atol=1e-4, rtol=1e-4)
    assert_close(rays.directions, reference["ray_dirs"], atol=1e-4, rtol=1e-4)


# pi-GAN, released code, curriculums.py: law, means and spreads (yaw, pitch) in radians, field of view, near, far.
@pytest.mark.parametrize(
    ("collection", "law", "spreads", "fov", "near", "far"),
    [
        ("celeba", "gaussian", (0.3, 0.155), 12, 0.88, 1.12),
        ("cats", "uniform", (0.5, 0.4), 12, 0.8, 1.2),
    ],
)
def test_pigans_frontal_pose_laws(collection, law, spreads, fov, near, far):
    config = POSE_PRIOR_PRESETS[collection]
    assert (config.distribution, config.fov_deg, config.near, config.far, config.radius) == (law, fov, near, far, 1.0)
    poses = config.setup().sample(40_000, torch.Generator().manual_seed(0))
    assert_close(poses.mean(dim=0), torch.full((2,), math.pi / 2), atol=0.01, rtol=0)
    expected = torch.tensor([spreads[1], spreads[0]]) / (1.0 if law == "gaussian" else math.sqrt(3.0))
    assert_close(poses.std(dim=0), expected, atol=0.005, rtol=0)


def test_pigans_carla_law_equals_the_published_formula():
    """Yaw: pi/2 +- pi; v = U(mean - spread, mean + spread) / pi of the sphere's area, pitch = arccos(1 - 2 v)."""
    config = POSE_PRIOR_PRESETS["carla"]
    assert (config.fov_deg, config.near, config.far, config.radius) == (30.0, 0.7, 1.3, 1.0)
    mean = spread = math.pi / 4 * 85 / 90
    fractions = torch.linspace(0.005, 0.995, 199)
    published = torch.arccos(1 - 2 * ((mean + (2 * fractions - 1) * spread) / math.pi).clamp(1e-5, 1 - 1e-5))
    poses = config.setup().sample(200_000, torch.Generator().manual_seed(0))
    assert_close(torch.quantile(poses[:, 0], fractions), published, atol=0.01, rtol=0)
    yaw = torch.quantile(poses[:, 1], fractions)
    assert_close(yaw, math.pi / 2 + (2 * fractions - 1) * math.pi, atol=0.03, rtol=0)
