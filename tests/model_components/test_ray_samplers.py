"""The window around the surface, and samples drawn from a density."""

from __future__ import annotations

import math

import pytest
import torch
from nerfstudio.cameras.rays import RayBundle

from gan3d_ns.errors import UserError
from gan3d_ns.model_components.ray_samplers import (
    SurfaceWindowSampler,
    SurfaceWindowSamplerConfig,
    surface_window,
)
from gan3d_ns.model_components.surface import SurfaceHits


def parallel_rays(num_rays: int = 64, near: float = 0.88, far: float = 1.12, extent: float = 0.11) -> RayBundle:
    """Rays towards -z from z = 1, spread over a square of half side ``extent``."""
    side = math.isqrt(num_rays)
    grid = torch.linspace(-extent, extent, side)
    x, y = torch.meshgrid(grid, grid, indexing="xy")
    origins = torch.stack((x, y, torch.ones_like(x)), dim=-1).reshape(1, -1, 3)
    ones = torch.ones_like(origins[..., :1])
    return RayBundle(
        origins=origins,
        directions=torch.tensor([0.0, 0.0, -1.0]).expand_as(origins).clone(),
        pixel_area=ones,
        nears=near * ones,
        fars=far * ones,
    )


def sphere_logit(radius: float = 0.1, slope: float = 20.0):
    return lambda positions: slope * (radius - positions.norm(dim=-1))


def test_roots_of_a_sphere_are_the_closed_form() -> None:
    sampler = SurfaceWindowSampler(SurfaceWindowSamplerConfig(num_root_steps=8))
    rays = parallel_rays(256, extent=0.09)
    _, hits = sampler(rays, sphere_logit())
    lateral = rays.origins[..., :2].square().sum(dim=-1)
    expected = 1.0 - torch.sqrt((0.01 - lateral).clamp(min=0))
    inside = lateral < 0.0094
    assert not hits.hit[lateral > 0.0101].any()
    assert (inside & hits.hit).any()
    torch.testing.assert_close(hits.depth[inside & hits.hit], expected[inside & hits.hit], atol=2e-4, rtol=0)


def test_window_matches_the_intended_windows_of_the_cats_range(load_fixture) -> None:
    fixture = load_fixture("gof_window_cats")
    hits = SurfaceHits(fixture["root_depth"], fixture["hit_mask"] > 0.5)
    near, far = torch.full_like(hits.depth, 0.8), torch.full_like(hits.depth, 1.2)
    for name, half_width in (("d020", 0.2), ("d013", 0.13), ("d010", 0.1)):
        starts, ends = surface_window(hits, near, far, torch.tensor(half_width))
        torch.testing.assert_close(starts, fixture[f"{name}_intended_start"], atol=1e-5, rtol=0)
        torch.testing.assert_close(ends, fixture[f"{name}_intended_end"], atol=1e-5, rtol=0)


def test_a_search_with_one_sample_is_refused() -> None:
    with pytest.raises(UserError, match="3 coarse"):
        SurfaceWindowSamplerConfig(num_coarse_samples=2)
    SurfaceWindowSamplerConfig(num_coarse_samples=2, num_fine_samples=0)
