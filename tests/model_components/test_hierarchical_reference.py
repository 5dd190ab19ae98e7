"""Hierarchical sampling against a slow reference: one ray at a time, one sample at a time, in double precision."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from gan3d_ns.cameras.pose_prior import PosePrior, PosePriorConfig
from gan3d_ns.model_components.geometry import Density
from gan3d_ns.model_components.ray_samplers import VolumeSampler, VolumeSamplerConfig

SIDE = 4
EPSILON = 1e-5
"""Added to each weight by the released code, and once more by NeRF's inverse of the distribution."""


def lumps(positions: torch.Tensor) -> torch.Tensor:
    """Raw densities of a few waves: empty space, thin and dense matter."""
    return 60.0 * (torch.sin(40.0 * positions).sum(dim=-1) - 0.5)


def density_at(origin: list[float], direction: list[float], distance: float) -> float:
    waves = sum(math.sin(40.0 * (o + distance * d)) for o, d in zip(origin, direction, strict=True))
    return max(0.0, 60.0 * (waves - 0.5))


def reference_distances(
    origin: list[float], direction: list[float], near: float, far: float, coarse: int, uniforms: list[float]
) -> list[float]:
    """Coarse distances and, by the inverse of their weights' distribution, one more for each uniform number."""
    distances = [near + (far - near) * index / (coarse - 1) for index in range(coarse)]
    weights, transmittance = [], 1.0
    for index, distance in enumerate(distances):
        interval = distances[index + 1] - distance if index + 1 < coarse else 1e10
        alpha = 1.0 - math.exp(-interval * density_at(origin, direction, distance))
        weights.append(transmittance * alpha)
        transmittance *= 1.0 - alpha
    middles = [(first + second) / 2.0 for first, second in itertools.pairwise(distances)]
    masses = [weight + 2.0 * EPSILON for weight in weights[1:-1]]
    fine = []
    for uniform in uniforms:
        left, wanted = 0.0, uniform * sum(masses)
        for index, mass in enumerate(masses):
            if wanted <= left + mass or index + 1 == len(masses):
                share = (wanted - left) / mass
                fine.append(middles[index] + share * (middles[index + 1] - middles[index]))
                break
            left += mass
    return sorted(distances + fine)


@pytest.mark.parametrize(("coarse", "fine"), [(12, 12), (5, 20)])
def test_the_union_of_coarse_and_fine_distances(coarse: int, fine: int) -> None:
    prior = PosePrior(PosePriorConfig())
    rays = prior.rays(prior.sample(2, torch.Generator().manual_seed(0)), SIDE)
    uniforms = torch.rand(2, SIDE**2, fine, generator=torch.Generator().manual_seed(1)) * 0.98 + 0.01
    config = VolumeSamplerConfig(num_coarse_samples=coarse, num_fine_samples=fine)
    found, _ = VolumeSampler(config, Density())(rays, lumps, fine_uniforms=uniforms)
    expected = [
        [
            reference_distances(origin, direction, prior.config.near, prior.config.far, coarse, numbers)
            for origin, direction, numbers in zip(*rows, strict=True)
        ]
        for rows in zip(rays.origins.tolist(), rays.directions.tolist(), uniforms.tolist(), strict=True)
    ]
    # In nearly empty bins the distribution is as flat as float32 sees it; there a distance is good to a small part of
    # a bin.
    spacing = (prior.config.far - prior.config.near) / (coarse - 1)
    difference = (found - torch.tensor(expected)).abs()
    assert float((difference > 1e-4).float().mean()) < 0.01
    assert float(difference.max()) < 0.5 * spacing


def test_evaluation_spreads_the_numbers_evenly_and_repeats_itself() -> None:
    prior = PosePrior(PosePriorConfig())
    rays = prior.rays(prior.mean_pose()[None], SIDE)
    sampler = VolumeSampler(VolumeSamplerConfig(num_coarse_samples=9, num_fine_samples=4), Density())
    even = torch.tensor([0.125, 0.375, 0.625, 0.875]).expand(1, SIDE**2, 4)
    found, _ = sampler(rays, lumps)
    assert torch.equal(found, sampler(rays, lumps)[0])
    torch.testing.assert_close(found, sampler(rays, lumps, fine_uniforms=even)[0], atol=0, rtol=0)
