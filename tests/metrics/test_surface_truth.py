"""Errors of surfaces whose truth is a formula: none for the model itself, the known ones for another ball."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from ball_truth import RADIUS, BallTruth, moving_balls
from torch import Tensor

from gan3d_ns.errors import UserError
from gan3d_ns.metrics.records import Record
from gan3d_ns.metrics.settings import InversionConfig, SurfaceConfig
from gan3d_ns.metrics.surface_truth import (
    OF_MEAN_OBJECT,
    depth_error,
    mask_iou,
    measure_surface,
    normal_angle_deg,
    scale_invariant_depth_error,
    see_objects,
)

SIDE = 16
INVERSION = InversionConfig(num_steps=100, learning_rate=0.2, num_candidates=16, pull=1e-6)
SETTINGS = SurfaceConfig(num_pictures=3, resolution=SIDE, inversion=INVERSION)


def depths(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Depths of two pictures, and pixels that count."""
    randomness = torch.Generator().manual_seed(seed)
    return 0.9 + 0.2 * torch.rand(2, 5, 5, generator=randomness), torch.rand(2, 5, 5, generator=randomness) < 0.7


def test_a_shifted_depth_has_the_shift_as_its_error() -> None:
    true, counted = depths()
    shifted = torch.where(counted, true + torch.tensor([0.01, -0.03])[:, None, None], 77.0)
    assert torch.allclose(depth_error(shifted, true, counted), torch.tensor([0.01, 0.03]), atol=1e-6)


def test_scale_does_not_change_the_scale_invariant_error() -> None:
    true, counted = depths()
    assert float(scale_invariant_depth_error(1.3 * true, true, counted).max()) < 1e-6
    other = true * torch.linspace(0.9, 1.1, 25).view(5, 5)
    error = scale_invariant_depth_error(other, true, counted)
    assert float(error.min()) > 0.01
    assert torch.allclose(scale_invariant_depth_error(2.0 * other, true, counted), error, atol=1e-6)


def test_half_the_depths_scaled_by_a_factor() -> None:
    true = torch.ones(1, 4, 4)
    depth = true.clone()
    depth[:, :2] = math.exp(0.1)
    error = scale_invariant_depth_error(depth, true, true > 0)
    assert float(error) == pytest.approx(0.05, abs=1e-6)


@pytest.mark.parametrize("angle_deg", [0.0, 0.01, 25.0, 90.0, 180.0])
def test_turned_normals_have_their_angle(angle_deg: float) -> None:
    normals = torch.nn.functional.normalize(torch.randn(1, 3, 3, 3), dim=-1)
    across = torch.nn.functional.normalize(torch.linalg.cross(normals, torch.randn(1, 3, 3, 3)), dim=-1)
    angle = math.radians(angle_deg)
    turned = math.cos(angle) * normals + math.sin(angle) * across
    counted = torch.ones(1, 3, 3, dtype=torch.bool)
    assert float(normal_angle_deg(turned, normals, counted)) == pytest.approx(angle_deg, abs=2e-3)


def test_pixels_that_do_not_count_do_not() -> None:
    true, counted = depths()
    nothing = torch.zeros_like(counted)
    wild = torch.where(counted, true, -1e9)
    assert float(depth_error(wild, true, counted).max()) == 0.0
    assert float(scale_invariant_depth_error(wild, true, counted).max()) < 1e-6
    assert depth_error(true, true, nothing).isnan().all()
    assert scale_invariant_depth_error(true, true, nothing).isnan().all()


def test_masks_that_overlap_by_a_third() -> None:
    first, second = torch.zeros(1, 2, 4, dtype=torch.bool), torch.zeros(1, 2, 4, dtype=torch.bool)
    first[..., :2], second[..., 1:3] = True, True
    assert float(mask_iou(first, second)) == pytest.approx(1.0 / 3.0)


@pytest.mark.parametrize("turned_by", [0.0, 1.2])
def test_the_truth_itself_is_seen_without_error(turned_by: float) -> None:
    truth = BallTruth(3)
    views = [truth.view(index, SIDE) for index in range(3)]
    seen = see_objects(moving_balls(turned_by=turned_by), truth.centres[None], truth.poses, SIDE, turned_by)
    mask, both = torch.stack([view.mask for view in views]), torch.stack([view.mask for view in views]) & seen.hit
    # The search may step over the rim; nothing else is missed.
    assert not bool((seen.hit & ~mask).any())
    assert float(mask_iou(seen.hit, mask).min()) > 0.93
    assert float(depth_error(seen.depth, torch.stack([view.depth for view in views]), both).max()) < 2e-5
    assert float(normal_angle_deg(seen.normals, torch.stack([view.normals for view in views]), both).max()) < 0.1
    assert float((seen.rgb - torch.stack([view.rgb for view in views])).abs().max()) < 1e-3


def test_a_larger_ball_is_nearer_by_the_formula() -> None:
    truth, larger = BallTruth(1), RADIUS + 0.01
    truth.centres = torch.zeros(1, 3)
    seen = see_objects(moving_balls(ball_radius=larger), torch.zeros(1, 1, 3), truth.poses, SIDE)
    view = truth.view(0, SIDE)
    directions = truth.prior.rays(truth.poses, SIDE).directions
    clearance = torch.linalg.cross(truth.prior.rays(truth.poses, SIDE).origins, directions).norm(dim=-1)
    expected = (larger**2 - clearance**2).sqrt() - (RADIUS**2 - clearance**2).sqrt()
    expected = expected[clearance < RADIUS].mean()
    error = depth_error(seen.depth, view.depth[None], view.mask[None] & seen.hit)
    assert float(error) == pytest.approx(float(expected), abs=2e-5)
    assert float(error) > 0.01
    share = (clearance < RADIUS).sum() / (clearance < larger).sum()
    assert float(mask_iou(seen.hit, view.mask[None])) == pytest.approx(float(share))


