"""Grids skip work and nothing else: the same samples, the same picture, and nothing is starved."""

from __future__ import annotations

import pytest
import torch
from analytic_field import BallField

from gan3d_ns.cameras.pose_prior import PosePrior, PosePriorConfig
from gan3d_ns.errors import UserError
from gan3d_ns.model_components.geometry import Density, Geometry, Occupancy
from gan3d_ns.model_components.occupancy_grids import (
    LatentGrid,
    LatentGridConfig,
    OccupancyGrid,
    PriorGrid,
    PriorGridConfig,
    dilated,
    evaluate_where,
)
from gan3d_ns.model_components.ray_samplers import SurfaceWindowSampler, SurfaceWindowSamplerConfig
from gan3d_ns.models.generator import Generator

RADIUS = 0.2
SIDE = 24
OCCUPANCY = Occupancy()


def generator_of(field: BallField, num_fine: int = 6, half_width: float = 0.02) -> Generator:
    generator = Generator(field, SurfaceWindowSampler(SurfaceWindowSamplerConfig(num_fine_samples=num_fine)), "white")
    generator.sampler.half_width.fill_(half_width)
    return generator


def rays_of(num_views: int, device: str = "cpu"):
    prior = PosePrior(PosePriorConfig(yaw_spread_deg=60.0))
    return prior.rays(prior.sample(num_views, torch.Generator().manual_seed(1), device), SIDE)


def measured_grid(
    field: BallField, centres: torch.Tensor, geometry: Geometry = OCCUPANCY, num_updates: int = 2, **settings
) -> PriorGrid:
    """A grid that has looked at balls around the given centres often enough to be used."""
    config = PriorGridConfig(enabled=True, resolution=32, update_interval=1, warmup_steps=num_updates, **settings)
    grid = config.setup(radius=RADIUS).to(centres.device)
    for index in range(num_updates):
        randomness = torch.Generator(device=centres.device).manual_seed(index)
        grid.update(field, geometry, field.condition(centres), 0.03, randomness)
    return grid


def test_look_ups_agree_with_counting_cells() -> None:
    lower, upper = torch.tensor([-0.1, -0.1, -0.2]), torch.tensor([0.1, 0.3, 0.4])
    grid = OccupancyGrid(lower, upper, 5)
    grid.cells.copy_(torch.rand(1, 5, 5, 5) < 0.4)
    positions = lower + (upper - lower) * (torch.rand(500, 3) * 1.4 - 0.2)
    for position, found in zip(positions, grid.occupied(positions), strict=True):
        cell = torch.floor((position - lower) / (upper - lower) * 5).long()
        inside = bool(((cell >= 0) & (cell < 5)).all())
        assert bool(found) == (bool(grid.cells[0, cell[0], cell[1], cell[2]]) if inside else True)


def test_a_margin_grows_by_whole_cells_and_never_shrinks() -> None:
    cells = torch.zeros(1, 7, 7, 7, dtype=torch.bool)
    cells[0, 3, 3, 3] = cells[0, 0, 0, 0] = True
    assert torch.equal(dilated(cells, 0), cells)
    grown = dilated(cells, 1)
    assert int(grown.sum()) == 27 + 8 and bool(grown[cells].all())
    assert torch.equal(dilated(grown, 1), dilated(cells, 2))


def test_only_wanted_positions_are_asked_for() -> None:
    field, positions = BallField(), torch.randn(2, 50, 3)
    wanted = torch.rand(2, 50) < 0.2
    styles = field.condition(torch.zeros(2, 3))
    found = evaluate_where(lambda points: field.geometry_logits(points, styles), positions, wanted)
    assert field.num_geometry <= 2 * int(wanted.sum(dim=1).max())
    torch.testing.assert_close(found[wanted], field.geometry_logits(positions, styles)[wanted])
    assert (found[~wanted] < -10).all()


