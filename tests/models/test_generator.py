"""The one render path against the images, depths and windows of the original GOF release."""

from __future__ import annotations

import pytest
import torch

from gan3d_ns.cameras.pose_prior import PosePrior, PosePriorConfig
from gan3d_ns.fields.tri_plane_field import TriPlaneField, TriPlaneFieldConfig
from gan3d_ns.model_components.compositing import depth_variance
from gan3d_ns.model_components.ray_samplers import SurfaceWindowSampler, SurfaceWindowSamplerConfig, spread_evenly
from gan3d_ns.model_components.surface import SurfaceHits
from gan3d_ns.models.generator import Generator

TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}
WINDOWS = (("d012", 0.12), ("d006", 0.06), ("d002", 0.02))


def build(gof_field, num_fine: int, background: str = "black") -> Generator:
    config = SurfaceWindowSamplerConfig(num_fine_samples=num_fine)
    return Generator(gof_field, SurfaceWindowSampler(config), background)  # type: ignore[arg-type]


def fixture_views(generator: Generator, mapping, render):
    """Styles and rays of the four views: latents 0, 0, 1, 1."""
    styles = generator.styles(mapping["z"][:2].repeat_interleave(2, dim=0))
    rays = PosePrior(PosePriorConfig(near=0.88, far=1.12)).rays(render["pose_pitch_yaw"], 8)
    return styles, rays


def as_image(values: torch.Tensor) -> torch.Tensor:
    return values.reshape(-1, 8, 8, 3).permute(0, 3, 1, 2)


@pytest.mark.parametrize(("name", "half_width"), WINDOWS)
def test_surface_and_windows_match_the_original(name, half_width, gof_field, load_fixture) -> None:
    mapping, expected = load_fixture("gof_mapping"), load_fixture("gof_render")
    generator = build(gof_field, num_fine=0)
    generator.sampler.half_width.fill_(half_width)
    styles, rays = fixture_views(generator, mapping, expected)
    output = generator.render(styles, rays)
    assert torch.equal(output.hit, expected["hit_mask"] > 0.5)
    torch.testing.assert_close(output.surface_depth, expected["root_depth"], atol=1e-5, rtol=0)
    torch.testing.assert_close(output.distances[..., 0], expected[f"{name}_window_start"], atol=1e-5, rtol=0)
    torch.testing.assert_close(output.distances[..., -1], expected[f"{name}_window_end"], atol=1e-5, rtol=0)
    torch.testing.assert_close(as_image(2 * output.rgb - 1), expected[f"{name}_window_image"], **TOLERANCE)


@pytest.mark.parametrize(("name", "half_width"), WINDOWS)
def test_compositing_matches_the_original_at_the_same_distances(name, half_width, gof_field, load_fixture) -> None:
    """At the recorded ends of the window: on steep rays a rounding of 1e-6 in a root moves a logit by 1e-3."""
    mapping, expected = load_fixture("gof_mapping"), load_fixture("gof_render")
    generator = build(gof_field, num_fine=0)
    styles, rays = fixture_views(generator, mapping, expected)
    distances = spread_evenly(expected[f"{name}_window_start"], expected[f"{name}_window_end"], 9)
    hits = SurfaceHits(expected["root_depth"], expected["hit_mask"] > 0.5)
    output = generator.composite(styles, rays, distances, hits)
    torch.testing.assert_close(output.weights, expected[f"{name}_window_weights"], **TOLERANCE)
    torch.testing.assert_close(output.depth, expected[f"{name}_window_depth"], **TOLERANCE)
    torch.testing.assert_close(output.accumulation, expected[f"{name}_window_acc"], **TOLERANCE)


@pytest.mark.parametrize(("name", "half_width"), WINDOWS)
def test_fine_samples_match_the_original(name, half_width, gof_field, load_fixture) -> None:
    mapping, expected = load_fixture("gof_mapping"), load_fixture("gof_render")
    generator = build(gof_field, num_fine=6)
    generator.sampler.half_width.fill_(half_width)
    styles, rays = fixture_views(generator, mapping, expected)
    output = generator.render(styles, rays, fine_uniforms=expected["fine_u"].reshape(4, 64, 6))
    torch.testing.assert_close(as_image(2 * output.rgb - 1), expected[f"{name}_fine_image"], **TOLERANCE)
    torch.testing.assert_close(output.depth, expected[f"{name}_fine_depth"], **TOLERANCE)
    torch.testing.assert_close(output.accumulation, expected[f"{name}_fine_acc"], **TOLERANCE)
    if name == "d006":
        torch.testing.assert_close(output.distances, expected["d006_fine_t"], atol=1e-5, rtol=0)
        hits = SurfaceHits(output.surface_depth, output.hit)
        same = generator.composite(styles, rays, expected["d006_fine_t"], hits)
        torch.testing.assert_close(same.geometry_values, expected["d006_fine_rgb_logit"][..., 3], **TOLERANCE)
        torch.testing.assert_close(same.weights, expected["d006_fine_weights"], **TOLERANCE)
        variance = depth_variance(same.weights, same.distances)
        torch.testing.assert_close(variance, expected["d006_fine_depth_var"], **TOLERANCE)


