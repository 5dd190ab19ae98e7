"""The multi-view reprojection error of balls: small where pictures show the shape, large where they follow the eye."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from ball_model import BallModel, StripedBall, ball_model
from true_balls import TrueBalls, balls

from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS, PosePrior, PosePriorConfig
from gan3d_ns.errors import UserError
from gan3d_ns.exporter.mesh import Mesh
from gan3d_ns.exporter.preview import cast_distances
from gan3d_ns.metrics.records import Record
from gan3d_ns.metrics.reprojection import measure_reprojection, neighbours, object_error, pictures_on_mesh, spaced_poses
from gan3d_ns.metrics.settings import ReprojectionConfig

SMALL = ReprojectionConfig(num_objects=2, num_views=6, resolution=32, mesh_resolution=32)


class PaintedBall(StripedBall):
    """Its colour follows the camera, not the place."""

    def colours(self, positions, directions, styles):
        return 0.5 + 0.5 * torch.sin(12.0 * directions)


class NoColours(StripedBall):
    """Its shape is right, its colours are no numbers."""

    def colours(self, positions, directions, styles):
        return torch.full_like(positions, torch.nan)


class NoBall(StripedBall):
    """Free space whatever the latent."""

    def geometry_logits(self, positions, styles):
        return super().geometry_logits(positions, styles).clamp(max=-1.0)


def model_of(field: Any, preset: str = "procedural") -> BallModel:
    model = ball_model(preset)
    model.generator.field = model.generator_ema.field = field(8000.0)
    return model


def measured(model: BallModel, config: ReprojectionConfig = SMALL, **more: Any) -> dict[str, Record]:
    return {record.metric: record for record in measure_reprojection(model, config, **more)}


def test_pictures_of_a_shape_agree_and_pictures_of_none_do_not() -> None:
    progress: list[float] = []
    striped = measured(ball_model(), truth=balls(2), report=progress.append)
    painted = measured(model_of(PaintedBall))
    error, other = striped["reprojection_error"], painted["reprojection_error"]
    assert error.floor is not None and 0.0 < error.floor < 0.03
    assert error.floor < error.value < 0.06  # a tenth of its colours follows the camera
    assert other.value > 0.15 and other.floor is None
    assert striped["reprojection_share"].value == pytest.approx(painted["reprojection_share"].value)
    assert 0.3 < striped["reprojection_share"].value < 0.7
    assert striped["reprojection_without_surface"].value == 0.0
    assert progress == [0.25, 0.5, 0.75, 1.0]
    assert measured(ball_model(), truth=balls(2)) == striped


def test_objects_without_a_surface_are_counted() -> None:
    found = measured(model_of(NoBall))
    assert math.isnan(found["reprojection_error"].value) and found["reprojection_error"].deviation is None
    assert found["reprojection_without_surface"].value == 2.0


def test_colours_that_are_no_numbers_are_not_equal() -> None:
    found = measured(model_of(NoColours))["reprojection_error"]
    assert math.isnan(found.value) and found.deviation is None


def with_prior(truth: TrueBalls, **changes: Any) -> TrueBalls:
    truth.prior = PosePrior(dataclasses.replace(truth.prior.config, **changes))
    return truth


def test_the_floor_is_seen_by_the_cameras_of_the_value() -> None:
    """Whatever poses the truth's own pictures have."""
    floor = measured(ball_model(), truth=balls(2))["reprojection_error"].floor
    other = with_prior(balls(2), distribution="uniform", yaw_spread_deg=20.0, elevation_mean_deg=0.0)
    assert measured(ball_model(), truth=other)["reprojection_error"].floor == floor


@pytest.mark.parametrize(("name", "value"), [("fov_deg", 14.0), ("far", 1.2), ("planar_depth", True)])
def test_another_camera_gives_no_floor(name: str, value: float) -> None:
    found = measured(ball_model(), truth=with_prior(balls(2), **{name: value}))["reprojection_error"]
    assert found.floor is None and found.protocol["truth"] is None and found.protocol["floor_objects"] == 0


def test_a_shape_in_another_place_costs_colours() -> None:
    truth = balls(1, "cats")
    poses = spaced_poses(truth.prior.config, 5)
    rgb = torch.stack([truth.view(0, 64, pose).rgb for pose in poses])

    def error(radius: float) -> float:
        ball = trimesh.creation.icosphere(subdivisions=4, radius=radius)
        mesh = Mesh(np.asarray(ball.vertices, dtype=np.float32), np.asarray(ball.faces, dtype=np.int64))
        return object_error(pictures_on_mesh(mesh, rgb, poses, truth.prior), poses, truth.prior).error

    radius = float(truth.radii[0])
    errors = [error(share * radius) for share in (1.0, 0.8, 0.6)]
    assert errors[0] < 0.3 * errors[1] < 0.3 * 0.8 * errors[2]


def test_views_span_the_prior() -> None:
    sweep = spaced_poses(POSE_PRIOR_PRESETS["cats"], 5)
    reach = math.degrees(0.5)
    expected = torch.deg2rad(90.0 + torch.linspace(-reach, reach, 5))
    torch.testing.assert_close(sweep[:, 1], expected)
    torch.testing.assert_close(sweep[:, 0], torch.full((5,), math.pi / 2))
    circle = torch.rad2deg(spaced_poses(PosePriorConfig(distribution="uniform", yaw_spread_deg=180.0), 4)[:, 1])
    torch.testing.assert_close(circle, torch.tensor([90.0, 180.0, 270.0, 360.0]))


def test_pairs_are_consecutive_and_go_both_ways() -> None:
    pairs = set(zip(*neighbours(4, False), strict=True))
    assert pairs == {(0, 1), (1, 2), (2, 3), (1, 0), (2, 1), (3, 2)}
    assert set(zip(*neighbours(4, True), strict=True)) == pairs | {(3, 0), (0, 3)}
    assert set(zip(*neighbours(2, True), strict=True)) == {(0, 1), (1, 0)}


def test_rays_end_on_the_mesh() -> None:
    cube = trimesh.creation.box(extents=(0.1, 0.1, 0.1))
    mesh = Mesh(np.asarray(cube.vertices, dtype=np.float32), np.asarray(cube.faces, dtype=np.int64))
    origins = torch.tensor([[[0.01, 0.02, 1.0], [0.2, 0.0, 1.0]]])
    found = cast_distances(mesh, origins, torch.tensor([0.0, 0.0, -1.0]).expand_as(origins))
    torch.testing.assert_close(found, torch.tensor([[0.95, math.inf]]))


@pytest.mark.parametrize("setting", ["num_objects", "num_views", "resolution"])
def test_too_little_is_refused_in_a_sentence(setting: str) -> None:
    with pytest.raises(UserError, match="give 2 or more objects and views, and 8 or more pixels"):
        measured(ball_model(), dataclasses.replace(SMALL, **{setting: 1}))


def test_a_truth_of_few_objects_gives_its_floor_with_them() -> None:
    progress: list[float] = []
    config = dataclasses.replace(SMALL, num_objects=3)
    found = measured(ball_model(), config, truth=balls(2), report=progress.append)["reprojection_error"]
    assert found.protocol["objects"] == 3 and found.protocol["floor_objects"] == 2
    assert found.protocol["truth"] == "balls" and found.protocol["truth_objects"] == 2
    assert found.floor == measured(ball_model(), truth=balls(2))["reprojection_error"].floor
    assert progress == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
