"""What holds for the distances that samplers choose, on any rays and for anything a field may answer."""

from __future__ import annotations

from typing import get_args, get_type_hints

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nerfstudio.cameras.rays import RayBundle
from random_values import dtypes, numbers, seeds, share_of_examples, tensors
from sampler_values import along_z, ray_bundles, waves
from torch import Tensor
from torch.testing import assert_close

from gan3d_ns.model_components.compositing import compositing_weights
from gan3d_ns.model_components.geometry import Density, Occupancy
from gan3d_ns.model_components.occupancy_grids import OccupancyGrid
from gan3d_ns.model_components.ray_samplers import (
    SurfaceWindowSampler,
    SurfaceWindowSamplerConfig,
    VolumeSampler,
    VolumeSamplerConfig,
    fine_distances,
)
from gan3d_ns.model_components.sampling import sample_pdf, spread_evenly

DENSITIES = (Density(), Density("softplus", 0.02, 0.02), Density(last_interval=0.0))


def generator_of(seed: int | None) -> torch.Generator | None:
    return None if seed is None else torch.Generator().manual_seed(seed)


def check_distances(distances: Tensor, rays: RayBundle, num: int, beyond: Tensor | float) -> None:
    """As many as promised, sorted, finite, and at most ``beyond`` outside [near, far]."""
    rounding = 1e-6 * rays.fars
    assert distances.shape == (*rays.shape, num)
    assert distances.dtype == rays.nears.dtype
    assert distances.isfinite().all()
    assert (distances.diff(dim=-1) >= -rounding).all()
    assert (distances >= rays.nears - beyond - rounding).all()
    assert (distances <= rays.fars + beyond + rounding).all()


@pytest.mark.parametrize("moved", [False, True])
@given(ray_bundles(), waves(), st.integers(3, 9), st.integers(2, 9), st.integers(0, 5), numbers(0.0, 3.0), seeds)
@share_of_examples(0.5)
def test_windows_hold_their_surface_and_stay_on_the_ray(
    moved, rays, wave, num_coarse, num_window, num_fine, half, seed
):
    jitter = seed if moved else None
    config = SurfaceWindowSamplerConfig(
        num_coarse_samples=num_coarse, num_window_samples=num_window, num_fine_samples=num_fine, miss_depth=7.0
    )
    sampler = SurfaceWindowSampler(config)
    sampler.half_width.fill_(half)
    distances, hits = sampler(rays, along_z(rays, wave), generator_of(jitter))
    assert torch.equal(sampler(rays, along_z(rays, wave), generator_of(jitter))[0], distances)
    starts, ends = sampler.window(rays, hits)
    spacing = (ends - starts)[..., None] / (num_window - 1)
    check_distances(distances, rays, num_window + num_fine, 0.0 if jitter is None else 0.5 * spacing)
    rounding = 1e-6 * rays.fars[..., 0]
    assert (starts >= rays.nears[..., 0] - rounding).all() and (ends <= rays.fars[..., 0] + rounding).all()
    hit = hits.hit
    assert (starts <= hits.depth + rounding)[hit].all() and (hits.depth <= ends + rounding)[hit].all()
    whole = (rays.fars - rays.nears)[..., 0]
    assert_close((ends - starts)[hit], whole.clamp(max=2.0 * half)[hit], atol=1e-5, rtol=1e-5)
    assert_close((ends - starts)[~hit], whole[~hit], atol=1e-5, rtol=1e-5)
    if jitter is None and num_fine == 0:
        assert_close(distances.diff(dim=-1), spacing.expand(*rays.shape, num_window - 1), atol=1e-5, rtol=1e-4)
    if jitter is not None and num_fine == 0:
        # Each sample stays in its own part of the window.
        even = spread_evenly(starts, ends, num_window)
        assert ((distances - even).abs() <= 0.5 * spacing + rounding[..., None]).all()


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("spacing", get_args(get_type_hints(VolumeSamplerConfig)["spacing"]))
@given(ray_bundles(), waves(), st.integers(3, 9), st.integers(0, 6), st.sampled_from(DENSITIES), seeds)
@share_of_examples(0.25)
def test_volume_samples_cover_the_ray(spacing, moved, rays, wave, num_coarse, num_fine, density, seed):
    jitter = seed if moved else None
    config = VolumeSamplerConfig(num_coarse_samples=num_coarse, num_fine_samples=num_fine, spacing=spacing)
    sampler = VolumeSampler(config, density)
    geometry_at = along_z(rays, lambda z: 10.0 * wave(z))
    distances, hits = sampler(rays, geometry_at, generator_of(jitter))
    step = (rays.fars - rays.nears) / (num_coarse - 1)
    check_distances(distances, rays, num_coarse + num_fine, 0.5 * step if moved and spacing == "jittered" else 0.0)
    assert hits.depth.isfinite().all()
    coarse = sampler.coarse_distances(rays, generator_of(jitter))
    even = spread_evenly(rays.nears[..., 0], rays.fars[..., 0], num_coarse)
    assert ((coarse - even).abs() <= 0.5 * step + 1e-6 * rays.fars).all(), "one sample in each part of the ray"
    if jitter is None or spacing == "even":
        assert torch.equal(coarse, even)
    again, _ = sampler(rays, geometry_at, generator_of(jitter))
    assert torch.equal(again, distances)


