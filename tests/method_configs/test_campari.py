"""CAMPARI's published numbers (released configs), collection by collection."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from gan3d_ns.cameras.camera_generator import CameraGenerator


def resolved(preset: str, method: str = "campari-paper") -> Any:
    from nerfstudio.configs.method_configs import all_methods

    config: Any = copy.deepcopy(all_methods[method])
    config.preset = preset
    config.resolve_preset()
    return config


STEPS = (0, 5_000, 20_000, 50_000, 70_000)
BATCHES = {"celeba": (64, 24, 20), "cats": (64, 24, 20), "carla": (64, 20, 15), "chairs": (64, 20, 15)}
SAMPLES = {"celeba": (14, 20, 24), "cats": (14, 20, 20), "carla": (32, 42, 52), "chairs": (32, 42, 52)}


@pytest.mark.parametrize("preset", list(BATCHES))
def test_the_curriculum(preset: str) -> None:
    config = resolved(preset)
    first, second, third = BATCHES[preset]
    few, some, many = SAMPLES[preset]
    stages = [(stage.start_step, stage.resolution, stage.batch_size, stage.num_samples) for stage in config.curriculum]
    batches, samples = (first, first, second, second, third), (few, some, some, many, many)
    assert stages == list(zip(STEPS, (32, 32, 64, 64, 128), batches, samples, strict=True))
    assert (config.max_num_iterations, config.fade_steps, config.fade_first_resolution) == (400_000, 15_000, False)
    assert all(stage.lr_generator is None for stage in config.curriculum), "its decay is absent in effect"


@pytest.mark.parametrize("preset", list(BATCHES))
def test_losses_noise_and_rates(preset: str) -> None:
    config = resolved(preset)
    around = preset in ("carla", "chairs")
    assert [config.density_noise.value(step) for step in (0, 9_999, 10_000)] == [1.0 + around, 1.0 + around, 0.0]
    loss = config.pipeline.loss
    assert (loss.adversarial, loss.r1_weight, loss.penalty_interval) == ("non-saturating", 80.0, 1)
    assert (loss.pose_weight, loss.normal_weight, config.pipeline.share_fakes) == (0.0, 0.0, False)
    rates = {name: entry["optimizer"].lr for name, entry in config.optimizers.items()}
    assert (rates["generator"], rates["discriminator"], config.ema_decay) == (5e-4, 1e-4, 0.999)
    assert config.camera_release_step == (1000 if preset == "chairs" else 500)
    assert not config.pipeline.datamanager.horizontal_flip


@pytest.mark.parametrize("preset", list(BATCHES))
def test_cameras_and_scene(preset: str) -> None:
    model = resolved(preset).pipeline.model
    around, faces = preset in ("carla", "chairs"), preset == "celeba"
    assert model.camera_law == "learned"
    cameras = CameraGenerator(model.camera_generator, model.pose_prior)
    assert cameras.parametrisation == ("full" if around else "normal")
    assert cameras.moves == {"yaw": True, "elevation": True, "radius": True, "fov": preset != "chairs"}
    assert cameras.ranges.radius == (0.75, 0.25)
    assert cameras.ranges.elevation_deg == (0.0, 90.0)
    if preset != "chairs":
        assert cameras.ranges.fov_deg == (35.0, 25.0)
        assert model.pose_prior.fov_std_deg == pytest.approx(0.15 * 25)
    prior = model.pose_prior
    assert (prior.largest_radius - prior.near, prior.far - prior.largest_radius) == pytest.approx((0.5, 0.5))
    assert prior.radius_spread == pytest.approx(0.15 * 0.25 * 3**0.5)
    assert prior.yaw_spread_deg == (180.0 if around else 13.5)
    assert model.background == ("white" if around else "black")
    assert model.decomposed.background_field == faces
    assert (model.density.activation, model.density.last_interval) == ("relu", 0.0)


@pytest.mark.parametrize("method", ["campari-tiny", "campari"])
def test_only_photographs_have_a_background_field(method: str) -> None:
    for preset, photographs in (("default", True), ("cats", True), ("procedural", False), ("carla", False)):
        model = resolved(preset, method).pipeline.model
        assert model.decomposed.background_field is photographs
        assert (model.background == "black") is photographs
