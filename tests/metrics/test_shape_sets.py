"""Chamfer distances, matching and coverage of sets whose answers are known, and the frame of the comparison."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from analytic_field import BallField
from ball_model import BallModel, ball_model
from true_balls import TrueBalls, balls

from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS, PosePrior
from gan3d_ns.cameras.projection import projected
from gan3d_ns.errors import UserError
from gan3d_ns.exporter.mesh import Mesh
from gan3d_ns.metrics.records import Record
from gan3d_ns.metrics.settings import ShapeSetsConfig
from gan3d_ns.metrics.shape_sets import (
    chamfer,
    chamfer_matrix,
    measure_shape_sets,
    seen_by,
    set_distance,
    set_sizes,
    surface_points,
    turned_to_truth,
)

SIDE = 1.0
SMALL = ShapeSetsConfig(num_generated=3, num_true=3, points=256, mesh_resolution=32)


def mesh_of(shape: Any) -> Mesh:
    return Mesh(np.asarray(shape.vertices, dtype=np.float32), np.asarray(shape.faces, dtype=np.int64))


def cube(side: float = SIDE) -> Mesh:
    return mesh_of(trimesh.creation.box(extents=(side, side, side)))


def points_of(mesh: Mesh, count: int = 40_000, seed: int = 0) -> np.ndarray:
    points = surface_points(mesh, count, (seed,))
    assert points is not None
    return points


def test_points_spread_evenly_over_a_cube() -> None:
    points = points_of(cube())
    assert np.abs(np.abs(points).max(axis=1) - SIDE / 2).max() < 1e-6
    for axis in range(3):
        for end in (-SIDE / 2, SIDE / 2):
            assert np.isclose(points[:, axis], end).mean() == pytest.approx(1 / 6, abs=0.01)
    assert np.array_equal(points, points_of(cube()))
    assert not np.array_equal(points, points_of(cube(), seed=1))


def test_a_set_has_no_distance_to_itself_and_both_orders_agree() -> None:
    points, others = points_of(cube(), 500), points_of(cube(1.5), 300)
    assert chamfer(points, points) == 0.0
    assert chamfer(points, others) == pytest.approx(chamfer(others, points))
    assert chamfer(points, others) > 0.1


def test_a_cube_in_a_larger_one() -> None:
    """Inside out every point is the gap away; outside in it is further over edges and corners of the smaller cube."""
    side, gap, num = 1.0, 0.1, 2000
    inner, outer = points_of(cube(side)), points_of(cube(side + 2 * gap))
    steps = (np.arange(num) + 0.5) / num * (side / 2 + gap)
    beyond = (steps - side / 2).clip(min=0.0)
    outwards = np.sqrt(gap**2 + beyond[:, None] ** 2 + beyond[None] ** 2).mean()
    assert chamfer(inner, outer) == pytest.approx((gap + outwards) / 2, rel=0.01)


def test_a_moved_plate_is_as_far_away_as_it_was_moved() -> None:
    plate = mesh_of(trimesh.creation.box(extents=(1.0, 1.0, 1e-5)))
    points = points_of(plate)
    assert chamfer(points, points_of(plate, seed=1) + np.array([0.0, 0.0, 0.1])) == pytest.approx(0.1, rel=0.01)


def test_identical_sets_match_and_cover() -> None:
    shapes = [points_of(cube(side), 200) for side in (0.5, 1.0, 2.0)]
    assert set_distance(chamfer_matrix(shapes, shapes)) == (0.0, 0.0, 1.0)


def test_one_shape_again_and_again_covers_one_of_n() -> None:
    shapes = [points_of(cube(side), 200) for side in (0.5, 1.0, 2.0, 4.0)]
    found = set_distance(chamfer_matrix([shapes[1]] * 4, shapes))
    assert found.coverage == 0.25
    assert found.matching == pytest.approx(np.mean([chamfer(shapes[1], other) for other in shapes]))


def test_the_reference_is_what_must_be_matched() -> None:
    """Two near the first of three; of the set, one far from all does no harm to matching."""
    distances = np.array([[0.1, 0.9, 0.8], [0.2, 0.7, 0.6], [5.0, 5.0, 4.0]])
    found = set_distance(distances)
    assert found.matching == pytest.approx((0.1 + 0.7 + 0.6) / 3)
    assert found.coverage == pytest.approx(2 / 3)


def test_nothing_matches_nothing() -> None:
    found = set_distance(np.empty((0, 4)))
    assert math.isnan(found.matching) and found.coverage == 0.0


def test_turned_points_appear_to_true_cameras_as_they_did_to_the_models() -> None:
    prior = PosePrior(POSE_PRIOR_PRESETS["procedural"])
    randomness = torch.Generator().manual_seed(0)
    points, offset = 0.2 * torch.rand(30, 3, generator=randomness) - 0.1, 0.7
    true_poses = prior.sample(3, randomness)
    model_poses = true_poses + torch.tensor([0.0, offset])
    turned = torch.from_numpy(turned_to_truth(points.double().numpy(), offset)).float()
    for true_pose, model_pose in zip(true_poses, model_poses, strict=True):
        in_model = projected(points, prior.camera_to_world(model_pose[None])[0], 12.0)
        in_truth = projected(turned, prior.camera_to_world(true_pose[None])[0], 12.0)
        torch.testing.assert_close(in_truth.coordinates, in_model.coordinates, atol=1e-5, rtol=1e-5)


def test_what_no_camera_sees_is_left_out() -> None:
    """A ball in a ball, seen from above the horizon: only the outer one, and next to nothing of its underside."""
    prior = PosePrior(POSE_PRIOR_PRESETS["procedural"])
    outer = trimesh.creation.icosphere(subdivisions=3, radius=0.08)
    inner = trimesh.creation.icosphere(subdivisions=3, radius=0.05)
    inner.invert()
    mesh = mesh_of(trimesh.util.concatenate([outer, inner]))
    everything, seen = surface_points(mesh, 1000, (0,)), surface_points(mesh, 1000, (0,), prior)
    assert everything is not None and seen is not None
    share_inside = 0.05**2 / (0.05**2 + 0.08**2)
    assert (np.linalg.norm(everything, axis=1) < 0.06).mean() == pytest.approx(share_inside, abs=0.05)
    assert (np.linalg.norm(seen, axis=1) > 0.078).all() and len(seen) == 1000
    # From 5 degrees above the horizon the ball's rim lies 85 degrees below its top.
    assert seen[:, 1].min() > -0.08 * math.sin(math.radians(86.0))
    assert (seen[:, 1] > 0).mean() > 0.5


@pytest.mark.parametrize("every", [3, 1])
def test_the_winding_of_faces_hides_nothing(every: int) -> None:
    """Models of others are inside out, here and there or as a whole."""
    prior = PosePrior(POSE_PRIOR_PRESETS["procedural"])
    ball = mesh_of(trimesh.creation.icosphere(subdivisions=3, radius=0.08))
    faces = ball.faces.copy()
    faces[::every] = faces[::every, ::-1]
    points = torch.from_numpy(points_of(ball, 1000).astype(np.float32))
    wanted, found = seen_by(ball, points, prior), seen_by(Mesh(ball.vertices, faces), points, prior)
    assert 0.8 < wanted.mean() < 0.99
    assert (wanted == found).mean() > 0.995


class OffAxisBall(BallField):
    """A ball beside the axis whatever the latent."""

    def __init__(self, centre: tuple[float, float, float], radius: float) -> None:
        super().__init__(radius, 8000.0)
        self.centre = centre

    def condition(self, codes):
        return super().condition(codes.new_tensor(self.centre).expand_as(codes))


def model_of(centre: tuple[float, float, float], radius: float) -> BallModel:
    model = ball_model()
    model.generator.field = model.generator_ema.field = OffAxisBall(centre, radius)
    return model


def measured(model: BallModel, truth: TrueBalls, config: ShapeSetsConfig = SMALL, **more: Any) -> dict[str, Record]:
    return {record.metric: record for record in measure_shape_sets(model, truth, config, **more)}


def test_shapes_of_a_turned_generator_want_its_offset() -> None:
    """The generator learnt the truth's balls at +x turned by 90 degrees, towards +z."""
    truth = TrueBalls(torch.tensor([[0.04, 0.0, 0.0]] * 3), torch.full((3,), 0.03))
    model = model_of((0.0, 0.0, 0.04), 0.03)
    found = {
        turn: measured(model, truth, yaw_offset_rad=math.radians(turn))["shape_matching_distance"].value
        for turn in (90.0, 0.0, -90.0)
    }
    assert found[90.0] < 0.005 and found[0.0] > 0.02 and found[-90.0] > 0.03


