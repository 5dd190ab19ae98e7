"""Laws of alpha compositing."""

from __future__ import annotations

import math

import pytest
import torch

from gan3d_ns.model_components.compositing import (
    composite_colour,
    compositing_weights,
    depth_variance,
    expected_depth,
    median_surface,
)
from gan3d_ns.model_components.geometry import Density, Occupancy


def test_an_opaque_sample_hides_what_is_behind_it() -> None:
    alphas = torch.tensor([[0.0, 0.0, 1.0, 1.0, 0.0]])
    colours = torch.rand(1, 5, 3)
    weights = compositing_weights(alphas)
    torch.testing.assert_close(composite_colour(weights, colours, "black"), colours[:, 2])
    torch.testing.assert_close(expected_depth(weights, torch.arange(5.0)[None]), torch.tensor([2.0]), atol=1e-3, rtol=0)
    torch.testing.assert_close(depth_variance(weights, torch.arange(5.0)[None]), torch.zeros(1), atol=1e-3, rtol=0)


def test_occupancy_ignores_spacing_and_density_does_not() -> None:
    values = torch.randn(4, 6)
    near, wide = torch.linspace(0.9, 1.0, 6).expand(4, -1), torch.linspace(0.5, 1.5, 6).expand(4, -1)
    torch.testing.assert_close(Occupancy().alphas(values, near), Occupancy().alphas(values, wide))
    assert not torch.allclose(Density().alphas(values, near), Density().alphas(values, wide))


def test_the_median_is_where_half_of_the_light_is_absorbed() -> None:
    """Exact in a constant medium, whatever the spacing: 1 - exp(-5 t) is one half at t = ln 2 / 5."""
    distances = torch.tensor([[0.0, 0.05, 0.3, 0.4, 1.0]])
    density = torch.full_like(distances, 5.0)
    hits = median_surface(compositing_weights(Density().alphas(density, distances)), distances, 9.0)
    assert bool(hits.hit)
    torch.testing.assert_close(hits.depth, torch.full((1,), math.log(2.0) / 5.0))


def test_the_median_of_a_transparent_ray_is_a_miss_and_of_a_last_sample_its_distance() -> None:
    distances = torch.tensor([[1.0, 1.1, 1.2], [1.0, 1.1, 1.2], [1.0, 1.1, 1.2]])
    weights = torch.tensor([[0.0, 0.3, 0.1], [0.1, 0.1, 0.8], [1.0, 0.0, 0.0]])
    hits = median_surface(weights, distances, 7.0)
    assert hits.hit.tolist() == [False, True, True]
    assert hits.depth[0] == 7.0 and hits.depth[1] == pytest.approx(1.2)
    assert 1.0 <= hits.depth[2] < 1.1


def test_density_converges_to_the_integral_of_a_constant_medium() -> None:
    distances = torch.linspace(0.0, 2.0, 4001)
    density = torch.full_like(distances, 1.5)
    density[-1] = 0.0
    weights = compositing_weights(Density().alphas(density, distances))
    torch.testing.assert_close(weights.sum(), 1.0 - torch.exp(torch.tensor(-3.0)), atol=1e-3, rtol=0)
