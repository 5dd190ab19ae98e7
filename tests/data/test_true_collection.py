"""Collections with truth: pictures, depths, normals and meshes of an object tell of the same surface."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ray_hits import first_hits

from gan3d_ns.data.procedural import ProceduralTruth, procedural_collection_folder
from gan3d_ns.data.true_collection import TrueCollection
from gan3d_ns.data.truth_folders import open_truth
from gan3d_ns.errors import UserError


@pytest.fixture(scope="module")
def toy_cars(tmp_path_factory: pytest.TempPathFactory) -> TrueCollection:
    return open_truth(procedural_collection_folder(tmp_path_factory.mktemp("cars"), num_images=3, resolution=16))


def test_toy_cars_are_a_true_collection(toy_cars: TrueCollection) -> None:
    assert isinstance(toy_cars, TrueCollection)
    assert toy_cars.num_objects == len(toy_cars) == 3
    assert [toy_cars.object_of(index) for index in range(3)] == [0, 1, 2]


@pytest.mark.parametrize("index", range(3))
def test_depth_normals_and_mesh_of_a_toy_car_agree(toy_cars: TrueCollection, index: int) -> None:
    assert isinstance(toy_cars, ProceduralTruth)
    mesh, pose = toy_cars.mesh(index), toy_cars.pose(index)
    assert toy_cars.scene(index).sdf(mesh.vertices).abs().max() < 3e-4
    view = toy_cars.view(index, 48)
    rays = toy_cars.prior.rays(pose[None], 48)
    distances, normals = first_hits(mesh, rays.origins[0], rays.directions[0])
    seen = view.mask.flatten()
    assert (seen == distances.isfinite()).float().mean() > 0.995
    both = seen & distances.isfinite()
    gap = (view.depth.flatten() - distances)[both].abs()
    # Corners are cut by the lattice's cells of 2e-3.
    assert gap.median() < 5e-5
    assert (gap < 2e-3).float().mean() > 0.97
    cosines = (view.normals.view(-1, 3) * normals)[both].sum(dim=-1)
    assert cosines.median() > 0.999
    assert (cosines > 0.9).float().mean() > 0.85
    assert (view.normals[~view.mask] == 0).all()
    assert (view.depth[~view.mask] == toy_cars.prior.config.far).all()
    assert (view.rgb[:, ~view.mask] > 0.98).float().mean() > 0.8


def test_a_view_may_be_from_any_pose(toy_cars: TrueCollection) -> None:
    turned = toy_cars.pose(0) + torch.tensor([0.0, 1.0])
    assert not torch.equal(toy_cars.view(0, 16, turned).depth, toy_cars.view(0, 16).depth)
    assert torch.equal(toy_cars.view(0, 16, toy_cars.pose(0)).rgb, toy_cars.view(0, 16).rgb)


def test_held_out_toy_cars_are_other_cars(tmp_path: Path) -> None:
    folders = [procedural_collection_folder(tmp_path, num_images=4, resolution=8, seed=seed) for seed in (0, 1)]
    first, second = (ProceduralTruth(folder) for folder in folders)
    assert not set(first.seeds) & set(second.seeds)


def test_a_folder_without_truth_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="are not known"):
        open_truth(tmp_path)
