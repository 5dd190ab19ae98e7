"""Sampling of densities over the whole ray."""

from __future__ import annotations

import pytest
import torch
from analytic_field import BallField
from nerfstudio.cameras.rays import RayBundle

from gan3d_ns.cameras.pose_prior import PosePrior, PosePriorConfig
from gan3d_ns.errors import UserError
from gan3d_ns.model_components.geometry import Density
from gan3d_ns.model_components.ray_samplers import VolumeSampler, VolumeSamplerConfig
from gan3d_ns.models.generator import Generator

SIDE = 12
NEAR, FAR = 0.88, 1.12


def rays_of(count: int = 1) -> RayBundle:
    prior = PosePrior(PosePriorConfig())
    return prior.rays(prior.sample(count, torch.Generator().manual_seed(0)), SIDE)


def nothing(positions: torch.Tensor) -> torch.Tensor:
    return torch.full_like(positions[..., 0], -1.0)


def randomness() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def sampler_of(coarse: int, fine: int, spacing="jittered", geometry: Density | None = None) -> VolumeSampler:
    config = VolumeSamplerConfig(num_coarse_samples=coarse, num_fine_samples=fine, spacing=spacing)
    return VolumeSampler(config, geometry)


def ball_at(centre: torch.Tensor, field: BallField):
    styles = field.condition(centre)
    return styles, lambda points: field.geometry_logits(points, styles)


def test_the_union_holds_the_coarse_samples() -> None:
    sampler = sampler_of(6, 5)
    union, _ = sampler(rays_of(), nothing)
    even = torch.linspace(NEAR, FAR, 6)
    gaps = (union[..., None] - even).abs().amin(dim=2)
    assert gaps.max() < 1e-6


def test_fine_samples_go_where_matter_is_met() -> None:
    """A thin opaque shell: the fine samples lie within a coarse interval of its front."""
    field, centre = BallField(radius=0.05, slope=5e4), torch.zeros(1, 3)
    _, geometry_at = ball_at(centre, field)
    rays, coarse = rays_of(), 25
    sampler = sampler_of(coarse, 40)
    even, values, hits = sampler.search(rays, geometry_at)
    distances = sampler.around(rays, hits, even, sampler.geometry.alphas(values, even))
    middle = (SIDE // 2) * SIDE + SIDE // 2
    assert bool(hits.hit[0, middle])
    inside = (distances[0, middle] - hits.depth[0, middle]).abs() < 2 * (FAR - NEAR) / (coarse - 1)
    assert int(inside.sum()) >= 40


def test_jitter_moves_by_up_to_half_a_spacing_and_strata_stay_within_near_and_far() -> None:
    rays, spacing = rays_of(4), (FAR - NEAR) / 7
    even = sampler_of(8, 0).coarse_distances(rays)
    moved = sampler_of(8, 0).coarse_distances(rays, randomness()) - even
    assert moved.abs().max() <= spacing / 2 + 1e-6 and moved.abs().max() > 0.45 * spacing
    assert moved[..., 0].min() < -0.4 * spacing, "pi-GAN's first sample may lie before near"
    strata = sampler_of(8, 0, "stratified").coarse_distances(rays, randomness())
    assert strata.min() >= NEAR and strata.max() <= FAR
    bins = torch.bucketize(strata, torch.linspace(NEAR + spacing / 2, FAR - spacing / 2, 7))
    assert (bins == torch.arange(8)).all()


def test_training_may_take_other_numbers_of_samples_than_pictures() -> None:
    sampler = sampler_of(8, 0)
    sampler.num_training_samples = 5
    assert sampler.coarse_distances(rays_of(), randomness()).shape[-1] == 5
    assert sampler.coarse_distances(rays_of()).shape[-1] == 8


def test_noise_is_drawn_in_training_alone_and_follows_its_schedule() -> None:
    sampler, distances = VolumeSampler(VolumeSamplerConfig()), torch.zeros(2, 500, 24)
    assert sampler.value_noise(distances, randomness()) is None
    sampler.noise_std = 0.7
    noise = sampler.value_noise(distances, randomness())
    assert noise is not None and float(noise.std()) == pytest.approx(0.7, rel=0.02)
    field = BallField()
    generator = Generator(field, sampler, "black")
    styles, rays = field.condition(torch.zeros(1, 3)), rays_of()
    quiet = generator.render(styles, rays).geometry_values
    assert torch.equal(generator.render(styles, rays).geometry_values, quiet)
    loud = generator.render(styles, rays, jitter=randomness())
    exact = generator.query(styles, rays, loud.distances)[0]
    assert float((loud.geometry_values - exact).std()) == pytest.approx(0.7, rel=0.1)


def test_a_dense_ball_is_met_at_its_surface_and_misses_beside_it() -> None:
    field, radius = BallField(radius=0.06, slope=3e5), 0.06
    sampler = sampler_of(48, 96)
    generator, rays = Generator(field, sampler, "white"), rays_of()
    output = generator.render(field.condition(torch.zeros(1, 3)), rays)
    along = -(rays.origins * rays.directions).sum(dim=-1)
    gap = radius**2 - (rays.origins.square().sum(dim=-1) - along**2)
    clear = gap > 0.3 * radius**2
    assert output.hit[clear].all() and not output.hit[gap < -0.1 * radius**2].any()
    expected = (along - gap.clamp(min=0).sqrt())[clear]
    torch.testing.assert_close(output.surface_depth[clear], expected, atol=5e-3, rtol=0)
    assert (output.rgb[gap < -0.1 * radius**2] == 1.0).all()


def test_a_density_is_read_through_a_lattice_too() -> None:
    """Viewer and exporters see what a dense rendering sees."""
    from gan3d_ns.model_components.occupancy_grids import LatentGrid, LatentGridConfig

    field, centre = BallField(radius=0.06, slope=400.0), torch.tensor([[0.01, 0.0, 0.01]])
    geometry = Density("softplus", 0.02, 0.02)
    generator, rays = Generator(field, sampler_of(16, 16, geometry=geometry), "white"), rays_of()
    styles, geometry_at = ball_at(centre, field)
    config = LatentGridConfig(resolution=96, visible_weight=0.01)
    grid = LatentGrid(geometry_at, geometry, 0.2, config, torch.device("cpu"))
    dense, fast = generator.render(styles, rays), generator.render(styles, rays, grid=grid)
    assert (fast.hit == dense.hit).float().mean() > 0.98
    assert -10 * torch.log10((fast.rgb - dense.rgb).square().mean()) > 30


@pytest.mark.parametrize("settings", [{"num_coarse_samples": 2}, {"num_fine_samples": -1}])
def test_impossible_numbers_are_refused(settings: dict) -> None:
    with pytest.raises(UserError, match="coarse samples"):
        VolumeSamplerConfig(**settings)