def test_equal_shapes_cover_one_and_come_with_a_floor() -> None:
    truth, progress = balls(6), []
    model = model_of((0.0, 0.0, 0.0), 0.05)
    found = measured(model, truth, report=progress.append)
    coverage, matching = found["shape_coverage"], found["shape_matching_distance"]
    assert coverage.value == pytest.approx(1 / 3) and coverage.floor is not None and coverage.floor >= 1 / 3
    assert matching.floor is not None and 0.0 < matching.floor < matching.value
    assert found["shapes_without_surface"].value == 0.0
    assert progress == pytest.approx([(step + 1) / 9 for step in range(9)])
    assert measured(model, truth) == found
    assert matching.protocol["truth"] == "balls" and matching.protocol["truth_objects"] == 6
    other = measured(model, truth, dataclasses.replace(SMALL, seed=1))
    assert other["shape_matching_distance"].value != matching.value


@pytest.mark.parametrize(
    ("num_objects", "sizes"),
    [(64, (32, 32, 32)), (63, (31, 31, 31)), (30, (15, 15, 15)), (4, (2, 2, 2)), (3, (32, 3, 0)), (2, (32, 2, 0))],
)
def test_of_small_collections_half_is_the_reference(num_objects: int, sizes: tuple[int, int, int]) -> None:
    assert set_sizes(num_objects, ShapeSetsConfig()) == sizes


