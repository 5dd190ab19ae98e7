"""Laws of cameras whose distances are known."""

from __future__ import annotations

import io
import math

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
from true_balls import balls

from gan3d_ns.cameras.camera_generator import CameraGenerator, CameraGeneratorConfig
from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS, PosePriorConfig
from gan3d_ns.cameras.viewpoints import Viewpoints
from gan3d_ns.metrics.camera_law import (
    CameraLaws,
    camera_histogram,
    camera_laws,
    free_turn,
    kolmogorov_smirnov,
    law_of,
    summary,
    true_law,
    wrapped,
)

FRONT = PosePriorConfig(distribution="gaussian", yaw_spread_deg=15.0, elevation_spread_deg=8.0, fov_deg=20.0)


def even(low: float, high: float, num: int = 4000) -> np.ndarray:
    return np.linspace(low, high, num, endpoint=False)


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.5, 1.0])
def test_shifted_uniform_laws_are_as_far_apart_as_the_share_that_they_do_not_share(shift: float) -> None:
    assert kolmogorov_smirnov(even(0, 40), even(40 * shift, 40 * (1 + shift))) == pytest.approx(shift, abs=1e-3)


def test_a_constant_is_near_itself_and_far_from_others() -> None:
    constant = np.full(50, 12.0)
    assert kolmogorov_smirnov(constant, constant + 1e-6 * np.random.default_rng(0).normal(size=50)) == 0.0
    assert kolmogorov_smirnov(constant, constant + 0.1) == 1.0


def test_uniform_against_a_narrower_uniform() -> None:
    """Within [-a, a] of [-1, 1]: the distribution functions differ most at the ends, by (1 - a) / 2."""
    assert kolmogorov_smirnov(even(-30, 30), even(-10, 10)) == pytest.approx(1 / 3, abs=1e-3)


@pytest.mark.parametrize("turn", [0.0, 50.0, -170.0, 135.5])
def test_the_free_turn_is_found_and_taken_away(turn: float) -> None:
    truth = np.random.default_rng(0).normal(10, 35, 6000)
    turned = wrapped(truth + turn)
    found = free_turn(turned, truth)
    assert abs(wrapped(np.array([found + turn]))[0]) <= 1.5
    assert kolmogorov_smirnov(wrapped(turned + found, 10.0), wrapped(truth, 10.0)) < 0.03


def test_laws_all_around_need_no_turn_to_be_near() -> None:
    circle = np.random.default_rng(0).uniform(-180, 180, 8000)
    other = np.random.default_rng(1).uniform(-180, 180, 8000)
    assert kolmogorov_smirnov(wrapped(circle + free_turn(circle, other)), other) < 0.05


def test_quantities_of_known_cameras() -> None:
    poses = torch.tensor([[math.pi / 2, math.pi / 2], [math.radians(60), math.radians(120)], [math.pi / 2, -math.pi]])
    tangents = torch.tensor([[1.0, math.tan(math.radians(15))]]).expand(3, 2)
    law = law_of(Viewpoints(poses, torch.tensor([1.0, 0.5, 2.0]), tangents), FRONT)
    np.testing.assert_allclose(law["yaw"], [0, 30, 90], atol=1e-4)
    np.testing.assert_allclose(law["elevation"], [0, 30, 0], atol=1e-4)
    np.testing.assert_allclose(law["fov"], 90, atol=1e-4)
    np.testing.assert_allclose(law["fov_down"], 30, atol=1e-4)
    np.testing.assert_allclose(law["radius"], [1, 0.5, 2])
    plain = law_of(Viewpoints(poses), FRONT)
    assert set(plain["fov"]) == {20.0} and set(plain["radius"]) == {1.0}


def test_the_summary_of_angles_does_not_break_at_the_back() -> None:
    around = summary(wrapped(np.random.default_rng(0).normal(179, 5, 5000)), circular=True)
    assert abs(wrapped(np.array([around.mean - 179]))[0]) < 0.5
    assert around.std == pytest.approx(5, abs=0.3)
    plain = summary(np.array([1.0, 2.0, 3.0]))
    assert (plain.mean, plain.minimum, plain.maximum) == (2, 1, 3)


def moved(elevation_deg: float) -> CameraGenerator:
    """A generator that raises all cameras."""
    generator = CameraGenerator(CameraGeneratorConfig(initial_std=0.0), FRONT)
    generator.release()
    with torch.no_grad():
        generator.fc_out.bias[3] = -elevation_deg / 90
    return generator


def test_the_learned_law_is_told_from_the_prior_and_nearer_to_the_truth() -> None:
    truth = balls(300)
    found = camera_laws(FRONT, moved(25.0), truth, num=4000)
    report = found.report()
    assert report["cameras"] == {"prior": 4000, "learned": 4000, "truth": 600}
    before, after = (report["laws"]["elevation"][kind]["mean"] for kind in ("prior", "learned"))
    assert after - before == pytest.approx(25, abs=0.1)
    distances = report["kolmogorov_smirnov"]
    assert distances["elevation"]["learned"] < 0.45 < 0.8 < distances["elevation"]["prior"]
    assert distances["fov"] == {"prior": 1.0, "learned": 1.0}
    assert distances["radius"] == {"prior": 0.0, "learned": 0.0}
    assert distances["yaw"]["prior"] > 0.3


def test_the_prior_of_the_pictures_is_at_distance_0_from_them() -> None:
    truth = balls(1000)
    found = camera_laws(POSE_PRIOR_PRESETS["procedural"], None, truth, num=4000)
    assert set(found.laws) == {"prior", "truth"}
    assert all(distance["prior"] < 0.06 for distance in found.distances().values())
    assert np.array_equal(true_law(truth)["yaw"], found.laws["truth"]["yaw"])


def test_without_truth_there_is_nothing_to_compare_with() -> None:
    found = camera_laws(FRONT, moved(5.0), None, num=100)
    assert found.distances() == {} and set(found.laws) == {"prior", "learned"}


@pytest.mark.parametrize("with_truth", [True, False])
def test_the_picture_has_a_panel_for_each_quantity(with_truth: bool) -> None:
    found = camera_laws(FRONT, moved(25.0), balls(20) if with_truth else None, num=500)
    assert found.quantities == ("yaw", "elevation", "fov", "radius")
    picture = imageio.imread(io.BytesIO(camera_histogram(found, "cameras")))
    assert picture.shape[1] > 3 * picture.shape[0]
    assert picture[..., :3].std() > 10


def test_the_second_field_of_view_is_told_where_it_differs() -> None:
    law = law_of(Viewpoints(torch.ones(5, 2), None, torch.tensor([[0.1, 0.2]]).expand(5, 2)), FRONT)
    assert "fov_down" in CameraLaws({"prior": law}, {}).quantities
