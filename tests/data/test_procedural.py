"""The built-in collection: what it says about its cars is true of its pictures."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gan3d_ns.data import procedural
from gan3d_ns.data.image_collection import ImageCollectionConfig
from gan3d_ns.data.procedural import ProceduralTruth, procedural_collection_folder, procedural_pose_prior
from gan3d_ns.data.procedural_car_sampling import KINDS, sample_car
from gan3d_ns.data.procedural_cars import FIT_RADIUS
from gan3d_ns.data.procedural_rendering import DEPTH_PRECISION, render, render_colours, render_depth, surface_normals
from gan3d_ns.errors import UserError

SEEDS = range(12)
"""Enough to meet every kind of car."""


def some_poses(num: int) -> torch.Tensor:
    return procedural_pose_prior().sample(num, torch.Generator().manual_seed(1))


def test_every_kind_is_met() -> None:
    assert {sample_car(seed).shape.kind for seed in range(60)} == set(KINDS)


def test_any_seed_gives_a_car() -> None:
    for seed in range(150):
        sample_car(1000 + seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_inside_is_negative_outside_positive(seed: int) -> None:
    car = sample_car(seed)
    # A little below the middle, which in an open load bed is air.
    assert car.sdf(torch.tensor([[0.0, -0.01, 0.0]])).item() < -0.005
    directions = torch.nn.functional.normalize(torch.randn(500, 3), dim=-1)
    assert (car.sdf(1.05 * car.bounding_radius * directions) > 0).all()
    # 12 degrees at distance 1 show a sphere of radius 0.1045; the field's cube reaches 0.12.
    assert car.bounding_radius < 0.12
    assert (car.sdf(1.03 * FIT_RADIUS * directions) > 0).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_distance_is_lipschitz_with_unit_gradients_near_the_surface(seed: int) -> None:
    car = sample_car(seed)
    points = (torch.rand(20000, 3) - 0.5) * 0.22
    near = points[car.sdf(points).abs() < 0.002]
    step = 1e-3
    gradient = torch.stack(
        [(car.sdf(near + step * axis) - car.sdf(near - step * axis)) / (2 * step) for axis in torch.eye(3)], dim=-1
    )
    norms = gradient.norm(dim=-1)
    assert ((norms - 1.0).abs() < 0.05).float().mean() > 0.75
    first, second = points[:10000], points[10000:]
    assert ((car.sdf(first) - car.sdf(second)).abs() <= (first - second).norm(dim=-1) + 1e-5).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_depth_is_the_zero_crossing(seed: int) -> None:
    car, prior, pose = sample_car(seed), procedural_pose_prior(), some_poses(12)[seed]
    depth = render_depth(car, prior, pose, 48).flatten()
    rays = prior.rays(pose[None], 48)
    origins, directions = rays.origins[0], rays.directions[0]
    hit = depth < prior.config.far
    assert 0.08 < hit.float().mean() < 0.7
    assert car.sdf(origins[hit] + depth[hit, None] * directions[hit]).abs().max() < 2 * DEPTH_PRECISION.hit_distance
    assert depth.min() > prior.config.near
    assert torch.isfinite(depth).all()
    # Slow reference: no dense sample before the depth, nor anywhere on a missing ray, is clearly inside.
    for fraction in torch.linspace(0.0, 0.999, 80):
        distances = prior.config.near + fraction * (depth - prior.config.near)
        assert car.sdf(origins + distances[:, None] * directions).min() > -5 * DEPTH_PRECISION.hit_distance


def test_mask_is_where_the_depth_is_and_the_frame_is_not_cut() -> None:
    prior = procedural_pose_prior()
    for seed, pose in zip(range(6), some_poses(6), strict=True):
        rgb, depth, mask = render(sample_car(seed), prior, pose, 32)
        assert torch.equal(mask, depth < prior.config.far)
        assert rgb.shape == (3, 32, 32)
        assert rgb.min() >= 0
        assert rgb.max() <= 1
        border = torch.ones(32, 32, dtype=torch.bool)
        border[1:-1, 1:-1] = False
        assert not mask[border].any()
        # Pixels whose neighbourhood is empty are white.
        empty = torch.nn.functional.max_pool2d(mask[None].float(), 5, 1, 2)[0] == 0
        assert (rgb[:, empty] == 1).all()


def test_supersampling_converges_to_the_same_picture() -> None:
    prior, car, pose = procedural_pose_prior(), sample_car(3), some_poses(4)[3]
    fine = render_colours(car, prior, pose, 24, 6)
    errors = [(render_colours(car, prior, pose, 24, count) - fine).square().mean() for count in (1, 2, 4)]
    assert errors[0] > errors[1] > errors[2]


def test_normals_are_unit_and_point_outwards() -> None:
    car, prior, pose = sample_car(0), procedural_pose_prior(), some_poses(1)[0]
    depth = render_depth(car, prior, pose, 32).flatten()
    rays = prior.rays(pose[None], 32)
    hit = depth < prior.config.far
    points = rays.origins[0][hit] + depth[hit, None] * rays.directions[0][hit]
    normals = surface_normals(car, points)
    torch.testing.assert_close(normals.norm(dim=-1), torch.ones(len(points)))
    assert ((normals * rays.directions[0][hit]).sum(-1) < 0.2).float().mean() > 0.98
    assert (car.sdf(points + 1e-3 * normals) > 0).float().mean() > 0.98


def test_the_front_faces_plus_z() -> None:
    """Head lights shine towards +z, tail lights are red towards -z, on every car."""
    for seed in SEEDS:
        car = sample_car(seed)
        scale, half = car.units, car.shape.length / 2
        heights = torch.linspace(0.0, car.shape.roof, 60)
        across = torch.linspace(0.0, car.shape.width / 2, 20)
        y, x = torch.meshgrid(heights, across, indexing="ij")
        for sign in (1, -1):
            ahead = torch.stack([x, y - car.shape.roof / 2, torch.full_like(x, sign * (half + 0.02))], -1).view(-1, 3)
            near = ahead[car.sdf(scale * ahead) < 0.003]
            colours = car.colour(scale * near)
            head = ((colours - torch.tensor([1.0, 0.95, 0.70])).abs().amax(1) < 1e-6).any()
            assert head == (sign == 1)


def test_seeds_are_repeatable_and_different() -> None:
    prior, pose = procedural_pose_prior(), some_poses(1)[0]
    pictures = [render_colours(sample_car(seed), prior, pose, 16) for seed in range(8)]
    assert torch.equal(pictures[5], render_colours(sample_car(5), prior, pose, 16))
    for index, picture in enumerate(pictures):
        for other in pictures[:index]:
            assert (picture - other).abs().mean() > 0.01


@pytest.fixture(scope="module")
def collection_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return procedural_collection_folder(tmp_path_factory.mktemp("cache"), num_images=6, resolution=24)


def test_the_folder_is_an_image_collection(collection_folder: Path) -> None:
    collection = ImageCollectionConfig().setup(source=collection_folder, resolution=24)
    assert len(collection) == 6
    assert not collection.skipped


def test_truth_repeats_the_pictures(collection_folder: Path) -> None:
    truth = ProceduralTruth(collection_folder)
    assert len(truth) == 6
    for file in sorted(collection_folder.glob("*.png")):
        index = truth.index_of(file)
        rgb, depth, mask = truth.rendering(index)
        pixels = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) / 255.0
        torch.testing.assert_close(rgb, pixels, atol=0.51 / 255, rtol=0)
        assert torch.equal(truth.depth(index), depth)
        assert torch.equal(truth.mask(index), mask)
        camera = truth.camera(index)
        assert camera.shape == (1,)
        torch.testing.assert_close(camera.camera_to_worlds, truth.prior.camera_to_world(truth.pose(index)[None]))


def test_poses_follow_the_preset(tmp_path: Path) -> None:
    poses = some_poses(500)
    elevation = 90 - torch.rad2deg(poses[:, 0])
    assert elevation.min() >= 5 - 1e-3
    assert elevation.max() <= 55 + 1e-3


def test_a_collection_is_made_once(collection_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_rendering(*_: object) -> None:
        raise AssertionError("rendered again")

    monkeypatch.setattr(procedural, "render_colours", no_rendering)
    assert procedural_collection_folder(collection_folder.parents[1], 6, 24) == collection_folder
    with pytest.raises(AssertionError, match="rendered again"):
        procedural_collection_folder(collection_folder.parents[1], 6, 24, seed=1)
    # The failed build has left nothing.
    assert [entry.name for entry in collection_folder.parent.iterdir()] == [collection_folder.name]


def test_two_builders_at_once(tmp_path: Path) -> None:
    results: list[Path] = []
    builders = [
        threading.Thread(target=lambda: results.append(procedural_collection_folder(tmp_path, 4, 8))) for _ in range(2)
    ]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert len(set(results)) == 1
    assert len(results) == 2
    assert len(ProceduralTruth(results[0])) == 4


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a procedural collection"):
        ProceduralTruth(tmp_path)
    with pytest.raises(UserError, match="make no collection"):
        procedural_collection_folder(tmp_path, num_images=1)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="GAN3D_CACHE"):
        procedural_collection_folder(tmp_path / "file", num_images=2, resolution=8)