def test_what_is_few_on_one_side_stays_so() -> None:
    assert set_sizes(40, ShapeSetsConfig(num_generated=4, num_true=32)) == (4, 32, 4)
    assert set_sizes(40, ShapeSetsConfig(num_generated=32, num_true=10)) == (20, 10, 20)


def test_fewer_true_objects_than_are_asked_for_still_give_a_floor() -> None:
    found = measured(model_of((0.0, 0.0, 0.0), 0.05), balls(5), dataclasses.replace(SMALL, num_true=9))
    coverage = found["shape_coverage"]
    assert coverage.protocol["generated"] == coverage.protocol["true"] == 2
    assert coverage.protocol["truth_objects"] == 5
    assert coverage.floor is not None and coverage.value == pytest.approx(1 / 2)


def test_without_other_true_objects_there_is_no_floor() -> None:
    found = measured(model_of((0.0, 0.0, 0.0), 0.05), balls(3))
    assert found["shape_coverage"].floor is None and found["shape_matching_distance"].floor is None
    assert found["shape_coverage"].protocol["true"] == 3


def test_an_unknown_turn_gives_no_values() -> None:
    found = measured(model_of((0.0, 0.0, 0.0), 0.05), balls(4), yaw_offset_rad=math.nan)
    assert math.isnan(found["shape_coverage"].value) and math.isnan(found["shape_matching_distance"].value)
    assert found["shape_coverage"].floor is not None
    assert found["shapes_without_surface"].value == 0.0
    assert found["shape_coverage"].protocol["yaw_offset_deg"] is None


def test_matter_that_is_no_number_is_no_surface() -> None:
    model = model_of((0.0, 0.0, 0.0), 0.05)
    model.generator_ema.field.geometry_logits = lambda positions, styles: torch.where(
        positions[..., 0] > 0.01, torch.nan, 0.05 - positions.norm(dim=-1)
    )
    assert measured(model, balls(4))["shapes_without_surface"].value == 2.0


def test_objects_without_a_surface_cover_nothing() -> None:
    found = measured(model_of((0.0, 0.0, 0.0), -1.0), balls(3))
    assert found["shapes_without_surface"].value == 3.0 and found["shape_coverage"].value == 0.0
    assert math.isnan(found["shape_matching_distance"].value)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"num_generated": 1}, "1 generated and 3 true shapes are no sets"),
        ({"num_true": 1}, "3 generated and 1 true shapes are no sets"),
        ({"points": 4}, "4 points say nothing"),
    ],
)
def test_too_little_is_refused_in_a_sentence(settings: dict[str, int], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        measured(ball_model(), balls(6), dataclasses.replace(SMALL, **settings))


def test_one_true_object_is_no_set() -> None:
    with pytest.raises(UserError, match="has 1 shapes, which is no set"):
        measured(ball_model(), balls(1))
