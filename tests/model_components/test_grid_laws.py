"""What holds for grids around any object: they skip nothing that is there, and read what they hold."""

from __future__ import annotations

import hypothesis.extra.numpy as random_arrays
import torch
from hypothesis import given
from hypothesis import strategies as st
from nerfstudio.cameras.rays import RayBundle
from random_values import numbers, seeds, share_of_examples, tensors
from torch import Tensor
from torch.testing import assert_close

from gan3d_ns.model_components.geometry import Density, Occupancy
from gan3d_ns.model_components.occupancy_grids import (
    FREE_VALUE,
    LatentGrid,
    LatentGridConfig,
    bounds_of,
    dilated,
    evaluate_where,
)
from gan3d_ns.model_components.sampling import sample_positions

RADIUS = 0.5
GEOMETRIES = st.sampled_from((Occupancy(), Occupancy(0.9), Density("softplus", 0.02, 0.02)))


@st.composite
def latent_grids(draw: st.DrawFn) -> LatentGrid:
    """The grid of one to three balls, or of nothing."""
    balls = st.tuples(*[numbers(-0.5, 0.5)] * 3, numbers(0.05, 0.3))
    parts = torch.tensor(draw(st.lists(balls, max_size=3))).reshape(-1, 4)

    def geometry_at(points: Tensor) -> Tensor:
        distances = (points[..., None, :] - parts[:, :3]).norm(dim=-1)
        inside = torch.cat((parts[:, 3] - distances, torch.full((*points.shape[:-1], 1), -1.0)), dim=-1)
        return 30.0 * inside.amax(dim=-1).clamp(min=FREE_VALUE / 30.0)

    config = LatentGridConfig(resolution=draw(st.integers(2, 12)))
    return LatentGrid(geometry_at, draw(GEOMETRIES), RADIUS, config, torch.device("cpu"))


@st.composite
def directions(draw: st.DrawFn) -> Tensor:
    """Unit vectors, many of them along axes."""
    vectors = draw(tensors((1, 6, 3), -1.0, 1.0)).round(decimals=draw(st.sampled_from((0, 3))))
    empty = vectors.norm(dim=-1, keepdim=True) < 1e-3
    return torch.nn.functional.normalize(torch.where(empty, torch.eye(3)[0], vectors), dim=-1)


@given(latent_grids(), directions(), tensors((1, 6, 3), -1.0, 1.0))
@share_of_examples(0.5)
def test_no_ray_is_left_out_that_comes_through_an_occupied_cell(grid, towards, origins):
    ones = torch.ones_like(origins[..., :1])
    rays = RayBundle(origins=origins, directions=towards, pixel_area=ones, nears=0.01 * ones, fars=2.0 * ones)
    distances = torch.linspace(0.01, 2.0, 300).expand(1, 6, -1)
    positions = sample_positions(rays, distances)
    inside = (grid.in_box(positions).abs() < 1.0 - 1e-4).all(dim=-1)
    comes_through = (inside & grid.occupied(positions)).any(dim=-1)
    assert grid.met_by(rays)[comes_through].all()


@given(latent_grids(), seeds)
@share_of_examples(0.5)
def test_a_lattice_is_exact_at_its_points_between_them_elsewhere_and_free_outside(grid, seed):
    lattice = (grid.values[0, 0] + FREE_VALUE).permute(2, 1, 0)
    resolution = lattice.shape[0] - 1
    lower, upper = grid.box[0].chunk(2)
    corners = torch.cartesian_prod(*[torch.arange(resolution + 1)] * 3)
    points = lower + (upper - lower) * corners / resolution
    inner = ((corners > 0) & (corners < resolution)).all(dim=-1)  # rounding decides on the border
    found = grid.geometry_logits(points[None])[0]
    assert_close(found[inner], lattice[tuple(corners[inner].T)], atol=1e-2, rtol=0)
    anywhere = lower + (upper - lower) * torch.rand(200, 3, generator=torch.Generator().manual_seed(seed))
    between = grid.geometry_logits(anywhere[None])
    assert (between >= lattice.min() - 1e-3).all() and (between <= lattice.max() + 1e-3).all()
    outside = grid.geometry_logits((upper + (upper - lower) * (0.5 + points.abs()))[None])
    assert_close(outside, torch.full_like(outside, FREE_VALUE))


cells = st.integers(1, 6).flatmap(lambda side: random_arrays.arrays(bool, (1, side, side, side))).map(torch.from_numpy)


@given(cells, st.integers(0, 2))
def test_margins_and_bounds_hold_all_cells(occupied, margin):
    grown = dilated(occupied, margin)
    assert grown[occupied].all() and grown.shape == occupied.shape
    lower, upper = torch.tensor([-1.0, 0.0, 2.0]), torch.tensor([1.0, 5.0, 2.5])
    first, last = bounds_of(occupied, lower, upper)
    side = occupied.shape[-1]
    middles = lower + (occupied[0].nonzero() + 0.5) * (upper - lower) / side
    assert ((middles > first) & (middles < last)).all()
    assert (first >= lower).all() and (last <= upper + 1e-6).all()
    for row in grown[0].nonzero()[:20]:
        near = (occupied[0].nonzero() - row).abs().amax(dim=-1)
        assert int(near.min()) <= margin


@given(random_arrays.arrays(bool, st.tuples(st.integers(0, 3), st.integers(0, 7))).map(torch.from_numpy), st.data())
def test_a_field_is_asked_for_what_is_wanted_alone(wanted, data):
    positions = data.draw(tensors((*wanted.shape, 3)))
    asked = []

    def geometry_at(points: Tensor) -> Tensor:
        asked.append(points.shape[1])
        return points.sum(dim=-1)

    found = evaluate_where(geometry_at, positions, wanted)
    assert torch.equal(found, torch.where(wanted, positions.sum(dim=-1), FREE_VALUE))
    assert sum(asked) == max((int(row.sum()) for row in wanted), default=0)