@pytest.mark.parametrize("num_fine", [0, 6])
@pytest.mark.parametrize("jittered", [False, True])
def test_the_prior_grid_changes_no_picture(num_fine: int, jittered: bool) -> None:
    field = BallField()
    generator, centres = generator_of(field, num_fine), torch.randn(3, 3) * 0.03
    rays, styles = rays_of(3), field.condition(centres)

    def render(grid):
        field.num_geometry = 0
        jitter = torch.Generator().manual_seed(5) if jittered else None
        return generator.render(styles, rays, jitter=jitter, grid=grid), field.num_geometry

    dense, dense_cost = render(None)
    grid = measured_grid(field, centres)
    skipping, cost = render(grid)
    assert dense.hit.float().mean() > 0.05
    assert torch.equal(skipping.hit, dense.hit)
    torch.testing.assert_close(skipping.surface_depth, dense.surface_depth, atol=1e-5, rtol=0)
    torch.testing.assert_close(skipping.rgb, dense.rgb, atol=1e-4, rtol=0)
    torch.testing.assert_close(skipping.accumulation, dense.accumulation, atol=1e-4, rtol=0)
    assert cost < 0.5 * dense_cost


def test_the_prior_grid_keeps_the_gradient() -> None:
    field = BallField()
    generator, centres = generator_of(field), torch.randn(2, 3) * 0.03
    rays, styles, grid = rays_of(2), field.condition(centres), measured_grid(field, centres)
    gradients = []
    for chosen in (None, grid):
        field.zero_grad()
        generator.render(styles, rays, jitter=torch.Generator().manual_seed(5), grid=chosen).rgb.sum().backward()
        assert field.tint.grad is not None
        gradients.append(field.tint.grad.clone())
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-4)


def test_an_object_that_moves_into_skipped_space_is_found_again() -> None:
    field = BallField()
    here, there = torch.tensor([[-0.1, 0.0, 0.0]]), torch.tensor([[0.1, 0.02, -0.03]])
    grid = measured_grid(field, here, num_updates=8)
    assert bool(grid.occupied(here)) and not bool(grid.occupied(there))
    generator, rays = generator_of(field, num_fine=0), rays_of(1)
    truth = generator.render(field.condition(there), rays)
    assert not generator.render(field.condition(there), rays, grid=grid).hit.any()
    for index in range(12):
        grid.update(field, OCCUPANCY, field.condition(there), 0.03, torch.Generator().manual_seed(100 + index))
    found = generator.render(field.condition(there), rays, grid=grid)
    assert torch.equal(found.hit, truth.hit)
    torch.testing.assert_close(found.rgb, truth.rgb, atol=1e-4, rtol=0)
    for index in range(300):
        grid.update(field, Occupancy(), field.condition(there), 0.03, torch.Generator().manual_seed(1000 + index))
    assert not bool(grid.occupied(here)), "space that matter has left is skipped in the end"


def test_every_object_of_the_family_is_kept() -> None:
    field = BallField(radius=0.03)
    grid = measured_grid(field, torch.randn(4, 3) * 0.04, num_updates=4)
    centres = torch.randn(60, 3) * 0.04
    for start in range(0, 60, 4):
        grid.update(
            field, Occupancy(), field.condition(centres[start : start + 4]), 0.03, torch.Generator().manual_seed(start)
        )
    assert grid.occupied(centres[30:]).float().mean() > 0.95
    assert grid.occupied_fraction < 0.6


def test_an_update_is_a_function_of_its_randomness_and_leaves_the_global_source_alone() -> None:
    field, centres = BallField(), torch.randn(2, 3) * 0.05
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = measured_grid(field, centres, num_updates=3)
    assert torch.equal(torch.rand(3), expected)
    second = measured_grid(field, centres, num_updates=3)
    assert torch.equal(first.estimator.get_buffer("occs"), second.estimator.get_buffer("occs"))


