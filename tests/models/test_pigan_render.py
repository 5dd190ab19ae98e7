"""The whole render path against the pictures of the original pi-GAN: coarse alone, coarse and fine, backgrounds."""

from __future__ import annotations

import pytest
import torch

from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS
from gan3d_ns.fields.film_siren_field import FilmSirenField, FilmSirenFieldConfig
from gan3d_ns.model_components.geometry import Density
from gan3d_ns.model_components.ray_samplers import VolumeSamplerConfig
from gan3d_ns.model_components.surface import SurfaceHits
from gan3d_ns.models.generator import Generator, RenderOutput

TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}
# Fine distances agree to 5e-6, their rounding; densities of up to 124 make that 3e-4 in a single weight. At the
# recorded distances (see below) weights agree as everything else does.
WEIGHT_TOLERANCE = {"atol": 3e-4, "rtol": 1e-4}
RESOLUTION = 8
# (yaw, pitch) of the two poses.
POSES = {
    "celeba": [(1.570796, 1.570796), (1.870796, 1.320796)],
    "carla": [(1.570796, 1.2), (2.9, 0.7)],
}
BOX_SIDES = {"celeba": 0.24, "carla": 2.0}


class Scene:
    """A recorded generator, and the views that were rendered with it: (latent, pose) = 00, 01, 10, 11."""

    def __init__(self, collection: str, load_fixture) -> None:
        weights = load_fixture(f"pigan_{collection}_generator_weights")
        self.field = FilmSirenField(
            FilmSirenFieldConfig(latent_dim=16, hidden_dim=32, box_side=BOX_SIDES[collection])
        ).requires_grad_(False)
        self.field.load_authors_weights({name.removeprefix("weights/"): tensor for name, tensor in weights.items()})
        self.expected = load_fixture(f"pigan_{collection}_render")
        self.latents = load_fixture(f"pigan_{collection}_mapping")["z"][:2].repeat_interleave(2, dim=0)
        yaw, pitch = torch.tensor(POSES[collection]).repeat(2, 1).unbind(dim=-1)
        self.rays = POSE_PRIOR_PRESETS[collection].setup().rays(torch.stack((pitch, yaw), dim=-1), RESOLUTION)

    def generator(self, num_fine: int, background: str = "black", activation: str = "relu") -> Generator:
        sampler = VolumeSamplerConfig(num_coarse_samples=12, num_fine_samples=num_fine)
        density = Density(activation=activation, last_interval=1e10)  # type: ignore[arg-type]
        return Generator(self.field, sampler.setup(geometry=density), background)  # type: ignore[arg-type]

    def render(self, **settings) -> RenderOutput:
        generator = self.generator(**settings)
        uniforms = self.expected["fine_u"] if settings["num_fine"] else None
        return generator.render(generator.styles(self.latents), self.rays, fine_uniforms=uniforms)

    def check(self, output: RenderOutput, name: str) -> None:
        image = 2.0 * output.rgb.unflatten(1, (RESOLUTION, RESOLUTION)).permute(0, 3, 1, 2) - 1.0
        torch.testing.assert_close(image, self.expected[f"{name}_image"], **TOLERANCE)
        if f"{name}_weights" in self.expected:
            torch.testing.assert_close(output.weights, self.expected[f"{name}_weights"], **WEIGHT_TOLERANCE)
            torch.testing.assert_close(output.accumulation, self.expected[f"{name}_acc"], **TOLERANCE)
            # The original's depth is not divided by the accumulation.
            depth = (output.weights * output.distances).sum(dim=-1)
            torch.testing.assert_close(depth, self.expected[f"{name}_depth"], **TOLERANCE)


@pytest.fixture(params=list(POSES))
def scene(request, load_fixture) -> Scene:
    return Scene(request.param, load_fixture)


def test_coarse_samples_alone(scene: Scene) -> None:
    output = scene.render(num_fine=0)
    torch.testing.assert_close(output.distances, scene.expected["coarse_t"], **TOLERANCE)
    recorded = scene.expected["coarse_rgb_density"][..., 3]
    scale = recorded.abs().amax()
    torch.testing.assert_close(output.geometry_values / scale, recorded / scale, **TOLERANCE)
    scene.check(output, "coarse")


def test_the_union_of_coarse_and_fine_samples_is_composited(scene: Scene) -> None:
    output = scene.render(num_fine=12)
    torch.testing.assert_close(output.distances, scene.expected["fine_t"], **TOLERANCE)
    scene.check(output, "fine")


def test_compositing_at_the_recorded_distances(scene: Scene) -> None:
    generator, distances = scene.generator(num_fine=12), scene.expected["fine_t"]
    nothing = torch.zeros_like(distances[..., 0])
    hits = SurfaceHits(nothing, nothing > 0)
    output = generator.composite(generator.styles(scene.latents), scene.rays, distances, hits)
    torch.testing.assert_close(output.weights, scene.expected["fine_weights"], **TOLERANCE)


@pytest.mark.parametrize(("background", "name"), [("last-sample", "fine_lastback"), ("white", "fine_whiteback")])
def test_backgrounds(scene: Scene, background: str, name: str) -> None:
    scene.check(scene.render(num_fine=12, background=background), name)


def test_softplus_densities(scene: Scene) -> None:
    scene.check(scene.render(num_fine=0, activation="softplus"), "coarse_softplus")


def test_noise_is_for_training_alone_and_has_the_scheduled_deviation(scene: Scene) -> None:
    generator = scene.generator(num_fine=0)
    styles = generator.styles(scene.latents)
    generator.sampler.noise_std = 0.5  # type: ignore[assignment]
    quiet = generator.render(styles, scene.rays)
    torch.testing.assert_close(quiet.geometry_values, scene.render(num_fine=0).geometry_values, atol=0, rtol=0)
    noisy = generator.render(styles, scene.rays, jitter=torch.Generator().manual_seed(0))
    positions = scene.rays.origins[..., None, :] + noisy.distances[..., None] * scene.rays.directions[..., None, :]
    values = scene.field.geometry_logits(positions.flatten(1, 2), styles).unflatten(1, noisy.distances.shape[1:])
    deviation = (noisy.geometry_values - values).std()
    assert 0.47 < float(deviation) < 0.53
