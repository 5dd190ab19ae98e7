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
    sample_pdf,
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


def test_first_window_covers_the_whole_range() -> None:
    sampler = SurfaceWindowSampler(SurfaceWindowSamplerConfig(num_fine_samples=0))
    sampler.half_width.fill_(0.12)
    distances, hits = sampler(parallel_rays(), sphere_logit())
    assert hits.hit.any() and not hits.hit.all()
    torch.testing.assert_close(distances[..., 0], torch.full_like(hits.depth, 0.88))
    torch.testing.assert_close(distances[..., -1], torch.full_like(hits.depth, 1.12))


@pytest.mark.parametrize("half_width", [0.2, 0.12, 0.06, 0.01])
def test_window_stays_in_range_and_contains_the_root(half_width: float) -> None:
    sampler = SurfaceWindowSampler(SurfaceWindowSamplerConfig(num_fine_samples=0))
    sampler.half_width.fill_(half_width)
    distances, hits = sampler(parallel_rays(), sphere_logit())
    assert distances.min() >= 0.88 - 1e-6 and distances.max() <= 1.12 + 1e-6
    width = distances[..., -1] - distances[..., 0]
    torch.testing.assert_close(width[hits.hit], torch.full_like(width[hits.hit], min(2 * half_width, 0.24)))
    torch.testing.assert_close(width[~hits.hit], torch.full_like(width[~hits.hit], 0.24))
    depth = hits.depth[hits.hit]
    assert ((distances[hits.hit][:, 0] <= depth + 1e-6) & (depth <= distances[hits.hit][:, -1] + 1e-6)).all()


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


def test_jitter_is_seeded_and_bounded() -> None:
    sampler = SurfaceWindowSampler(SurfaceWindowSamplerConfig())
    sampler.half_width.fill_(0.02)
    draws = [sampler(parallel_rays(), sphere_logit(), jitter=torch.Generator().manual_seed(3))[0] for _ in range(2)]
    torch.testing.assert_close(draws[0], draws[1])
    other, _ = sampler(parallel_rays(), sphere_logit(), jitter=torch.Generator().manual_seed(4))
    assert not torch.equal(draws[0], other)
    assert (draws[0][..., 1:] >= draws[0][..., :-1]).all()


def test_pdf_samples_follow_the_weights() -> None:
    edges = torch.linspace(0.0, 1.0, 5).expand(1, -1)
    weights = torch.tensor([[0.0, 3.0, 1.0, 0.0]])
    uniforms = (torch.arange(4000) + 0.5)[None] / 4000
    samples = sample_pdf(edges, weights, uniforms)
    histogram = torch.histc(samples, bins=4, min=0.0, max=1.0) / 4000
    torch.testing.assert_close(histogram, torch.tensor([0.0, 0.75, 0.25, 0.0]), atol=2e-3, rtol=0)


def test_a_search_with_one_sample_is_refused() -> None:
    with pytest.raises(UserError, match="3 coarse"):
        SurfaceWindowSamplerConfig(num_coarse_samples=2)
    SurfaceWindowSamplerConfig(num_coarse_samples=2, num_fine_samples=0)