@pytest.fixture(scope="module")
def records() -> dict[str, Record]:
    return {record.metric: record for record in measure_surface(moving_balls(), BallTruth(8), SETTINGS)}


def test_a_model_that_is_the_truth_has_next_to_no_error(records: dict[str, Record]) -> None:
    assert records["inversion_error"].value < 0.006
    assert records["depth_error"].value < 0.8  # .002 world units
    assert records["scale_invariant_depth_error"].value < 0.25
    assert records["normal_angle"].value < 4.0
    assert records["mask_iou"].value > 0.9
    assert records["novel_view_error_90"].value < 0.01


def test_the_trivial_answer_is_worse(records: dict[str, Record]) -> None:
    for metric in ("depth_error", "normal_angle", "inversion_error", "novel_view_error_30", "novel_view_error_90"):
        assert records[metric + OF_MEAN_OBJECT].value > 2.0 * records[metric].value
    assert records["mask_iou" + OF_MEAN_OBJECT].value < records["mask_iou"].value


def test_records_say_how_they_were_taken(records: dict[str, Record]) -> None:
    for record in records.values():
        assert record.better == ("higher" if record.metric.startswith("mask_iou") else "lower")
        assert record.deviation_over == "pictures"
        assert record.protocol["truth"] == "balls" and record.protocol["truth_objects"] == 8
        assert record.protocol["inversion_num_steps"] == 100
        assert all(value is None or isinstance(value, (str, int, float, bool)) for value in record.protocol.values())
    assert records["depth_error"].unit == "% of far - near"


def test_a_model_of_larger_balls_has_a_depth_error() -> None:
    settings = SurfaceConfig(num_pictures=2, resolution=SIDE, inversion=InversionConfig(num_steps=10))
    measured = measure_surface(moving_balls(ball_radius=RADIUS + 0.02), BallTruth(2), settings)
    found = {record.metric: record.value for record in measured}
    # Balls that lie deeper make up for a part of the 8.3 percent.
    assert found["depth_error"] > 3.0
    assert found["mask_iou"] < 0.8


def test_the_same_seed_gives_the_same_digits() -> None:
    settings = SurfaceConfig(num_pictures=2, resolution=SIDE, inversion=InversionConfig(num_steps=3))
    done: list[float] = []
    first = measure_surface(moving_balls(), BallTruth(4), settings, report=done.append)
    assert json.dumps([vars(record) for record in first]) == json.dumps(
        [vars(record) for record in measure_surface(moving_balls(), BallTruth(4), settings)]
    )
    assert done == sorted(done)
    assert done[-1] == 1.0


def test_an_offset_that_is_known_is_taken_into_account() -> None:
    settings = SurfaceConfig(num_pictures=2, resolution=SIDE, inversion=InversionConfig(num_steps=10))

    def found(model: Any, offset: float) -> dict[str, float]:
        return {record.metric: record.value for record in measure_surface(model, BallTruth(4), settings, offset)}

    straight, turned = found(moving_balls(), 0.0), found(moving_balls(turned_by=2.0), 2.0)
    assert turned["normal_angle" + OF_MEAN_OBJECT] == pytest.approx(straight["normal_angle" + OF_MEAN_OBJECT], abs=0.5)
    assert found(moving_balls(turned_by=2.0), 0.0)["novel_view_error_30"] > 1.2 * turned["novel_view_error_30"]


def test_a_turn_that_nobody_knows_is_named() -> None:
    settings = SurfaceConfig(num_pictures=1, resolution=SIDE, inversion=InversionConfig(num_steps=2, num_candidates=1))
    records = measure_surface(moving_balls(), BallTruth(2), settings, math.nan)
    assert records[0].protocol["yaw_offset_deg"] is None and records[0].protocol["yaw_offset"] == "unknown"
    assert records[0].value == measure_surface(moving_balls(), BallTruth(2), settings)[0].value


def test_truth_of_a_lower_resolution_is_refused() -> None:
    with pytest.raises(UserError, match="gives views of 8 pixels where 16"):
        measure_surface(moving_balls(), BallTruth(3, largest=8), SETTINGS)


def test_too_few_pictures_are_refused() -> None:
    with pytest.raises(UserError, match="has 2 pictures, but 3 are"):
        measure_surface(moving_balls(), BallTruth(2), SETTINGS)
    with pytest.raises(UserError, match="0 pictures"):
        SurfaceConfig(num_pictures=0)


@pytest.mark.parametrize(("name", "value"), [("far", 1.2), ("near", 0.8), ("fov_deg", 14.0)])
def test_another_camera_is_refused(name: str, value: float) -> None:
    truth = BallTruth(3)
    setattr(truth.prior.config, name, value)
    with pytest.raises(UserError, match=f"has {name} .* but the collection balls was taken with {value}"):
        measure_surface(moving_balls(), truth, SETTINGS)
