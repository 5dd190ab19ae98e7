"""pi-GAN (Chan et al., CVPR 2021): GOF's predecessor, a radiance field in place of an occupancy field."""

import copy
from dataclasses import replace
from typing import Any, Dict, Optional, Tuple

from nerfstudio.plugins.types import MethodSpecification

from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS
from gan3d_ns.data.datamanager import GanDataManagerConfig
from gan3d_ns.data.image_collection import ImageCollectionConfig
from gan3d_ns.discriminators.progressive import Architecture, ProgressiveDiscriminatorConfig
from gan3d_ns.engine.schedules import CurriculumStage, DensityNoiseConfig, OpacityWeightConfig, TopKConfig
from gan3d_ns.engine.trainer_config import GanTrainerConfig
from gan3d_ns.fields.film_siren_field import FilmSirenFieldConfig
from gan3d_ns.model_components.geometry import Density
from gan3d_ns.model_components.ray_samplers import VolumeSamplerConfig
from gan3d_ns.models.gan_model import GanModelConfig
from gan3d_ns.pipelines.gan_pipeline import GanLossConfig, GanPipelineConfig

from .common import machine, optimizers
from .gof import gof_gan, gof_gan_tiny

UNWARPED_BOX_SIDE = 2.0
"""The side of a box whose coordinates are world units: pi-GAN's network for CARLA (TALLSIREN) has no box."""


def radiance_twin(config: GanTrainerConfig, method_name: str) -> GanTrainerConfig:
    """The same training with the field read as a density, and without GOF's terms for surfaces."""
    twin = replace(copy.deepcopy(config), method_name=method_name)
    twin.hollow_reseeds = 0
    twin.opacity = OpacityWeightConfig(start=0.0, growth=0.0)
    twin.pipeline.loss.normal_weight = 0.0
    twin.pipeline.model.geometry = "density"
    return twin


def pi_gan_config(occupancy: MethodSpecification, method_name: str, num_samples: int) -> GanTrainerConfig:
    """The field of a size of GOF as pi-GAN renders it, with as many coarse samples as fine ones."""
    config = radiance_twin(occupancy.config, method_name)  # pyright: ignore[reportArgumentType]
    model = config.pipeline.model
    model.volume_sampler = VolumeSamplerConfig(num_coarse_samples=num_samples, num_fine_samples=num_samples)
    # Over 0.02 a value makes the opacity that it has as a logit: both start from the same surface.
    model.density = Density(activation="softplus", unit_length=0.02, thickness=0.02)
    config.density_noise = DensityNoiseConfig(start=0.0)  # softplus learns in empty space without it
    return config


