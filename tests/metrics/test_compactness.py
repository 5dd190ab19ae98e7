"""Depth variance of fields that are formulas: sharp ones have next to none, soft ones theirs."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from analytic_field import BallField

from gan3d_ns.cameras.pose_prior import PosePrior, PosePriorConfig
from gan3d_ns.metrics.compactness import SCALE, Compactness, compactness
from gan3d_ns.model_components.geometry import Density, Geometry
from gan3d_ns.model_components.ray_samplers import (
    RaySampler,
    SurfaceWindowSampler,
    SurfaceWindowSamplerConfig,
    VolumeSampler,
    VolumeSamplerConfig,
)
from gan3d_ns.models.generator import Generator

RADIUS = 0.05
NEAR, FAR = 0.88, 1.12
SIDE = 16


class CentredBall(BallField):
    """A ball at the origin whatever the latent, with a constant value outside and, for densities, within."""

    def __init__(self, slope: float = 2000.0, haze: float = -40.0, inside: float = 40.0) -> None:
        super().__init__(RADIUS, slope)
        self.haze, self.inside = haze, inside

    def mapping(self, latents):
        return torch.zeros_like(latents)

    def geometry_logits(self, positions, styles):
        return super().geometry_logits(positions, styles).clamp(self.haze, self.inside)


def measured(
    field: CentredBall, geometry: Geometry | None = None, fov_deg: float = 12.0, **settings: Any
) -> Compactness:
    prior = PosePriorConfig(distribution="uniform", fov_deg=fov_deg, near=NEAR, far=FAR)
    sampler: RaySampler
    if geometry is None:
        sampler = SurfaceWindowSampler(SurfaceWindowSamplerConfig(num_coarse_samples=9, num_fine_samples=0))
        sampler.half_width.fill_(0.02)
    else:
        sampler = VolumeSampler(VolumeSamplerConfig(), geometry)
    generator = Generator(field, sampler, "black")
    return compactness(generator, PosePrior(prior), range(2), **{"resolution": SIDE, **settings})


@pytest.mark.parametrize("num_samples", [36, 72])
def test_a_sharp_surface_has_less_than_the_samples_can_tell(num_samples: int) -> None:
    """One sample, or two neighbours at the surface itself, hold all the weight."""
    found = measured(CentredBall(slope=1e5), num_samples=num_samples)
    spacing = (FAR - NEAR) / (num_samples - 1)
    assert 0.0 <= found.published.variance <= SCALE * 0.25 * spacing**2
    assert found.own.variance <= SCALE * 0.25 * (0.04 / 8) ** 2


def test_rays_that_meet_the_ball_count() -> None:
    found = measured(CentredBall(slope=1e5), resolution=64, num_samples=200)
    half_image = math.tan(math.radians(6.0))
    expected = math.pi * (RADIUS / math.sqrt(1.0 - RADIUS**2)) ** 2 / (2 * half_image) ** 2
    assert found.published.counted == pytest.approx(expected, rel=0.05)
    assert found.own.counted == pytest.approx(expected, rel=0.15)  # 9 samples miss the rim


def test_softer_is_more() -> None:
    variances = [
        measured(CentredBall(slope=slope), num_samples=100).published.variance for slope in (4000.0, 600.0, 200.0)
    ]
    assert variances[0] < 0.3 * variances[1] < 0.3 * variances[2]


@pytest.mark.parametrize("density", [150.0, 300.0])
def test_matter_of_a_constant_density_has_an_exponential_depth(density: float) -> None:
    """Its variance is 1 / density^2, here of rays that are opaque well before they leave the ball."""
    field = CentredBall(slope=1e6, haze=0.0, inside=density)
    found = measured(field, Density("relu"), fov_deg=1.0, num_samples=400)
    assert found.published.counted == 1.0
    assert found.published.variance == pytest.approx(SCALE / density**2, rel=0.05)
    assert found.untouched == found.published


def test_haze_before_occupancies_is_taken_away_and_shown_apart() -> None:
    found = measured(CentredBall(slope=4000.0, haze=-3.5))
    clean = measured(CentredBall(slope=4000.0))
    assert found.untouched.variance > 10.0 * found.published.variance
    assert found.untouched.variance > 10.0 * clean.untouched.variance
    assert found.published.variance == pytest.approx(clean.published.variance, rel=0.3, abs=0.02)


def test_chunks_change_nothing() -> None:
    whole, parts = (measured(CentredBall(slope=600.0), rays_per_chunk=count) for count in (4096, 100))
    for name in ("published", "untouched", "own"):
        assert getattr(parts, name).variance == pytest.approx(getattr(whole, name).variance, rel=1e-5)
        assert getattr(parts, name).counted == getattr(whole, name).counted


def test_without_surfaces_there_is_no_number() -> None:
    found = measured(CentredBall(inside=-20.0))
    assert found.published.counted == 0.0 and math.isnan(found.published.variance)
