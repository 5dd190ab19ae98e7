"""VolumeGAN (Xu et al., CVPR 2022) in three sizes: a feature volume for structure, a neural renderer for texture."""

from dataclasses import replace
from typing import Any, Dict, Tuple

from nerfstudio.configs.base_config import LoggingConfig
from nerfstudio.plugins.types import MethodSpecification

from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS
from gan3d_ns.data.datamanager import GanDataManagerConfig
from gan3d_ns.data.image_collection import ImageCollectionConfig
from gan3d_ns.discriminators.small import SmallDiscriminatorConfig
from gan3d_ns.discriminators.style import StyleDiscriminatorConfig
from gan3d_ns.engine.schedules import (
    CurriculumStage,
    DensityNoiseConfig,
    OpacityWeightConfig,
    TopKConfig,
    WindowScheduleConfig,
)
from gan3d_ns.engine.trainer_config import GanTrainerConfig
from gan3d_ns.fields.feature_volume_field import FeatureVolumeFieldConfig
from gan3d_ns.model_components.geometry import Density
from gan3d_ns.model_components.ray_samplers import SurfaceWindowSamplerConfig, VolumeSamplerConfig
from gan3d_ns.model_components.style_renderer import StyleRendererConfig
from gan3d_ns.models.gan_model import GanModelConfig
from gan3d_ns.pipelines.gan_pipeline import GanLossConfig, GanPipelineConfig

from .common import HEADS, collection_presets, head_shape, machine, optimizers, photograph_loss

TINY_WINDOW = WindowScheduleConfig(start=0.12, end=0.03, decay=2.5e-4)
FULL_WINDOW = WindowScheduleConfig(start=0.12, end=0.02, decay=3e-5)
# Over 0.02 world units a softplus density has the opacity that the same value has as an occupancy logit, so that the
# start shape means what it means for other methods.
SOFT_DENSITY = Density(activation="softplus", unit_length=0.02, thickness=0.02)
NO_OPACITY_PRIOR = OpacityWeightConfig(start=0.0, growth=0.0)

PUBLISHED_BATCH = 64
"""Pictures of a step: 8 on each of 8 GPUs."""
PUBLISHED_PICTURES = 25_000_000
"""Real pictures that the release's training sees."""
STAGE_PICTURES = 750_000
"""Real pictures for which a resolution fades in, and for which it then stays as it is."""
PUBLISHED_TRUNCATION = 8
"""Styled layers that truncation reaches: volume, network, and the first of the renderer's. The release counts 8 too,
with one code for the volume and the first layer, and one more for a layer that it does not have."""
EMA_HALF_LIFE = 20_000
"""Pictures after which a weight counts half in the moving average."""


def published_curriculum(ray_side: int, resolution: int) -> Tuple[CurriculumStage, ...]:
    """Resolutions from the ray side on: the first for 750 000 pictures, each further one for twice as many."""
    stages, steps, side, start = [], STAGE_PICTURES // PUBLISHED_BATCH, ray_side, 0
    while side <= resolution:
        stages.append(CurriculumStage(start, side, PUBLISHED_BATCH, batch_split=8))
        start += steps if side == ray_side else 2 * steps
        side *= 2
    return tuple(stages)


def published_presets() -> Dict[str, Dict[str, Any]]:
    """FFHQ at 256x256 as the released code trains it and as the paper describes the method; and the toy cars."""
    model, field, renderer = "pipeline.model.", "pipeline.model.feature_volume.", "pipeline.model.neural_renderer."
    released = {
        f"{model}pose_prior": POSE_PRIOR_PRESETS["ffhq"],
        f"{model}background": "black",
        "pipeline.datamanager.collection.background": "black",
        f"{field}network": "modulated",
        f"{field}style_order": "style-then-activate",
        f"{field}position_octaves": 10,
        f"{field}use_view_directions": False,
        f"{renderer}ray_side": 32,
        "curriculum": published_curriculum(32, 256),
    }
    described = {
        **released,
        f"{field}network": "film-siren",
        f"{field}style_order": "activate-then-style",
        f"{field}position_octaves": 0,
        f"{field}use_view_directions": True,
        f"{renderer}ray_side": 64,
        "curriculum": published_curriculum(64, 256),
    }
    toy_cars = {
        f"{model}pose_prior": POSE_PRIOR_PRESETS["procedural"],
        f"{model}background": "white",
        "pipeline.datamanager.collection.background": "white",
    }
    return {"ffhq": released, "ffhq-paper": described, "procedural": {**released, **toy_cars}}


