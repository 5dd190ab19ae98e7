"""GIRAFFE (Niemeyer and Geiger, CVPR 2021) in three sizes: scenes of several objects, finished by a small network."""

from dataclasses import replace
from typing import Any, Dict, Tuple

from nerfstudio.configs.base_config import LoggingConfig
from nerfstudio.plugins.types import MethodSpecification

from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS, PosePriorConfig
from gan3d_ns.data.datamanager import GanDataManagerConfig
from gan3d_ns.data.image_collection import ImageCollectionConfig
from gan3d_ns.discriminators.dc import DCDiscriminatorConfig
from gan3d_ns.discriminators.small import SmallDiscriminatorConfig
from gan3d_ns.engine.keep_best import KeepBestConfig
from gan3d_ns.engine.schedules import CurriculumStage, DensityNoiseConfig, OpacityWeightConfig, TopKConfig
from gan3d_ns.engine.trainer_config import GanRMSpropConfig, GanTrainerConfig
from gan3d_ns.fields.composite_field import PUBLISHED_RADIUS, CompositeFieldConfig
from gan3d_ns.fields.giraffe_decoder import GiraffeDecoderConfig
from gan3d_ns.fields.placement import PlacementConfig
from gan3d_ns.model_components.geometry import Density
from gan3d_ns.model_components.giraffe_renderer import GiraffeRendererConfig
from gan3d_ns.model_components.ray_samplers import VolumeSamplerConfig
from gan3d_ns.models.gan_model import GanModelConfig
from gan3d_ns.pipelines.gan_pipeline import GanLossConfig, GanPipelineConfig

from .common import HEADS, machine, optimizers

NO_OPACITY_PRIOR = OpacityWeightConfig(start=0.0, growth=0.0)
EVERY_STEP = DensityNoiseConfig(length=10**9)
"""Noise on densities that never ends, as published."""
DENSITY = Density(activation="relu", unit_length=1.0 / PUBLISHED_RADIUS)


def placement(
    smallest_scale: Tuple[float, float, float],
    largest_scale: Tuple[float, float, float],
    reach: Tuple[float, float] = (0.0, 0.0),
    height: Tuple[float, float] = (0.0, 0.0),
    turns: Tuple[float, float] = (0.0, 1.0),
    **others: Any,
) -> PlacementConfig:
    """Boxes within a reach to both sides of the middle, at a range of heights, in GIRAFFE's units."""
    return PlacementConfig(
        smallest_scale=smallest_scale,
        largest_scale=largest_scale,
        lowest_translation=(-reach[0], -reach[1], height[0]),
        highest_translation=(reach[0], reach[1], height[1]),
        rotation_turns=turns,
        **others,
    )


def cube(scale: float) -> Tuple[float, float, float]:
    """The scale of a box with equal sides."""
    return (scale, scale, scale)


# The camera keeps its azimuth: heads turn themselves, as published. They fill the frame.
TINY_HEADS = replace(HEADS, yaw_spread_deg=0.0)
HEAD_PLACES = placement(cube(0.25), cube(0.25), turns=(-0.08, 0.08))
# The true scenes hold 2 to 4 solids of radius .052 to .08 in world units, whose middles reach .165 to each side on a
# plane .06 below the middle; GIRAFFE's unit is 2.732 times smaller.
SCENE_PLACES = placement(
    cube(0.16), cube(0.21), (0.45, 0.45), (-0.01, 0.03), count_probabilities=(0.0, 1 / 3, 1 / 3, 1 / 3), padding=0.0
)
SCENE_CAMERAS = replace(POSE_PRIOR_PRESETS["scenes"], near=0.6, far=1.4)


def tiny_presets() -> Dict[str, Dict[str, Any]]:
    """Cameras and places of known collections."""

    def preset(
        prior: PosePriorConfig,
        places: PlacementConfig,
        start_radius: float,
        num_objects: int = 1,
        background: str = "black",
    ) -> Dict[str, Any]:
        return {
            "pipeline.model.pose_prior": prior,
            "pipeline.model.composite.num_objects": num_objects,
            "pipeline.model.composite.placement": places,
            "pipeline.model.composite.background_start_radius": start_radius,
            "pipeline.datamanager.collection.background": background,
        }

    return {
        "default": preset(TINY_HEADS, HEAD_PLACES, 0.09),
        "scenes": preset(SCENE_CAMERAS, SCENE_PLACES, 0.33, 4),
        "procedural": preset(
            POSE_PRIOR_PRESETS["procedural"], placement(cube(0.3), cube(0.3), turns=(0.0, 0.0)), 0.1, 1, "white"
        ),
    }


LOSS = GanLossConfig(r1_weight=3.0, penalty_interval=4, pose_weight=0.0, normal_weight=0.0)

giraffe_tiny = MethodSpecification(
    config=GanTrainerConfig(
        method_name="giraffe-tiny",
        steps_per_save=1000,
        keep_best=KeepBestConfig(interval=2000),
        max_num_iterations=6000,
        presets=tiny_presets(),
        curriculum=(
            CurriculumStage(0, 32, 8),
            CurriculumStage(3000, 32, 8, lr_generator=5e-4, lr_discriminator=2.5e-4),
            CurriculumStage(4500, 32, 8, lr_generator=2.5e-4, lr_discriminator=1.25e-4),
        ),
        opacity=NO_OPACITY_PRIOR,
        density_noise=EVERY_STEP,
        hollow_check_step=0,
        top_k=TopKConfig(enabled=False),
        ema_decay=0.995,
        machine=machine(),
        logging=LoggingConfig(steps_per_log=50),
        optimizers=optimizers(1e-3, 5e-4, beta2=0.99, max_norm=5.0),
        pipeline=GanPipelineConfig(
            datamanager=GanDataManagerConfig(built_in="scenes", collection=ImageCollectionConfig(background="black")),
            model=GanModelConfig(
                field="composite",
                composite=CompositeFieldConfig(
                    objects=GiraffeDecoderConfig(
                        shape_dim=32,
                        appearance_dim=32,
                        hidden_dim=48,
                        num_layers=4,
                        skip_layers=(),
                        position_octaves=5,
                        direction_octaves=0,
                    ),
                    background=GiraffeDecoderConfig(
                        shape_dim=16,
                        appearance_dim=16,
                        hidden_dim=32,
                        num_layers=3,
                        skip_layers=(),
                        input_scale=12.0,
                        position_octaves=5,
                        direction_octaves=0,
                    ),
                    feature_dim=32,
                    placement=HEAD_PLACES,
                    start_gain=8.0,
                    background_start_radius=0.09,
                ),
                neural_renderer=GiraffeRendererConfig(feature_dim=32, ray_side=16, resolution=32, min_channels=16),
                geometry="density",
                density=DENSITY,
                volume_sampler=VolumeSamplerConfig(num_coarse_samples=16, num_fine_samples=0, spacing="stratified"),
                pose_prior=TINY_HEADS,
            ),
            discriminator=SmallDiscriminatorConfig(resolution=32),
            loss=LOSS,
        ),
    ),
    description="GIRAFFE for a CPU: small fields on 16x16 rays, finished to 32x32 (gan3d_ns).",
)
