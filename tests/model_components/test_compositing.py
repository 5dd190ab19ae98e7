"""Laws of alpha compositing."""

from __future__ import annotations

import torch

from gan3d_ns.model_components.compositing import (
    alphas_of,
    composite_colour,
    compositing_weights,
    depth_variance,
    expected_depth,
)


def test_an_opaque_sample_hides_what_is_behind_it() -> None:
    alphas = torch.tensor([[0.0, 0.0, 1.0, 1.0, 0.0]])
    colours = torch.rand(1, 5, 3)
    weights = compositing_weights(alphas)
    torch.testing.assert_close(composite_colour(weights, colours, "black"), colours[:, 2])
    torch.testing.assert_close(expected_depth(weights, torch.arange(5.0)[None]), torch.tensor([2.0]), atol=1e-3, rtol=0)
    torch.testing.assert_close(depth_variance(weights, torch.arange(5.0)[None]), torch.zeros(1), atol=1e-3, rtol=0)


def test_empty_rays_show_the_background() -> None:
    weights = compositing_weights(torch.zeros(1, 4))
    colours = torch.rand(1, 4, 3)
    assert (composite_colour(weights, colours, "black") == 0).all()
    assert (composite_colour(weights, colours, "white") == 1).all()
    torch.testing.assert_close(composite_colour(weights, colours, "last-sample"), colours[:, -1])


def test_weights_sum_to_the_opacity_of_the_ray() -> None:
    alphas = torch.rand(16, 9)
    weights = compositing_weights(alphas)
    torch.testing.assert_close(weights.sum(dim=-1), 1.0 - (1.0 - alphas).prod(dim=-1))


def test_occupancy_ignores_spacing_and_density_does_not() -> None:
    values = torch.randn(4, 6)
    near, wide = torch.linspace(0.9, 1.0, 6).expand(4, -1), torch.linspace(0.5, 1.5, 6).expand(4, -1)
    torch.testing.assert_close(alphas_of("occupancy", values, near), alphas_of("occupancy", values, wide))
    assert not torch.allclose(alphas_of("density", values, near), alphas_of("density", values, wide))


def test_density_converges_to_the_integral_of_a_constant_medium() -> None:
    distances = torch.linspace(0.0, 2.0, 4001)
    density = torch.full_like(distances, 1.5)
    density[-1] = 0.0
    weights = compositing_weights(alphas_of("density", density, distances))
    torch.testing.assert_close(weights.sum(), 1.0 - torch.exp(torch.tensor(-3.0)), atol=1e-3, rtol=0)