@given(ray_bundles(), st.integers(3, 8), st.integers(1, 20), st.data())
def test_fine_samples_lie_between_the_coarse_ones_whatever_these_met(rays, num_coarse, num_fine, data):
    """All opaque, all empty, or anything between; also for draws of exactly 0 and 1."""
    coarse = spread_evenly(rays.nears[..., 0], rays.fars[..., 0], num_coarse)
    alphas = data.draw(tensors(tuple(coarse.shape), 0.0, 1.0, coarse.dtype))
    uniforms = data.draw(st.none() | tensors((*rays.shape, num_fine), 0.0, 1.0, coarse.dtype))
    fine = fine_distances(coarse, alphas, num_fine, uniforms=uniforms)
    assert fine.shape == (*rays.shape, num_fine) and fine.dtype == coarse.dtype
    middles = 0.5 * (coarse[..., 1:] + coarse[..., :-1])
    rounding = 1e-6 * rays.fars
    assert (fine >= middles[..., :1] - rounding).all() and (fine <= middles[..., -1:] + rounding).all()
    if uniforms is None:
        assert (fine.diff(dim=-1) >= -rounding).all()


@given(st.integers(1, 7), dtypes, st.data())
def test_draws_follow_the_weights(num_bins, dtype, data):
    """Of n even draws, those in a bin differ from n times its share by less than the bin's two ends can take."""
    weights = data.draw(tensors((1, num_bins), 0.0, 1.0, dtype))
    edges = torch.cumsum(data.draw(tensors((1, num_bins + 1), 0.125, 2.0, dtype)), dim=-1)
    num = 400
    uniforms = ((torch.arange(num, dtype=dtype) + 0.5) / num)[None]
    samples = sample_pdf(edges, weights, uniforms)
    assert ((samples >= edges[:, :1]) & (samples <= edges[:, -1:])).all()
    assert (samples.diff(dim=-1) >= -1e-6).all()
    shares = (weights + 1e-5) / (weights + 1e-5).sum()
    counts = torch.stack([((samples >= low) & (samples <= high)).sum() for low, high in edges[0].unfold(0, 2, 1)])
    assert ((counts - num * shares[0]).abs() <= 2.0 + 1e-4 * num).all()


@given(ray_bundles(), st.integers(3, 9), st.integers(0, 5))
@share_of_examples(0.5)
def test_empty_rays_and_rays_inside_matter_have_no_surface_and_even_samples(rays, num_window, num_fine):
    """Everywhere and nowhere alike: there is no entry, and nothing is denser than anything else."""
    sampler = SurfaceWindowSampler(SurfaceWindowSamplerConfig(num_window_samples=num_window, num_fine_samples=num_fine))
    for value in (-8.0, 8.0, -1e30, 1e30):
        distances, hits = sampler(rays, along_z(rays, lambda z, value=value: torch.full_like(z, value)))
        assert not hits.hit.any()
        check_distances(distances, rays, num_window + num_fine, 0.0)
        weights = compositing_weights(Occupancy().alphas(torch.full_like(distances, value), distances))
        assert_close(
            weights.sum(dim=-1), torch.full(rays.shape, float(value > 0), dtype=weights.dtype), atol=0.01, rtol=0
        )


@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (0, 0)])
@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize(
    "sampler", [SurfaceWindowSampler(SurfaceWindowSamplerConfig()), VolumeSampler(VolumeSamplerConfig())]
)
def test_no_rays_have_no_samples(sampler, moved, shape):
    rays = RayBundle(
        origins=torch.zeros(*shape, 3),
        directions=torch.zeros(*shape, 3),
        pixel_area=torch.ones(*shape, 1),
        nears=torch.ones(*shape, 1),
        fars=torch.ones(*shape, 1),
    )
    grid = OccupancyGrid(-torch.ones(3), torch.ones(3), 4)
    for chosen in (None, grid):
        distances, hits = sampler(rays, lambda points: points[..., 2], generator_of(0 if moved else None), grid=chosen)
        assert distances.shape[:-1] == hits.hit.shape == shape
