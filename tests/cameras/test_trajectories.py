"""Ways of a camera: they close, they are smooth, and they stay where the training cameras stood."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import Tensor

from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS, PosePrior, PosePriorConfig, poses_to_positions
from gan3d_ns.cameras.trajectories import HIGHEST_DEG, Programme, suitable_programme, trajectory, view_range

PROGRAMMES = get_args(Programme)
FRAMES = 60


def angles_deg(poses: Tensor) -> tuple[Tensor, Tensor]:
    """Yaw and elevation in degrees."""
    return torch.rad2deg(poses[:, 1]) - 90.0, 90.0 - torch.rad2deg(poses[:, 0])


@pytest.mark.parametrize("programme", PROGRAMMES)
@pytest.mark.parametrize("preset", POSE_PRIOR_PRESETS)
def test_loops_close_and_nothing_jumps(preset: str, programme: Programme) -> None:
    """The step from the last frame to the first is one of the steps of a way whose speed changes slowly."""
    positions = poses_to_positions(trajectory(POSE_PRIOR_PRESETS[preset], programme, FRAMES).double())
    steps = torch.roll(positions, -1, 0) - positions
    turns = torch.roll(steps, -1, 0) - steps
    longest = steps.norm(dim=1).max()
    assert longest < 2.5 * 2.0 * math.pi / FRAMES, "hardly faster than the two full circles of a spiral"
    assert (turns.norm(dim=1) <= 0.45 * longest + 1e-5).all(), "no corner, also not at the seam"
    assert (longest < 1e-6) == (programme == "still")


@pytest.mark.parametrize("programme", PROGRAMMES)
@pytest.mark.parametrize("preset", POSE_PRIOR_PRESETS)
def test_cameras_stay_where_they_stood_in_training(preset: str, programme: Programme) -> None:
    prior = POSE_PRIOR_PRESETS[preset]
    yaw, elevation = angles_deg(trajectory(prior, programme, FRAMES))
    drawn_yaw, drawn_elevation = angles_deg(PosePrior(prior).sample(4000, torch.Generator().manual_seed(0)))
    assert elevation.min() >= drawn_elevation.min() - 0.5
    assert elevation.max() <= drawn_elevation.max() + 0.5
    assert elevation.abs().max() <= HIGHEST_DEG + 1e-3
    if programme != "orbit" and not view_range(prior).all_around:
        assert yaw.min() >= drawn_yaw.min() - 0.5
        assert yaw.max() <= drawn_yaw.max() + 0.5


def test_what_the_programmes_do() -> None:
    prior = PosePriorConfig(
        distribution="uniform",
        yaw_mean_deg=10.0,
        yaw_spread_deg=25.0,
        elevation_mean_deg=20.0,
        elevation_spread_deg=8.0,
    )

    def run(programme: Programme) -> tuple[Tensor, Tensor]:
        return angles_deg(trajectory(prior, programme, 80))

    yaw, elevation = run("orbit")
    torch.testing.assert_close(yaw, 10.0 + 4.5 * torch.arange(80))
    torch.testing.assert_close(elevation, torch.full((80,), 20.0))
    yaw, elevation = run("front-sweep")
    torch.testing.assert_close(yaw[[0, 20, 40, 60]], torch.tensor([10.0, 35.0, 10.0, -15.0]))
    torch.testing.assert_close(elevation, torch.full((80,), 20.0))
    yaw, elevation = run("ellipse")
    torch.testing.assert_close(((yaw - 10.0) / 25.0) ** 2 + ((elevation - 20.0) / 8.0) ** 2, torch.ones(80))
    yaw, elevation = run("spiral")
    torch.testing.assert_close(elevation[[0, 20, 40, 60]], torch.tensor([12.0, 20.0, 28.0, 20.0]))
    assert (elevation[:41].diff() > 0).all(), "it rises"
    torch.testing.assert_close(yaw[[0, 10, 20, 30]], torch.tensor([10.0, 35.0, 10.0, -15.0]))
    yaw, elevation = run("still")
    assert (yaw == yaw[0]).all()
    assert (elevation == elevation[0]).all()


def test_all_around_a_spiral_turns() -> None:
    yaw, _ = angles_deg(trajectory(POSE_PRIOR_PRESETS["procedural"], "spiral", 100))
    torch.testing.assert_close(yaw.diff(), torch.full((99,), 7.2), atol=1e-3, rtol=0)


def test_the_middle_of_an_area_law_is_not_its_fraction() -> None:
    """GRAF's cars: a fraction of the area from 0 to .456422 above the camera."""
    seen = view_range(POSE_PRIOR_PRESETS["graf-carla"])
    assert seen.elevation == pytest.approx(90.0 - math.degrees(math.acos(1.0 - 0.456422)), abs=1e-3)
    assert seen.lowest == pytest.approx(90.0 - math.degrees(math.acos(1.0 - 2 * 0.456422)), abs=1e-3)
    assert seen.highest == HIGHEST_DEG
    mean = PosePrior(POSE_PRIOR_PRESETS["graf-carla"]).mean_pose()
    assert seen.elevation == pytest.approx(90.0 - math.degrees(float(mean[0])), abs=1e-3)


def test_turns_repeat_and_the_middle_can_be_moved() -> None:
    prior = POSE_PRIOR_PRESETS["cats"]
    once, twice = trajectory(prior, "front-sweep", 20), trajectory(prior, "front-sweep", 40, turns=2)
    torch.testing.assert_close(twice, torch.cat((once, once)))
    yaw, elevation = angles_deg(trajectory(prior, "still", 3, yaw_deg=-40.0, elevation_deg=12.0))
    torch.testing.assert_close(yaw, torch.full((3,), -40.0))
    torch.testing.assert_close(elevation, torch.full((3,), 12.0))


@pytest.mark.parametrize(
    ("preset", "programme"),
    [("procedural", "orbit"), ("carla", "orbit"), ("cats", "front-sweep"), ("bfm", "front-sweep")],
)
def test_the_programme_suits_what_was_seen(preset: str, programme: Programme) -> None:
    assert suitable_programme(POSE_PRIOR_PRESETS[preset]) == programme