@pytest.mark.parametrize(("background", "key"), [("last-sample", "lastback"), ("white", "whiteback")])
def test_backgrounds_match_the_original(background, key, gof_field, load_fixture) -> None:
    mapping, expected = load_fixture("gof_mapping"), load_fixture("gof_render")
    generator = build(gof_field, num_fine=6, background=background)
    generator.sampler.half_width.fill_(0.06)
    styles, rays = fixture_views(generator, mapping, expected)
    output = generator.render(styles, rays, fine_uniforms=expected["fine_u"].reshape(4, 64, 6))
    torch.testing.assert_close(as_image(2 * output.rgb - 1), expected[f"d006_fine_{key}_image"], **TOLERANCE)


def test_truncated_styles_surface_colours_and_normals_match_the_original(gof_field, load_fixture) -> None:
    mapping, expected = load_fixture("gof_mapping"), load_fixture("gof_render")
    generator = build(gof_field, num_fine=6, background="last-sample")
    generator.sampler.half_width.fill_(0.06)
    generator.mean_code.copy_(torch.cat((mapping["avg_frequencies"], mapping["avg_phases"]), dim=-1)[0])
    codes = generator.codes(mapping["z"], truncation=0.7)
    truncated = torch.cat((mapping["frequencies_truncated_psi07"], mapping["phases_truncated_psi07"]), dim=-1)
    torch.testing.assert_close(codes, truncated, **TOLERANCE)
    styles = generator.field.condition(codes[:2])
    prior = PosePrior(PosePriorConfig(near=0.88, far=1.12))
    for pose in (0, 1):
        rays = prior.rays(expected["pose_pitch_yaw"][pose].expand(2, -1), 8)
        uniforms = expected[f"psi07_pose{pose}_fine_u"].reshape(2, 64, 6)
        output = generator.render(styles, rays, fine_uniforms=uniforms)
        assert torch.equal(output.hit, expected[f"psi07_pose{pose}_mask"] > 0.5)
        torch.testing.assert_close(output.surface_depth, expected[f"psi07_pose{pose}_root_depth"], **TOLERANCE)
        image = as_image(2 * output.rgb - 1)
        torch.testing.assert_close(image, expected[f"psi07_pose{pose}_image"], **TOLERANCE)
        single = as_image(generator.surface_colour(styles, rays, output.surface_depth))
        torch.testing.assert_close(single, expected[f"psi07_pose{pose}_single_image"], **TOLERANCE)
        normals = as_image(generator.surface_normals(styles, rays, output.surface_depth) / 2 + 0.5)
        torch.testing.assert_close(normals, expected[f"psi07_pose{pose}_normals"], **TOLERANCE)


def test_rendering_without_jitter_is_deterministic_and_rows_are_independent() -> None:
    field = TriPlaneField(TriPlaneFieldConfig(latent_dim=8, generator_channels=(8, 8), geometry_side=8))
    generator = Generator(field, SurfaceWindowSampler(SurfaceWindowSamplerConfig()), "black")
    prior = PosePrior(PosePriorConfig())
    rays = prior.rays(prior.sample(3, torch.Generator().manual_seed(0)), 8)
    styles = generator.styles(torch.randn(3, 8))
    whole = generator.render(styles, rays)
    again = generator.render(styles, rays)
    torch.testing.assert_close(whole.rgb, again.rgb)
    single = generator.render(styles[1:2], rays[1:2])
    torch.testing.assert_close(single.rgb, whole.rgb[1:2], atol=1e-5, rtol=1e-5)


def test_mean_code_is_the_mean_over_latents() -> None:
    field = TriPlaneField(TriPlaneFieldConfig(latent_dim=8, generator_channels=(8, 8), geometry_side=8))
    generator = Generator(field, SurfaceWindowSampler(SurfaceWindowSamplerConfig()), "black")
    generator.update_mean_code(torch.Generator().manual_seed(1), num_latents=600)
    latents = torch.randn(600, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(generator.mean_code, field.mapping(latents).mean(dim=0))
    torch.testing.assert_close(generator.codes(latents, truncation=0.0), generator.mean_code.expand(600, -1))
