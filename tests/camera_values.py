"""Strategies for cameras: every prior that may be set, as extreme as it is allowed to be."""

from __future__ import annotations

from typing import get_args

from hypothesis import strategies as st
from random_values import magnitudes, numbers

from gan3d_ns.cameras.pose_prior import Distribution, PosePriorConfig

DISTRIBUTIONS: tuple[Distribution, ...] = get_args(Distribution)


@st.composite
def pose_priors(draw: st.DrawFn, distributions: tuple[Distribution, ...] = DISTRIBUTIONS) -> PosePriorConfig:
    """Any valid prior."""
    distribution = draw(st.sampled_from(distributions))
    elevation = draw(numbers(-90.0, 90.0))
    widest = 90.0 - abs(elevation) if distribution == "uniform" else 180.0
    radius = draw(magnitudes(0.01, 100.0))
    near = draw(magnitudes(1e-4, 2.0)) * radius
    return PosePriorConfig(
        distribution=distribution,
        yaw_mean_deg=draw(numbers(-720.0, 720.0)),
        yaw_spread_deg=draw(numbers(0.0, 720.0)),
        elevation_mean_deg=elevation,
        elevation_spread_deg=draw(numbers(0.0, 1.0)) * widest,
        fov_deg=draw(numbers(0.1, 175.0)),
        fov_std_deg=draw(st.sampled_from((0.0, 0.5, 90.0))),
        radius=radius,
        near=near,
        far=near * (1.0 + draw(magnitudes(1e-3, 10.0))),
        radius_spread=min(0.5 * near, 0.99 * radius) * draw(st.sampled_from((0.0, 0.5, 1.0))),
        planar_depth=draw(st.booleans()),
    )