def tiny_presets() -> Dict[str, Dict[str, Any]]:
    """Photographs learn fastest with GOF's window, and objects before white only as VolumeGAN's own densities do.

    (After 15 and 6 minutes of CPU time, one seed each. As occupancies the cars stayed spheres, on which the renderer
    painted its pictures.)
    """
    presets = collection_presets(TINY_WINDOW)
    for preset in presets.values():
        photographs = preset["pipeline.model.background"] == "black"
        preset.update(
            {
                "pipeline.model.geometry": "occupancy" if photographs else "density",
                "pipeline.loss.normal_weight": 0.1 if photographs else 0.0,
                "pipeline.model.feature_volume.rate": 4.0 if photographs else 6.0,
                "pipeline.model.neural_renderer.rate": 4.0 if photographs else 6.0,
                "pipeline.model.neural_renderer.colour_gain": 1.0 if photographs else 0.1,
            }
        )
    return presets


volumegan_tiny = MethodSpecification(
    config=GanTrainerConfig(
        method_name="volumegan-tiny",
        steps_per_save=1000,
        max_num_iterations=6000,
        presets=tiny_presets(),
        curriculum=(
            CurriculumStage(0, 32, 8),
            CurriculumStage(3000, 32, 8, lr_generator=5e-4, lr_discriminator=2.5e-4),
            CurriculumStage(4500, 32, 8, lr_generator=2.5e-4, lr_discriminator=1.25e-4),
            CurriculumStage(6000, 64, 8, lr_generator=5e-4, lr_discriminator=2.5e-4),
        ),
        fade_steps=1000,
        fade_first_resolution=False,
        window=TINY_WINDOW,
        opacity=OpacityWeightConfig(start=0.02, growth=0.0),
        density_noise=DensityNoiseConfig(start=0.0),
        geometry_release_steps=3000,
        top_k=TopKConfig(enabled=False),
        ema_decay=0.995,
        machine=machine(),
        logging=LoggingConfig(steps_per_log=50),
        optimizers=optimizers(1e-3, 5e-4, beta2=0.99, max_norm=5.0),
        pipeline=GanPipelineConfig(
            datamanager=GanDataManagerConfig(collection=ImageCollectionConfig(background="black")),
            model=GanModelConfig(
                field="feature-volume",
                feature_volume=FeatureVolumeFieldConfig(
                    latent_dim=64,
                    mapping_dim=64,
                    mapping_layers=2,
                    # Times the published rate: a width of 64 then learns as with weights scaled at the start.
                    mapping_rate=8.0,
                    code_dim=64,
                    volume_channels=(32, 16, 8),
                    constant_std=1.0,
                    hidden_dim=32,
                    num_layers=3,
                    feature_dim=32,
                    position_octaves=3,
                    coordinate_scale=16.0,
                    rate=4.0,
                    start_shape=True,
                ),
                neural_renderer=StyleRendererConfig(
                    feature_dim=32,
                    code_dim=64,
                    ray_side=16,
                    resolution=64,
                    channels_times_side=1024,
                    max_channels=32,
                    rate=4.0,
                ),
                geometry="occupancy",
                density=SOFT_DENSITY,
                start_shape=head_shape(),
                sampler=SurfaceWindowSamplerConfig(num_coarse_samples=8, num_window_samples=8, num_fine_samples=0),
                volume_sampler=VolumeSamplerConfig(num_coarse_samples=14, num_fine_samples=0, spacing="stratified"),
                pose_prior=HEADS,
            ),
            discriminator=SmallDiscriminatorConfig(resolution=64),
            loss=replace(photograph_loss(), normal_weight=0.1),
        ),
    ),
    description="VolumeGAN for a CPU: 16x16 rays, pictures of 32x32, minutes to first faces (gan3d_ns).",
)

