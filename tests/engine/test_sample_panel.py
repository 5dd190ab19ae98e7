"""From where the sample panel looks, and which of its rows is the front."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gan3d_ns.cameras.pose_prior import PosePriorConfig
from gan3d_ns.engine.sample_panel import front_row, panel_yaws_deg

PRIOR = PosePriorConfig(distribution="uniform", yaw_mean_deg=10.0, yaw_spread_deg=30.0)


def test_yaws_reach_from_end_to_end_of_the_prior():
    assert panel_yaws_deg(PRIOR, 3) == [-20.0, 10.0, 40.0]
    assert panel_yaws_deg(replace(PRIOR, distribution="gaussian"), 3) == [-50.0, 10.0, 70.0]
    assert panel_yaws_deg(replace(PRIOR, yaw_spread_deg=180.0), 4) == [10.0, 100.0, 190.0, 280.0]
    assert panel_yaws_deg(PRIOR, 1) == [10.0]


@pytest.mark.parametrize("distribution", ["uniform", "gaussian", "truncated-gaussian", "hybrid"])
@pytest.mark.parametrize("spread", [20.0, 90.0, 120.0, 180.0])
@pytest.mark.parametrize("count", [1, 3, 5])
def test_the_front_row_looks_from_the_mean(distribution, spread, count):
    prior = replace(PRIOR, distribution=distribution, yaw_spread_deg=spread)
    assert panel_yaws_deg(prior, count)[front_row(prior, count)] == pytest.approx(10.0)