def test_nothing_is_skipped_before_the_warm_up_is_over() -> None:
    field, centres = BallField(), torch.zeros(1, 3)
    config = PriorGridConfig(enabled=True, resolution=8, update_interval=4, warmup_steps=12)
    grid = config.setup(radius=RADIUS)
    readiness = []
    for index in range(4):
        readiness.append(grid.ready)
        grid.update(field, Occupancy(), field.condition(centres), 0.03, torch.Generator().manual_seed(index))
    assert readiness == [False, False, False, True]
    grid.reset()
    assert not grid.ready and not grid.cells.any()


def test_a_density_counts_by_the_opacity_of_a_step() -> None:
    field, centres = BallField(slope=2000.0), torch.zeros(1, 3)
    grid = measured_grid(field, centres, Density())
    assert bool(grid.occupied(centres)) and grid.occupied_fraction < 0.1


def test_an_empty_grid_still_leaves_a_training_its_graph() -> None:
    field = BallField()
    generator, grid = generator_of(field), measured_grid(field, torch.full((1, 3), 9.0))
    assert not grid.cells.any()
    output = generator.render(field.condition(torch.zeros(1, 3)), rays_of(1), grid=grid)
    output.rgb.sum().backward()
    assert field.tint.grad is not None


@pytest.mark.parametrize(
    ("settings", "named"), [({"free_opacity": 0.7}, "0.7"), ({"resolution": 1}, "1"), ({"margin_cells": -1}, "-1")]
)
def test_impossible_prior_grids_are_refused(settings: dict, named: str) -> None:
    with pytest.raises(UserError, match=named):
        PriorGridConfig(**settings)


def lattice_of(field: BallField, centre: torch.Tensor, **settings) -> LatentGrid:
    styles = field.condition(centre)
    config = LatentGridConfig(**settings)
    return LatentGrid(
        lambda points: field.geometry_logits(points, styles), OCCUPANCY, RADIUS, config, torch.device("cpu")
    )


def test_a_lattice_repeats_a_linear_field() -> None:
    weights = torch.tensor([3.0, -2.0, 1.0])
    grid = LatentGrid(
        lambda points: points @ weights, OCCUPANCY, RADIUS, LatentGridConfig(resolution=7), torch.device("cpu")
    )
    positions = (torch.rand(1, 400, 3) * 2 - 1) * RADIUS
    torch.testing.assert_close(grid.geometry_logits(positions), positions @ weights, atol=2e-5, rtol=0)


def test_the_lattice_spans_the_object_alone_and_space_around_it_is_free() -> None:
    field, centre = BallField(radius=0.04, slope=3000.0), torch.tensor([[0.08, -0.05, 0.02]])
    grid = lattice_of(field, centre, resolution=40)
    lower, upper = grid.box[0].chunk(2)
    assert (lower < centre[0] - 0.04).all() and (upper > centre[0] + 0.04).all()
    assert (upper - lower < 0.08 + 6 * 2 * RADIUS / 32).all()
    positions = (torch.rand(1, 2000, 3) * 2 - 1) * RADIUS
    found, truth = grid.geometry_logits(positions), field.geometry_logits(positions, field.condition(centre))
    sure = truth.abs() > 10.0
    assert torch.equal((found > 0)[sure], (truth > 0)[sure])
    assert (found[truth < -300.0] <= -4.0).all()


def test_rays_that_meet_the_box_are_those_with_a_point_in_it() -> None:
    grid, rays = lattice_of(BallField(), torch.tensor([[0.03, 0.0, 0.0]]), resolution=16), rays_of(2)
    assert rays.nears is not None and rays.fars is not None
    steps = torch.linspace(0.0, 1.0, 400)
    distances = rays.nears + (rays.fars - rays.nears) * steps
    points = rays.origins[..., None, :] + distances[..., None] * rays.directions[..., None, :]
    lower, upper = grid.object_bounds
    expected = ((points >= lower) & (points <= upper)).all(dim=-1).any(dim=-1)
    met = grid.met_by(rays)
    assert expected.any() and not expected.all()
    assert (met | ~expected).all(), "a ray with a point in the box meets it"
    assert (met == expected).float().mean() > 0.98


