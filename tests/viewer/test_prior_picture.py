"""The histogram of a pose prior: all draws are counted, at their place, under any prior."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS, PosePriorConfig, poses_from_degrees
from gan3d_ns.viewer.panel_text import data_url
from gan3d_ns.viewer.prior_picture import (
    NUM_BATCHES,
    WIDTH,
    draw_poses,
    in_degrees,
    marginal,
    marginals,
    prior_picture,
    whole_turns_removed,
)


@pytest.mark.parametrize("preset", POSE_PRIOR_PRESETS)
def test_every_draw_is_counted_once(preset: str) -> None:
    for chart in marginals(POSE_PRIOR_PRESETS[preset].setup(), num=2000):
        assert chart.counts.sum() == 2000
        assert len(chart.edges) == len(chart.counts) + 1
        np.testing.assert_allclose(np.diff(chart.edges), chart.edges[1] - chart.edges[0], rtol=1e-6)
        assert chart.edges[0] <= chart.low <= chart.mean <= chart.high <= chart.edges[-1]


def test_a_uniform_prior_is_flat_and_ends_where_it_should() -> None:
    prior = PosePriorConfig(distribution="uniform", yaw_spread_deg=60.0, elevation_mean_deg=15.0).setup()
    yaw, elevation = marginals(prior, num=64_000)
    assert (yaw.edges[0], yaw.edges[-1]) == (-60.0, 60.0)
    expected = 64_000 / len(yaw.counts)
    assert np.abs(yaw.counts - expected).max() < 5.0 * np.sqrt(expected)
    assert (yaw.low, yaw.high) == pytest.approx((-57.0, 57.0), abs=0.5)
    assert (elevation.edges[0], elevation.edges[-1]) == (0.0, 30.0)
    assert elevation.mean == pytest.approx(15.0)
    # Empty outside of 15 +- 8.9 degrees, but for the bins that hold the borders.
    centres = (elevation.edges[1:] + elevation.edges[:-1]) / 2.0
    bin_width = elevation.edges[1] - elevation.edges[0]
    assert elevation.counts[np.abs(centres - 15.0) > 8.9 + bin_width].sum() == 0


def test_a_gaussian_prior_has_its_deviation() -> None:
    yaw, _ = marginals(PosePriorConfig(distribution="gaussian", yaw_spread_deg=10.0).setup(), num=40_000)
    centres = (yaw.edges[1:] + yaw.edges[:-1]) / 2.0
    deviation = np.sqrt((yaw.counts * centres**2).sum() / yaw.counts.sum())
    assert deviation == pytest.approx(10.0, rel=0.05)
    assert (yaw.low, yaw.high) == pytest.approx((-19.6, 19.6), abs=0.6)


def test_both_sides_of_a_hybrid_prior_are_seen() -> None:
    """Each batch is of one kind: one batch alone would show half of the truth."""
    prior = PosePriorConfig(distribution="hybrid", yaw_spread_deg=10.0).setup()
    spreads = {round(float(draw_poses(prior, 256, seed)[:, 1].std()), 2) for seed in range(8)}
    assert max(spreads) > 1.1 * min(spreads), "seeds differ in kind"
    yaws, _ = in_degrees(draw_poses(prior, 20_000, 0, NUM_BATCHES))
    assert 10.0 < yaws.std() < 20.0 / np.sqrt(3.0)


def test_a_fixed_prior_is_one_bar() -> None:
    for chart in marginals(PosePriorConfig(distribution="fixed", yaw_mean_deg=20.0).setup(), num=100):
        assert (chart.counts > 0).sum() == 1


@pytest.mark.parametrize("mean", [0.0, 170.0, -180.0])
def test_a_prior_across_the_back_stays_in_one_piece(mean: float) -> None:
    config = PosePriorConfig(distribution="uniform", yaw_mean_deg=mean, yaw_spread_deg=20.0)
    yaw, _ = marginals(config.setup(), num=4000)
    assert yaw.edges[-1] - yaw.edges[0] <= 90.0
    assert yaw.low < mean < yaw.high


def test_draws_on_the_borders_are_counted() -> None:
    chart = marginal("Yaw", np.array([-180.0, 180.0, 0.0]), 0.0, 30.0, 180.0)
    assert chart.counts.sum() == 3
    assert chart.counts[0] == chart.counts[-1] == 1


def test_angles_are_those_of_the_command_line() -> None:
    yaws, elevations = torch.tensor([-30.0, 0.0, 120.0]), torch.tensor([10.0, -5.0, 0.0])
    found = in_degrees(poses_from_degrees(yaws, elevations))
    np.testing.assert_allclose(found[0], yaws.numpy(), atol=1e-4)
    np.testing.assert_allclose(found[1], elevations.numpy(), atol=1e-4)
    np.testing.assert_allclose(whole_turns_removed(np.array([350.0, -170.0]), 0.0), [-10.0, -170.0])


def test_the_picture_shows_the_bars_where_the_draws_are() -> None:
    """Bright pixels to the right of the middle for a prior on the right, on the left for one on the left."""
    colour = (255, 0, 0)
    for mean in (-25.0, 25.0):
        yaws = np.random.default_rng(0).uniform(mean - 5.0, mean + 5.0, 500)
        chart = marginal("Yaw", np.append(yaws, -mean), mean, 30.0, 180.0)
        picture = np.asarray(prior_picture((chart,), colour))
        painted = np.argwhere((picture == colour).all(axis=-1))
        assert (np.median(painted[:, 1]) > WIDTH / 2) == (mean > 0)


def test_the_address_holds_the_picture() -> None:
    picture = prior_picture(marginals(PosePriorConfig().setup(), num=500))
    head, content = data_url(picture).split(",")
    assert head == "data:image/png;base64"
    assert len(content) < 40_000
    read = Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB")
    assert read.size == picture.size
    assert np.abs(np.asarray(read, dtype=float) - np.asarray(picture, dtype=float)).mean() < 3.0
