"""pi-GAN's published numbers (released code, curriculums.py), collection by collection."""

from __future__ import annotations

import copy
from typing import Any

import pytest


def resolved(preset: str) -> Any:
    from nerfstudio.configs.method_configs import all_methods

    config: Any = copy.deepcopy(all_methods["pi-gan-paper"])
    config.preset = preset
    config.resolve_preset()
    return config


# (from step, resolution, batch, parts, rate of the generator, rate of the discriminator)
STAGES = {
    "celeba": [(0, 64, 56, 2, 6e-5, 2e-4)],
    "carla": [(0, 32, 30, 1, 4e-5, 4e-4), (10_000, 64, 14, 2, 2e-5, 2e-4), (55_000, 128, 10, 5, 1e-5, 1e-4)],
    "cats": [(0, 64, 28, 4, 6e-5, 2e-4)],
}


@pytest.mark.parametrize("preset", list(STAGES))
def test_the_curriculum(preset: str) -> None:
    config = resolved(preset)
    stages = [
        (
            stage.start_step,
            stage.resolution,
            stage.batch_size,
            stage.batch_split,
            stage.lr_generator,
            stage.lr_discriminator,
        )
        for stage in config.curriculum
    ]
    assert stages == STAGES[preset]
    assert config.max_num_iterations == 200_000
    assert config.fade_steps == 10_000
    assert config.mixed_precision


@pytest.mark.parametrize(
    ("preset", "samples", "r1", "clip", "pose", "backgrounds", "box_side"),
    [
        ("celeba", 12, 0.2, 10.0, 15.0, ("black", "last-sample"), 0.24),
        ("carla", 48, 10.0, 1.0, 0.0, ("white", "white"), 2.0),
        ("cats", 24, 0.2, 10.0, 0.0, ("black", "last-sample"), 0.24),
    ],
)
def test_rendering_and_losses(
    preset: str, samples: int, r1: float, clip: float, pose: float, backgrounds: tuple[str, str], box_side: float
) -> None:
    config = resolved(preset)
    model, loss = config.pipeline.model, config.pipeline.loss
    sampler = model.volume_sampler
    assert (sampler.num_coarse_samples, sampler.num_fine_samples, sampler.spacing) == (samples, samples, "jittered")
    assert (loss.r1_weight, loss.penalty_interval, loss.pose_weight, loss.normal_weight) == (r1, 1, pose, 0.0)
    assert (model.background, model.eval_background or model.background) == backgrounds
    assert (model.field, model.geometry, model.film_siren.box_side) == ("film-siren", "density", box_side)
    assert (model.density.activation, model.density.unit_length) == ("relu", 1.0)
    assert {entry["optimizer"].max_norm for entry in config.optimizers.values()} == {clip}
    assert {entry["optimizer"].betas for entry in config.optimizers.values()} == {(0.0, 0.9)}
    assert config.pipeline.datamanager.collection.background == backgrounds[0]
    assert config.pipeline.datamanager.horizontal_flip == (preset != "carla")


@pytest.mark.parametrize(
    ("preset", "step", "fraction"), [("celeba", 0, 1.0), ("celeba", 150_000, 0.6), ("carla", 150_000, 1.0)]
)
def test_schedules(preset: str, step: int, fraction: float) -> None:
    config = resolved(preset)
    assert config.top_k.value(step) == pytest.approx(fraction)
    assert [config.density_noise.value(at) for at in (0, 2500, 5000, 90_000)] == pytest.approx([1.0, 0.5, 0.0, 0.0])
    assert config.opacity.value(step) == 0.0


def test_one_flag_makes_it_gof() -> None:
    """The sizes for a CPU and for a GPU are GOF's with the field read as a density."""
    from nerfstudio.configs.method_configs import all_methods

    for name in ("pi-gan-tiny", "pi-gan"):
        radiance: Any = all_methods[name]
        occupancy: Any = all_methods[name.replace("pi-gan", "gof-gan")]
        assert radiance.pipeline.model.geometry == "density"
        assert occupancy.pipeline.model.geometry == "occupancy"
        for part in ("field", "tri_plane", "start_shape", "pose_prior"):
            assert getattr(radiance.pipeline.model, part) == getattr(occupancy.pipeline.model, part), (name, part)
        assert radiance.pipeline.discriminator == occupancy.pipeline.discriminator
        assert radiance.curriculum == occupancy.curriculum