def test_a_field_without_matter_shows_the_background() -> None:
    field, centre = BallField(), torch.full((1, 3), 9.0)
    generator, rays = generator_of(field, num_fine=0), rays_of(1)
    output = generator.render(field.condition(centre), rays, grid=lattice_of(field, centre, resolution=16))
    assert (output.rgb == 1.0).all() and not output.hit.any()


@pytest.mark.parametrize("surface_only", [False, True])
def test_rays_beside_the_object_show_the_background(surface_only: bool) -> None:
    field, centre = BallField(radius=0.02), torch.tensor([[0.0, 0.0, 0.0]])
    generator, rays = generator_of(field, num_fine=0), rays_of(1)
    grid = lattice_of(field, centre, resolution=16)
    beside = rays[:, ~grid.met_by(rays)[0]]
    assert 0 < beside.origins.shape[1] < rays.origins.shape[1]
    output = generator.render(field.condition(centre), beside, grid=grid, surface_only=surface_only)
    assert (output.rgb == 1.0).all() and not output.hit.any()


@pytest.mark.parametrize("background", ["white", "black", "last-sample"])
def test_the_lattice_makes_the_same_picture_with_fewer_questions(background) -> None:
    field, centre = BallField(slope=300.0), torch.tensor([[0.02, -0.01, 0.03]])
    generator, rays = generator_of(field, num_fine=0), rays_of(1)
    generator.background = background
    styles, grid = field.condition(centre), lattice_of(field, centre, resolution=128, visible_weight=0.01)
    dense = generator.render(styles, rays)
    field.num_geometry = field.num_colours = 0
    fast = generator.render(styles, rays, grid=grid)
    assert field.num_geometry == 0
    assert field.num_colours < rays.origins.shape[1] * 9 / 2
    assert (fast.hit == dense.hit).float().mean() > 0.99
    both = fast.hit & dense.hit
    torch.testing.assert_close(fast.surface_depth[both], dense.surface_depth[both], atol=1e-3, rtol=0)
    mean_error = (fast.rgb - dense.rgb).square().mean()
    assert -10 * torch.log10(mean_error) > 35


def test_one_query_at_the_surface_shows_the_colour_there() -> None:
    field, centre = BallField(), torch.tensor([[0.0, 0.0, 0.02]])
    generator, rays, styles = generator_of(field, num_fine=0), rays_of(1), field.condition(centre)
    output = generator.render(styles, rays, surface_only=True)
    colour = generator.surface_colour(styles, rays, output.surface_depth)
    torch.testing.assert_close(output.rgb[output.hit], colour[output.hit])
    assert (output.rgb[~output.hit] == 1.0).all()
    # An opaque ball: nothing but the surface shows, except where rays graze it.
    error = (output.rgb - generator.render(styles, rays).rgb).abs().amax(dim=-1)
    assert (error[output.hit] < 0.02).float().mean() > 0.9
    assert (error < 0.02).float().mean() > 0.98


@pytest.mark.gpu
def test_nerfaccs_traversal_makes_the_same_picture_as_the_look_up() -> None:
    field = BallField().cuda()
    generator, centres = generator_of(field).cuda(), torch.randn(3, 3).cuda() * 0.03
    rays, styles, grid = rays_of(3, "cuda"), field.condition(centres), measured_grid(field, centres)
    coarse, _, _ = generator.sampler.search(rays, lambda points: field.geometry_logits(points, styles))
    twin = grid.occupied(rays.origins[..., None, :] + coarse[..., None] * rays.directions[..., None, :])
    assert (grid.traversed(rays, coarse) == twin).float().mean() > 0.999
    dense, skipping = generator.render(styles, rays), generator.render(styles, rays, grid=grid)
    torch.testing.assert_close(skipping.rgb, dense.rgb, atol=1e-4, rtol=0)
    torch.testing.assert_close(skipping.surface_depth, dense.surface_depth, atol=1e-4, rtol=0)
