"""pi-GAN (Chan et al., CVPR 2021): GOF's predecessor, a radiance field in place of an occupancy field."""

import copy

from nerfstudio.plugins.types import MethodSpecification

from gan3d_ns.engine.schedules import DensityNoiseConfig, OpacityWeightConfig
from gan3d_ns.engine.trainer_config import GanTrainerConfig
from gan3d_ns.model_components.geometry import Density
from gan3d_ns.model_components.ray_samplers import VolumeSamplerConfig

from .gof import gof_gan_tiny


def radiance_twin(config: GanTrainerConfig, method_name: str) -> GanTrainerConfig:
    """The same training with the field read as a density, and without GOF's terms for surfaces."""
    twin = copy.deepcopy(config)
    twin.method_name = method_name
    twin.opacity = OpacityWeightConfig(start=0.0, growth=0.0)
    twin.pipeline.loss.normal_weight = 0.0
    twin.pipeline.model.geometry = "density"
    return twin


def pi_gan_tiny_config() -> GanTrainerConfig:
    """gof-gan-tiny's field as pi-GAN renders it."""
    config = radiance_twin(gof_gan_tiny.config, "pi-gan-tiny")  # pyright: ignore[reportArgumentType]
    model = config.pipeline.model
    model.volume_sampler = VolumeSamplerConfig(num_coarse_samples=8, num_fine_samples=8)
    # Over 0.02 a value makes the opacity that it has as a logit: both start from the same surface.
    model.density = Density(activation="softplus", unit_length=0.02, thickness=0.02)
    config.density_noise = DensityNoiseConfig(start=0.0)  # softplus learns in empty space without it
    return config


pi_gan_tiny = MethodSpecification(
    config=pi_gan_tiny_config(),
    description="pi-GAN for a CPU: gof-gan-tiny's field read as a density, sampled over the whole ray (gan3d_ns).",
)
