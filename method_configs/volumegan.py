"""VolumeGAN (Xu et al., CVPR 2022) in three sizes: a feature volume for structure, a neural renderer for texture."""

from dataclasses import replace

from nerfstudio.configs.base_config import LoggingConfig
from nerfstudio.plugins.types import MethodSpecification

from gan3d_ns.data.datamanager import GanDataManagerConfig
from gan3d_ns.data.image_collection import ImageCollectionConfig
from gan3d_ns.discriminators.small import SmallDiscriminatorConfig
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
from gan3d_ns.pipelines.gan_pipeline import GanPipelineConfig

from .common import HEADS, collection_presets, head_shape, machine, optimizers, photograph_loss

TINY_WINDOW = WindowScheduleConfig(start=0.12, end=0.03, decay=2.5e-4)
# Over 0.02 world units a softplus density has the opacity that the same value has as an occupancy logit, so that the
# start shape means what it means for other methods.
SOFT_DENSITY = Density(activation="softplus", unit_length=0.02, thickness=0.02)

volumegan_tiny = MethodSpecification(
    config=GanTrainerConfig(
        method_name="volumegan-tiny",
        steps_per_save=1000,
        max_num_iterations=6000,
        presets=collection_presets(TINY_WINDOW),
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
                    rate=6.0,
                    start_shape=True,
                ),
                neural_renderer=StyleRendererConfig(
                    feature_dim=32,
                    code_dim=64,
                    ray_side=16,
                    resolution=64,
                    channels_times_side=1024,
                    max_channels=32,
                    rate=6.0,
                ),
                geometry="density",
                density=SOFT_DENSITY,
                start_shape=head_shape(),
                sampler=SurfaceWindowSamplerConfig(num_coarse_samples=8, num_window_samples=8, num_fine_samples=0),
                volume_sampler=VolumeSamplerConfig(num_coarse_samples=14, num_fine_samples=0, spacing="stratified"),
                pose_prior=HEADS,
            ),
            discriminator=SmallDiscriminatorConfig(resolution=64),
            loss=replace(photograph_loss(), normal_weight=0.0),
        ),
    ),
    description="VolumeGAN for a CPU: 16x16 rays, pictures of 32x32, minutes to first faces (gan3d_ns).",
)
