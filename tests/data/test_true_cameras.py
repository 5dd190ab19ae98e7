"""Collections are taken by cameras of the law that was asked for, and tell of it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from model_folders import write_two_models

from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS, PosePrior, PosePriorConfig
from gan3d_ns.data.model_collection import ModelTruth, read_models, write_model_collection
from gan3d_ns.data.procedural import ProceduralTruth, write_procedural_collection
from gan3d_ns.data.procedural_rendering import render_depth
from gan3d_ns.data.procedural_scenes import SceneTruth, write_scene_collection
from gan3d_ns.data.true_cameras import draw_cameras, law_numbers, read_cameras
from gan3d_ns.data.true_collection import TRUTH_FILE
from gan3d_ns.errors import UserError
from gan3d_ns.metrics.camera_law import true_law

LAW = PosePriorConfig(
    distribution="gaussian",
    yaw_mean_deg=10.0,
    yaw_spread_deg=35.0,
    elevation_mean_deg=20.0,
    elevation_spread_deg=6.0,
    fov_deg=14.0,
    near=0.8,
    far=1.3,
    radius_spread=0.1,
)


def test_cameras_follow_their_law_and_repeat() -> None:
    cameras = draw_cameras(LAW, 3000, 4, 0.12)
    assert torch.equal(cameras.poses, draw_cameras(LAW, 3000, 4, 0.12).poses)
    elevation, yaw = 90 - torch.rad2deg(cameras.poses[:, 0]), torch.rad2deg(cameras.poses[:, 1]) - 90
    assert elevation.mean().item() == pytest.approx(20, abs=0.5)
    assert elevation.std().item() == pytest.approx(6, rel=0.06)
    assert yaw.mean().item() == pytest.approx(10, abs=3)
    assert yaw.std().item() == pytest.approx(35, rel=0.06)
    assert cameras.radii is not None
    assert cameras.radii.min().item() == pytest.approx(0.9, abs=2e-3)
    assert cameras.radii.max().item() == pytest.approx(1.1, abs=2e-3)


def test_hybrid_laws_mix_within_a_collection() -> None:
    """Batches are uniform or Gaussian; a collection of one of them would not be a draw of the law."""
    law = dataclasses.replace(LAW, distribution="hybrid", radius_spread=0.0)
    yaw = torch.rad2deg(draw_cameras(law, 2000, 0, 0.12).poses[:, 1]) - 100
    # Of the Gaussian half 4.6 % lie beyond the uniform half's range of two spreads.
    assert 0.01 < (yaw.abs() > 70).float().mean() < 0.04


def test_the_law_is_read_back() -> None:
    cameras = draw_cameras(LAW, 5, 0, 0.12)
    again = read_cameras(cameras.arrays(), "procedural")
    assert again.prior.config == LAW
    assert again.radii is not None
    assert torch.equal(again.poses, cameras.poses)
    assert again.prior_of(3).config.radius == pytest.approx(cameras.radii[3].item())  # pyright: ignore
    # Files of older versions tell of poses only.
    old = read_cameras({"poses": cameras.poses.numpy()}, "procedural")
    assert old.prior.config == POSE_PRIOR_PRESETS["procedural"]
    assert old.radii is None
    for wrong in ('{"near": -1.0}', '{"nearest": 1.0}', "{"):
        with pytest.raises(ValueError, match=r"camera law|Expecting"):
            read_cameras({**cameras.arrays(), "camera_law": wrong}, "procedural")


def test_space_moves_with_the_camera() -> None:
    cameras = draw_cameras(LAW, 4, 0, 0.12)
    for index in range(4):
        config = cameras.prior_of(index).config
        assert config.radius - config.near == pytest.approx(LAW.largest_radius - LAW.near)
        assert config.far - config.radius == pytest.approx(LAW.far - LAW.largest_radius)


def test_laws_that_cut_objects_off_are_refused() -> None:
    draw_cameras(POSE_PRIOR_PRESETS["procedural"], 2, 0, 0.12)
    for changes in ({"near": 0.95}, {"far": 1.1}, {"radius": 1.05}, {"radius_spread": 0.02}):
        with pytest.raises(UserError, match="cut off what is to be seen"):
            draw_cameras(dataclasses.replace(POSE_PRIOR_PRESETS["procedural"], **changes), 2, 0, 0.12)


def test_toy_cars_have_the_cameras_of_their_law(tmp_path: Path) -> None:
    write_procedural_collection(tmp_path, 3, 24, 0, LAW)
    truth = ProceduralTruth(tmp_path)
    assert truth.prior.config == LAW
    radii = truth.cameras.radii
    assert radii is not None
    assert torch.equal(truth.poses, draw_cameras(LAW, 3, 0, 0.12).poses)
    for index in range(3):
        own = PosePrior(dataclasses.replace(LAW, radius=radii[index].item(), radius_spread=0.0))
        expected = render_depth(truth.scene(index), own, truth.pose(index), 24)
        mask = truth.mask(index)
        assert 0.05 < mask.float().mean() < 0.6
        torch.testing.assert_close(truth.depth(index)[mask], expected[mask])
        assert torch.equal(truth.view(index, 24).mask, mask)
        torch.testing.assert_close(
            truth.camera(index).camera_to_worlds[0, :, 3].norm(), radii[index], atol=1e-6, rtol=0
        )
        # From a pose of one's own, all objects are seen from the law's radius.
        apart = truth.view(index, 24, truth.pose(index)).depth[mask].min() - truth.view(index, 24).depth[mask].min()
        assert apart.item() == pytest.approx(1.0 - radii[index].item(), abs=5e-3)
    torch.testing.assert_close(torch.from_numpy(true_law(truth)["radius"]).float(), radii)
    about = json.loads((tmp_path / "about.json").read_text())
    assert about["pose_prior"] is None
    assert about["cameras"] == law_numbers(LAW)


def test_models_and_scenes_too(tmp_path: Path) -> None:
    (tmp_path / "photographed").mkdir()
    models = read_models(write_two_models(tmp_path / "models"))
    write_model_collection(tmp_path / "photographed", models, 3, 16, 0, LAW)
    photographed = ModelTruth(tmp_path / "photographed")
    assert photographed.prior.config == LAW
    assert 0.01 < photographed.view(1, 16).mask.float().mean() < 0.9
    (tmp_path / "scenes").mkdir()
    wide = dataclasses.replace(LAW, fov_deg=40.0, near=0.5, far=2.0)
    write_scene_collection(tmp_path / "scenes", 3, 16, 0, (1, 2), wide)
    scenes = SceneTruth(tmp_path / "scenes")
    assert scenes.prior.config == wide
    assert scenes.view(1, 16).mask.any()


def test_the_presets_law_gives_the_built_in_poses(tmp_path: Path) -> None:
    write_procedural_collection(tmp_path, 2, 8, 3)
    poses = PosePrior(POSE_PRIOR_PRESETS["procedural"]).sample(2, torch.Generator().manual_seed(3))
    with np.load(tmp_path / TRUTH_FILE) as arrays:
        assert torch.equal(torch.from_numpy(arrays["poses"]), poses)
    assert json.loads((tmp_path / "about.json").read_text())["pose_prior"] == "procedural"