volumegan = MethodSpecification(
    config=GanTrainerConfig(
        method_name="volumegan",
        steps_per_save=2000,
        max_num_iterations=100_000,
        presets=collection_presets(FULL_WINDOW),
        curriculum=(CurriculumStage(0, 32, 32), CurriculumStage(10_000, 64, 32), CurriculumStage(40_000, 128, 32)),
        fade_steps=10_000,
        fade_first_resolution=False,
        window=FULL_WINDOW,
        opacity=NO_OPACITY_PRIOR,
        density_noise=DensityNoiseConfig(start=0.0),
        geometry_release_steps=3000,
        top_k=TopKConfig(enabled=False),
        ema_decay=0.999,
        steps_per_panel=1000,
        machine=machine(),
        optimizers=optimizers(2e-3, 2e-3, beta2=0.99, max_norm=10.0),
        pipeline=GanPipelineConfig(
            datamanager=GanDataManagerConfig(collection=ImageCollectionConfig(background="black")),
            model=GanModelConfig(
                field="feature-volume",
                feature_volume=FeatureVolumeFieldConfig(
                    latent_dim=256,
                    mapping_dim=256,
                    mapping_layers=4,
                    code_dim=256,
                    hidden_dim=128,
                    feature_dim=128,
                    position_octaves=6,
                    coordinate_scale=16.0,
                    start_shape=True,
                ),
                neural_renderer=StyleRendererConfig(
                    feature_dim=128,
                    code_dim=256,
                    ray_side=32,
                    resolution=128,
                    channels_times_side=8192,
                    max_channels=256,
                    colour_gain=0.1,
                ),
                geometry="density",
                density=SOFT_DENSITY,
                start_shape=head_shape(),
                sampler=SurfaceWindowSamplerConfig(num_coarse_samples=16, num_window_samples=12, num_fine_samples=4),
                volume_sampler=VolumeSamplerConfig(num_coarse_samples=24, num_fine_samples=0, spacing="stratified"),
                pose_prior=HEADS,
                eval_num_rays_per_chunk=32768,
            ),
            discriminator=StyleDiscriminatorConfig(resolution=128, base_channels=256, max_channels=512),
            loss=GanLossConfig(
                r1_weight=10.0,
                penalty_interval=16,
                pose_weight=0.0,
                normal_weight=0.0,
                coverage_weight=1.0,
                style_mixing=0.9,
            ),
        ),
    ),
    description="VolumeGAN for one GPU: 32x32 rays with a start shape, up to 128x128, hours (gan3d_ns).",
)

volumegan_paper = MethodSpecification(
    config=GanTrainerConfig(
        method_name="volumegan-paper",
        steps_per_save=5000,
        max_num_iterations=PUBLISHED_PICTURES // PUBLISHED_BATCH,
        presets=published_presets(),
        base_preset="ffhq",
        curriculum=published_curriculum(32, 256),
        fade_steps=STAGE_PICTURES // PUBLISHED_BATCH,
        fade_first_resolution=False,
        opacity=NO_OPACITY_PRIOR,
        density_noise=DensityNoiseConfig(start=0.0),
        top_k=TopKConfig(enabled=False),
        ema_decay=0.5 ** (PUBLISHED_BATCH / EMA_HALF_LIFE),
        steps_per_panel=1000,
        machine=machine(),
        # The release lowers rate and moments for penalties that are steps of their own; here they are part of a step.
        optimizers=optimizers(2e-3, 2e-3, beta2=0.99, max_norm=None),
        pipeline=GanPipelineConfig(
            datamanager=GanDataManagerConfig(collection=ImageCollectionConfig(background="black")),
            model=GanModelConfig(
                field="feature-volume",
                feature_volume=FeatureVolumeFieldConfig(num_truncated_layers=PUBLISHED_TRUNCATION),
                neural_renderer=StyleRendererConfig(aligned=False, faded_borders=True),
                geometry="density",
                density=Density(activation="relu"),
                volume_sampler=VolumeSamplerConfig(num_coarse_samples=12, num_fine_samples=12, spacing="even"),
                pose_prior=POSE_PRIOR_PRESETS["ffhq"],
                background="black",
                eval_num_rays_per_chunk=8192,
            ),
            discriminator=StyleDiscriminatorConfig(resolution=256),
            loss=GanLossConfig(
                r1_weight=10.0,
                penalty_interval=16,
                pose_weight=0.0,
                normal_weight=0.0,
                style_mixing=0.9,
                path_length_weight=2.0,
            ),
            share_fakes=False,
        ),
    ),
    description="VolumeGAN as published for FFHQ at 256x256, --preset ffhq (released code) | ffhq-paper (gan3d_ns).",
)