def published_presets() -> Dict[str, Dict[str, Any]]:
    """pi-GAN's curricula (released code, curriculums.py), one for each collection; for the toy cars that of CelebA."""

    def preset(
        prior: str,
        stages: Tuple[Tuple[int, int, int, int, float, float], ...],
        num_samples: int,
        architecture: Architecture,
        box_side: float,
        r1_weight: float,
        pose_weight: float,
        max_norm: float,
        top_k: TopKConfig,
        photographs: bool,
        crop_size: Optional[int] = None,
    ) -> Dict[str, Any]:
        clipping = {f"optimizers.{group}.optimizer.max_norm": max_norm for group in optimizers(1.0, 1.0, 0.9, 1.0)}
        return {
            "pipeline.model.pose_prior": POSE_PRIOR_PRESETS[prior],
            # Trained before black, shown with the last sample as background.
            "pipeline.model.background": "black" if photographs else "white",
            "pipeline.model.eval_background": "last-sample" if photographs else None,
            "pipeline.model.film_siren.box_side": box_side,
            "pipeline.model.volume_sampler.num_coarse_samples": num_samples,
            "pipeline.model.volume_sampler.num_fine_samples": num_samples,
            "pipeline.discriminator.architecture": architecture,
            "pipeline.loss.r1_weight": r1_weight,
            "pipeline.loss.pose_weight": pose_weight,
            "pipeline.datamanager.collection.background": "black" if photographs else "white",
            "pipeline.datamanager.collection.crop_size": crop_size,
            "pipeline.datamanager.horizontal_flip": photographs,
            "curriculum": tuple(
                CurriculumStage(start, resolution, batch, lr_g, lr_d, batch_split=split)
                for start, resolution, batch, split, lr_g, lr_d in stages
            ),
            "top_k": top_k,
            **clipping,
        }

    celeba = preset(
        "celeba",
        stages=((0, 64, 56, 2, 6e-5, 2e-4),),
        num_samples=12,
        architecture="ccs",
        box_side=0.24,
        r1_weight=0.2,
        pose_weight=15.0,
        max_norm=10.0,
        top_k=TopKConfig(interval=2000.0, floor=0.6),
        photographs=True,
        crop_size=142,
    )
    carla = preset(
        "carla",
        stages=(
            (0, 32, 30, 1, 4e-5, 4e-4),
            (10_000, 64, 14, 2, 2e-5, 2e-4),
            (55_000, 128, 10, 5, 1e-5, 1e-4),
        ),
        num_samples=48,
        architecture="progressive",
        box_side=UNWARPED_BOX_SIDE,
        r1_weight=10.0,
        pose_weight=0.0,
        max_norm=1.0,
        top_k=TopKConfig(interval=1000.0, floor=1.0),
        photographs=False,
    )
    cats = preset(
        "cats",
        stages=((0, 64, 28, 4, 6e-5, 2e-4),),
        num_samples=24,
        architecture="strided",
        box_side=0.24,
        r1_weight=0.2,
        pose_weight=0.0,
        max_norm=10.0,
        top_k=TopKConfig(interval=2000.0, floor=0.6),
        photographs=True,
    )
    toy_cars = {
        "pipeline.model.pose_prior": POSE_PRIOR_PRESETS["procedural"],
        "pipeline.model.background": "white",
        "pipeline.model.eval_background": None,
        "pipeline.datamanager.collection.background": "white",
        "pipeline.datamanager.collection.crop_size": None,
    }
    return {"celeba": celeba, "carla": carla, "cats": cats, "procedural": {**celeba, **toy_cars}}


pi_gan_tiny = MethodSpecification(
    config=pi_gan_config(gof_gan_tiny, "pi-gan-tiny", num_samples=8),
    description="pi-GAN for a CPU: gof-gan-tiny's field read as a density, sampled over the whole ray (gan3d_ns).",
)

pi_gan = MethodSpecification(
    config=pi_gan_config(gof_gan, "pi-gan", num_samples=16),
    description="pi-GAN for one GPU: gof-gan's field read as a density, up to 128x128, hours (gan3d_ns).",
)

pi_gan_paper = MethodSpecification(
    config=GanTrainerConfig(
        method_name="pi-gan-paper",
        steps_per_save=2000,
        max_num_iterations=200_000,
        presets=published_presets(),
        base_preset="celeba",
        curriculum=published_presets()["celeba"]["curriculum"],
        fade_steps=10_000,
        opacity=OpacityWeightConfig(start=0.0, growth=0.0),
        density_noise=DensityNoiseConfig(start=1.0, length=5000),
        top_k=published_presets()["celeba"]["top_k"],
        ema_decay=0.999,
        steps_per_panel=1000,
        machine=machine(),
        mixed_precision=True,
        optimizers=optimizers(6e-5, 2e-4, beta2=0.9, max_norm=10.0),
        pipeline=GanPipelineConfig(
            datamanager=GanDataManagerConfig(collection=ImageCollectionConfig(background="black", crop_size=142)),
            model=GanModelConfig(
                field="film-siren",
                film_siren=FilmSirenFieldConfig(),
                geometry="density",
                volume_sampler=VolumeSamplerConfig(num_coarse_samples=12, num_fine_samples=12),
                density=Density(),
                background="black",
                eval_background="last-sample",
                pose_prior=POSE_PRIOR_PRESETS["celeba"],
            ),
            discriminator=ProgressiveDiscriminatorConfig(architecture="ccs"),
            loss=GanLossConfig(r1_weight=0.2, pose_weight=15.0, normal_weight=0.0),
            share_fakes=False,
        ),
    ),
    description="pi-GAN as published: FiLM-SIREN density and the authors' curricula, --preset celeba|carla|cats "
    "(gan3d_ns).",
)
