"""What holds for any values along a ray: the first entry into matter and its root; skipping changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_values import dtypes, numbers, seeds, tensors
from sampler_values import along_z, ray_bundles, rays_at_origin, waves
from torch import Tensor

from gan3d_ns.model_components.geometry import Density, Occupancy
from gan3d_ns.model_components.occupancy_grids import OccupancyGrid
from gan3d_ns.model_components.ray_samplers import SurfaceWindowSamplerConfig, search_level
from gan3d_ns.model_components.surface import Brackets, first_crossing, refine_root


def first_entry(values: list[float]) -> int | None:
    """Index of the last sample outside before the first one inside; None for rays that start inside or never enter."""
    if not values or values[0] >= 0:
        return None
    return next((index - 1 for index, value in enumerate(values) if value >= 0), None)


@given(
    st.lists(
        st.lists(st.sampled_from((-1.0, -1e-30, -0.0, 0.0, 1e-30, 2.0)), min_size=6, max_size=6), min_size=0, max_size=5
    )
)
def test_the_first_entry_is_the_one_that_a_walk_along_the_ray_finds(rows):
    """Also where samples lie exactly on the surface, or so near that products of values vanish."""
    values = torch.tensor(rows).reshape(-1, 6)
    brackets = first_crossing(values, torch.arange(6.0).expand_as(values))
    for row, hit, low, high, value_low, value_high in zip(
        rows, brackets.hit, brackets.low, brackets.high, brackets.value_low, brackets.value_high, strict=True
    ):
        entry = first_entry(row)
        assert bool(hit) == (entry is not None)
        if entry is not None:
            assert (low, high) == (entry, entry + 1)
            assert value_low < 0 <= value_high


@given(waves(), dtypes, st.sampled_from(("secant", "bisection")), st.integers(0, 12))
def test_roots_stay_in_their_bracket_and_halve_it(wave, dtype, method, num_steps):
    coarse = torch.linspace(0.0, 1.0, 7, dtype=dtype).expand(1, -1)
    brackets = first_crossing(wave(coarse), coarse)
    root = refine_root(wave, brackets, num_steps, method)
    if not brackets.hit:
        return
    assert brackets.low - 1e-6 <= root <= brackets.high + 1e-6
    if method == "bisection":
        low, high = brackets.low, brackets.high
        for _ in range(num_steps):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if wave(middle) < 0 else (low, middle)
        assert wave(low) < 0 <= wave(high), "the surface is between the ends"
        assert root == 0.5 * (low + high)


@given(numbers(-0.9, 0.9), numbers(1.0, 3.0), numbers(0.01, 100.0))
def test_a_monotone_crossing_is_found_to_the_last_digits(place, bend, slope):
    """A kink in the slope by at most a factor of three: regula falsi then shrinks its error by a third a step."""

    def value_at(t: Tensor) -> Tensor:
        return slope * torch.where(t < place, t - place, bend * (t - place))

    ends = torch.tensor([-1.0], dtype=torch.float64), torch.tensor([1.0], dtype=torch.float64)
    brackets = Brackets(*ends, *(value_at(end) for end in ends), torch.tensor([True]))
    for method in ("secant", "bisection"):
        assert float(refine_root(value_at, brackets, 60, method)) == pytest.approx(place, abs=1e-9)


@given(ray_bundles(), waves(), st.integers(2, 12), st.sampled_from((Occupancy(), Occupancy(0.2), Density())))
def test_a_search_finds_what_its_coarse_samples_bracket(rays, wave, num_coarse, geometry):
    config = SurfaceWindowSamplerConfig(num_coarse_samples=num_coarse, num_fine_samples=0, miss_depth=9.0)
    geometry_at = along_z(rays, lambda z: wave(z) + geometry.level)
    coarse, values, hits = search_level(config, geometry.level, rays, geometry_at)
    assert coarse.shape == values.shape == (*rays.shape, num_coarse)
    assert hits.depth.isfinite().all()
    assert (hits.depth[~hits.hit] == 9.0).all()
    relative = (values - geometry.level).flatten(0, 1).tolist()
    rows = zip(relative, coarse.flatten(0, 1), hits.hit.flatten(), hits.depth.flatten(), strict=True)
    for row, distances, hit, depth in rows:
        entry = first_entry(row)
        assert bool(hit) == (entry is not None)
        if entry is not None:
            assert distances[entry] <= depth <= distances[entry + 1] * (1 + 1e-6)


@given(seeds, st.integers(1, 4), st.integers(2, 12), st.integers(2, 24), numbers(0.05, 0.95))
def test_skipping_by_a_grid_that_keeps_all_matter_changes_nothing(seed, num_balls, resolution, num_coarse, threshold):
    generator = torch.Generator().manual_seed(seed)
    centres = 0.6 * torch.rand(num_balls, 3, generator=generator) - 0.3
    radii = 0.02 + 0.2 * torch.rand(num_balls, generator=generator)
    level = Occupancy(threshold).level

    def geometry_at(points: Tensor) -> Tensor:
        distances = (points[..., None, :] - centres).norm(dim=-1)
        return 20.0 * (radii - distances).amax(dim=-1) + level

    corner = torch.full((3,), 0.4)
    grid = OccupancyGrid(-corner, corner, resolution)
    steps = (torch.arange(resolution) + 0.5) / resolution * 0.8 - 0.4
    middles = torch.cartesian_prod(steps, steps, steps)
    reach = 20.0 * (3**0.5 * 0.4 / resolution + 1e-5)
    grid.cells.copy_((geometry_at(middles) - level > -reach).reshape(1, *[resolution] * 3))
    rays = rays_at_origin(generator, 40)
    config = SurfaceWindowSamplerConfig(num_coarse_samples=num_coarse, num_fine_samples=0)
    _, _, all_of_it = search_level(config, level, rays, geometry_at)
    _, _, skipping = search_level(config, level, rays, geometry_at, grid)
    assert torch.equal(all_of_it.hit, skipping.hit)
    torch.testing.assert_close(all_of_it.depth, skipping.depth, atol=1e-5, rtol=0)


@given(tensors((3, 9), -5.0, 5.0), numbers(0.5, 20.0))
def test_lengths_and_steepness_do_not_matter(values, factor):
    distances = torch.linspace(1.0, 2.0, 9).expand_as(values)
    once = first_crossing(values, distances)
    scaled = first_crossing(factor * values, factor * distances)
    assert torch.equal(once.hit, scaled.hit)
    np.testing.assert_allclose(factor * once.low, scaled.low, rtol=1e-6)
