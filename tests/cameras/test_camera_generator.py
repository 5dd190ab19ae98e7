"""Learned cameras against the numbers of CAMPARI's release, and their laws on this package's viewpoints."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from gan3d_ns.cameras.camera_generator import CameraGenerator, CameraGeneratorConfig, fitted_prior
from gan3d_ns.cameras.camera_vectors import (
    MATRIX_MAGNITUDE,
    CameraRanges,
    Range,
    nearest_rotation,
    vectors_of_viewpoints,
    viewpoints_of_vectors,
)
from gan3d_ns.cameras.pose_prior import PosePrior, PosePriorConfig, poses_to_camera_to_world
from gan3d_ns.cameras.viewpoints import Viewpoints
from gan3d_ns.errors import UserError

TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}
FORMS = {"celeba": "normal", "carla": "full"}
PUBLISHED_PRIOR = PosePriorConfig(fov_deg=35.0, radius=0.75, near=0.25, far=1.25)
ALL = {"learn_yaw": True, "learn_elevation": True, "learn_fov": True, "learn_radius": True}
# The released world is +z up and its frontal camera stands at +y: its (x, y, z) are our (-x, z, y).
TO_PUBLISHED = torch.tensor([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])


def recorded_generator(load_fixture, collection: str) -> CameraGenerator:
    form = FORMS[collection]
    config = CameraGeneratorConfig(parametrisation=form, hidden_dim=16, num_layers=4, **ALL)
    generator = CameraGenerator(config, PUBLISHED_PRIOR)
    weights = load_fixture(f"campari_{collection}_generator_weights")
    names = {name: name.removeprefix("weights/latent_cameras.") for name in weights if "latent_cameras" in name}
    generator.load_state_dict({**{ours: weights[name] for name, ours in names.items()}, "released": torch.zeros(())})
    return generator


def published_matrices(viewpoints: Viewpoints) -> Tensor:
    """Camera to world in the released world, shape (view, 3, 4)."""
    assert viewpoints.radii is not None
    ours = poses_to_camera_to_world(viewpoints.poses)
    return TO_PUBLISHED @ torch.cat((ours[:, :, :3], viewpoints.radii[:, None, None] * ours[:, :, 3:]), dim=2)


@pytest.mark.parametrize("collection", FORMS)
@pytest.mark.parametrize("released", [0.0, 1.0])
def test_vectors_become_the_cameras_of_the_release(load_fixture, collection: str, released: float) -> None:
    expected, generator = load_fixture(f"campari_{collection}_camera"), recorded_generator(load_fixture, collection)
    assert_close(generator.residual(expected["prior"]), expected["network_output"], **TOLERANCE)
    generator.release(released)
    viewpoints = viewpoints_of_vectors(generator.moved(expected["prior"]), generator.parametrisation)
    when = "post" if released else "early"
    assert viewpoints.tangents is not None
    fov = torch.rad2deg(2 * torch.atan(viewpoints.tangents))
    assert_close(fov, torch.stack((expected[f"{when}_fx"], expected[f"{when}_fy"]), dim=1), **TOLERANCE)
    focal = 64 / viewpoints.tangents
    assert_close(focal, torch.stack((expected[f"{when}_focal_x"], expected[f"{when}_focal_y"]), dim=1), **TOLERANCE)
    assert_close(viewpoints.radii, expected[f"{when}_radius"], **TOLERANCE)
    elevation, rotation = torch.rad2deg(viewpoints.poses - math.pi / 2).unbind(-1)
    assert_close(elevation, expected[f"{when}_ele"], **TOLERANCE)
    if generator.parametrisation == "normal":
        assert_close(rotation, expected[f"{when}_rot"], **TOLERANCE)
    else:
        # What the release logs is twice the angle of the sine alone; its matrices turn all around.
        assert_close(torch.rad2deg(2 * torch.asin(torch.deg2rad(rotation).sin())), expected[f"{when}_rot"], **TOLERANCE)
        recorded = expected[f"{when}_rotation_matrix"]
        assert_close(torch.deg2rad(rotation).cos(), recorded[:, 0, 0], **TOLERANCE)
        assert_close(torch.deg2rad(rotation).sin(), recorded[:, 2, 0], **TOLERANCE)
    assert_close(published_matrices(viewpoints), expected[f"{when}_cam2world"][:, :3], **TOLERANCE)


@pytest.mark.parametrize("collection", FORMS)
def test_gradients_reach_the_prior_as_in_the_release(load_fixture, collection: str) -> None:
    expected, generator = load_fixture(f"campari_{collection}_camera"), recorded_generator(load_fixture, collection)
    generator.release()
    vectors = expected["prior"][1:4].requires_grad_(True)
    matrices = published_matrices(viewpoints_of_vectors(generator.moved(vectors), generator.parametrisation))
    (gradient,) = torch.autograd.grad(matrices.sum(), vectors)
    assert_close(gradient, expected["cam2world_grad"], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("collection", FORMS)
def test_rays_are_those_of_the_release(load_fixture, collection: str) -> None:
    expected, generator = load_fixture(f"campari_{collection}_camera"), recorded_generator(load_fixture, collection)
    generator.release()
    viewpoints = viewpoints_of_vectors(generator.moved(expected["prior"]), generator.parametrisation)
    # Its pixel 0 of 128 lies on the left border of our frame, and its last one a pixel short of the right.
    steps = torch.linspace(0, 127, 8) / 64 - 1
    down, right = torch.meshgrid(steps, steps, indexing="ij")
    frame = torch.stack((right, down), dim=-1).reshape(1, -1, 2).expand(6, -1, -1)
    rays = PosePrior(PUBLISHED_PRIOR).viewpoint_rays_at(viewpoints, frame)
    published = torch.nn.functional.normalize(expected["ray_dirs"], dim=-1).reshape(6, -1, 3)
    assert_close(rays.directions @ TO_PUBLISHED.T, published, **TOLERANCE)
    assert_close(rays.origins @ TO_PUBLISHED.T, expected["ray_origins"].reshape(6, -1, 3), **TOLERANCE)


def test_the_nearest_rotation_is_that_of_the_singular_value_decomposition() -> None:
    """Also of matrices that mirror: the determinant is +1."""
    matrices = torch.randn(200, 2, 2, dtype=torch.float64)
    left, _, right = torch.linalg.svd(matrices)
    signs = torch.diag_embed(torch.stack((torch.ones(200), torch.linalg.det(left @ right)), dim=1).double())
    rotations = left @ signs @ right
    angle = nearest_rotation(matrices.flatten(1))
    own = torch.stack((angle.cos(), -angle.sin(), angle.sin(), angle.cos()), dim=1).unflatten(1, (2, 2))
    assert_close(own, rotations, atol=1e-8, rtol=1e-8)
    assert (torch.linalg.det(matrices) < 0).any()


@pytest.mark.parametrize("form", ["normal", "full"])
def test_vectors_and_viewpoints_are_inverse_inside_the_ranges(form) -> None:
    ranges = CameraRanges(yaw_deg=Range(20.0, 90.0), elevation_deg=Range(0.0, 80.0))
    yaw, elevation = torch.empty(50).uniform_(-1.2, 1.8), torch.empty(50).uniform_(-1.3, 1.3)
    viewpoints = Viewpoints(
        torch.stack((math.pi / 2 + elevation, math.pi / 2 + yaw), dim=1),
        torch.empty(50).uniform_(0.51, 0.99),
        torch.empty(50, 2).uniform_(0.1, 0.5),
    )
    vectors = vectors_of_viewpoints(viewpoints, form, ranges)
    back = viewpoints_of_vectors(vectors, form, ranges)
    assert_close(back.poses, viewpoints.poses, **TOLERANCE)
    assert_close(back.radii, viewpoints.radii, **TOLERANCE)
    assert_close(back.tangents, viewpoints.tangents, **TOLERANCE)
    if form == "full":
        assert_close(vectors[:, 4:].square().mean(dim=1).sqrt(), torch.full((50,), 0.15), atol=1e-6, rtol=1e-6)
        assert pytest.approx(0.15 * math.sqrt(2)) == MATRIX_MAGNITUDE
        turned = replace(viewpoints, poses=viewpoints.poses + torch.tensor([0.0, 2 * math.pi]))
        assert_close(vectors_of_viewpoints(turned, form, ranges), vectors, atol=1e-5, rtol=1e-5)


def perturbed(config: CameraGeneratorConfig, prior: PosePriorConfig) -> CameraGenerator:
    generator = CameraGenerator(config, prior)
    torch.nn.init.normal_(generator.fc_out.weight, std=0.3)
    return generator


AROUND = PosePriorConfig(
    distribution="uniform", yaw_spread_deg=180.0, elevation_mean_deg=30.0, elevation_spread_deg=20.0
)
FRONT = PosePriorConfig(distribution="gaussian", yaw_spread_deg=15.0, elevation_spread_deg=8.0)


@pytest.mark.parametrize("prior", [AROUND, FRONT])
def test_cameras_are_the_priors_until_they_are_released(prior: PosePriorConfig) -> None:
    generator = perturbed(CameraGeneratorConfig(**ALL), prior)
    assert generator.parametrisation == ("full" if prior is AROUND else "normal")
    viewpoints = PosePrior(prior).sample_viewpoints(20)
    assert generator(viewpoints) is viewpoints
    generator.release()
    assert not torch.allclose(generator(viewpoints).poses, viewpoints.poses)


def test_a_network_that_says_nothing_leaves_cameras_alone() -> None:
    for prior in (AROUND, FRONT):
        generator = CameraGenerator(CameraGeneratorConfig(initial_std=0.0, **ALL), prior)
        generator.release()
        viewpoints = PosePrior(prior).sample_viewpoints(50)
        moved = generator(viewpoints)
        assert_close(moved.poses.cos(), viewpoints.poses.cos(), atol=1e-5, rtol=1e-5)
        assert_close(moved.radii, torch.full((50,), prior.radius))
        assert_close(moved.tangents, torch.full((50, 2), math.tan(math.radians(prior.fov_deg) / 2)))


@pytest.mark.parametrize("kept", ["yaw", "elevation", "fov", "radius"])
def test_what_is_not_learned_stays_to_the_last_bit(kept: str) -> None:
    settings = {**ALL, f"learn_{kept}": False}
    generator = perturbed(CameraGeneratorConfig(**settings), replace(AROUND, radius_spread=0.1))
    generator.release()
    prior = PosePrior(generator.prior).sample_viewpoints(30)
    learned = generator(prior)
    entries = {
        "yaw": (prior.poses[:, 1], learned.poses[:, 1]),
        "elevation": (prior.poses[:, 0], learned.poses[:, 0]),
        "fov": (prior.tangents, learned.tangents),
        "radius": (prior.radii, learned.radii),
    }
    for name, (before, after) in entries.items():
        same = before is after or (before is not None and after is not None and torch.equal(before, after))
        assert same == (name == kept), name


@pytest.mark.parametrize("prior", [AROUND, FRONT])
def test_gradients_reach_the_network_from_rays_and_only_through_what_is_learned(prior: PosePriorConfig) -> None:
    from gan3d_ns.cameras.camera_vectors import entries

    for learned in ALL:
        settings = {**dict.fromkeys(ALL, False), learned: True}
        generator = perturbed(CameraGeneratorConfig(**settings), prior)
        generator.release()
        house = PosePrior(prior)
        rays = house.viewpoint_rays(generator(house.sample_viewpoints(4)), 5)
        (rays.origins[..., 0].sum() + (rays.origins + rays.directions)[:, 3].square().sum()).backward()
        gradient = generator.fc_out.bias.grad
        assert gradient is not None
        mine = torch.zeros_like(gradient, dtype=torch.bool)
        mine[entries(generator.parametrisation)[learned.removeprefix("learn_")]] = True
        assert (gradient[mine] != 0).all()
        assert (gradient[~mine] == 0).all()


def test_learned_cameras_stay_in_their_ranges() -> None:
    config = CameraGeneratorConfig(speed=50.0, elevation_range_deg=70.0, yaw_range_deg=40.0, radius_range=0.2, **ALL)
    generator = perturbed(config, replace(FRONT, yaw_mean_deg=10.0))
    generator.release()
    learned = generator.sample(500, torch.Generator().manual_seed(0))
    assert learned.radii is not None and learned.tangents is not None
    elevation, yaw = torch.rad2deg(learned.poses - math.pi / 2).unbind(-1)
    assert elevation.abs().max() == pytest.approx(70.0, abs=1e-3)
    assert (yaw - 10).abs().max() == pytest.approx(40.0, abs=1e-3)
    assert (learned.radii - 1).abs().max() == pytest.approx(0.2)
    assert (learned.tangents > 0).all()


@pytest.mark.parametrize("family", ["uniform", "gaussian", "truncated-gaussian", "hybrid", "spherical"])
def test_the_summary_of_a_prior_is_that_prior(family) -> None:
    prior = PosePriorConfig(
        distribution=family,
        yaw_mean_deg=25.0,
        yaw_spread_deg=20.0,
        elevation_mean_deg=15.0,
        elevation_spread_deg=10.0,
        radius_spread=0.05,
        fov_deg=35.0,
        fov_std_deg=3.75,
    )
    # A hybrid prior tosses its coin once for each batch.
    draws = [PosePrior(prior).sample_viewpoints(200, torch.Generator().manual_seed(seed)) for seed in range(200)]
    summary = fitted_prior(prior, Viewpoints.cat(draws))
    assert (summary.fov_deg, summary.fov_std_deg) == (pytest.approx(35, abs=0.1), pytest.approx(3.75, abs=0.1))
    assert summary.distribution == family
    for name, within in (("yaw_mean_deg", 0.4), ("yaw_spread_deg", 0.8), ("elevation_mean_deg", 0.3)):
        assert getattr(summary, name) == pytest.approx(getattr(prior, name), abs=within), name
    assert summary.elevation_spread_deg == pytest.approx(10, abs=0.5)
    assert (summary.radius, summary.radius_spread) == (pytest.approx(1, abs=2e-3), pytest.approx(0.05, abs=2e-3))
    assert (summary.near, summary.far) == (pytest.approx(0.88, abs=3e-3), pytest.approx(1.12, abs=3e-3))


def test_the_summary_of_yaws_all_around_is_the_circle() -> None:
    prior = replace(AROUND, yaw_mean_deg=30.0)
    generator = CameraGenerator(CameraGeneratorConfig(initial_std=0.0), prior)
    generator.release()
    summary = generator.fitted()
    assert (summary.yaw_mean_deg, summary.yaw_spread_deg) == (30.0, 180.0)


@pytest.mark.parametrize("prior", [AROUND, FRONT])
def test_the_summary_of_unreleased_cameras_is_their_prior(prior: PosePriorConfig) -> None:
    assert CameraGenerator(CameraGeneratorConfig(), prior).fitted() == prior


@pytest.mark.parametrize("moved", [0.0, -0.1, -0.15, -0.2, -0.25])
def test_the_summary_is_a_prior_however_near_cameras_have_come(moved: float) -> None:
    published = replace(PUBLISHED_PRIOR, radius_spread=0.06, near=0.31, far=1.31)
    drawn = PosePrior(published).sample_viewpoints(500, torch.Generator().manual_seed(0))
    assert drawn.radii is not None
    viewpoints = Viewpoints(drawn.poses, (drawn.radii + moved).clamp(0.5, 1.0), drawn.tangents)
    summary = PosePrior(fitted_prior(published, viewpoints)).config
    assert 0 < summary.near < float(viewpoints.radii.min())  # pyright: ignore[reportOptionalMemberAccess]


def test_the_summary_follows_the_network() -> None:
    generator = CameraGenerator(CameraGeneratorConfig(initial_std=0.0, **ALL), FRONT)
    generator.release()
    with torch.no_grad():
        generator.fc_out.bias.copy_(torch.tensor([0.5, 0.5, 0.25, -0.2, 0.3]))
    summary = generator.fitted()
    assert summary.yaw_mean_deg == pytest.approx(22.5, abs=1)
    assert summary.elevation_mean_deg == pytest.approx(18.0, abs=0.6)
    assert summary.fov_deg == pytest.approx(12 + 0.5 * 12 * 25 / 35, abs=0.01)
    assert summary.radius == pytest.approx(1.1, abs=1e-4)
    assert (summary.near, summary.far) == (pytest.approx(0.98, abs=1e-4), pytest.approx(1.22, abs=1e-4))
    PosePrior(summary)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"hidden_dim": 0}, "width of 1"),
        ({"yaw_range_deg": 200.0}, "yaw_range_deg is 200"),
        ({"speed": 0.0}, "speed is 0"),
        ({"fov_range_deg": 12.0}, "fov_range_deg is 12"),
        ({"radius_range": 1.0}, "radius_range is 1"),
    ],
)
def test_impossible_settings_are_refused(settings, words: str) -> None:
    with pytest.raises(UserError, match=words):
        CameraGenerator(CameraGeneratorConfig(**settings), FRONT)
