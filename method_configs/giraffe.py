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
DENSITY = Density(activation="relu", unit_length=1.0 / PUBLISHED_RADIUS, thickness=0.05)


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


# Half of the turn is the camera's and half the heads' own, as if it were all theirs (as published) their background
# would never turn and tools that look from other sides would see nothing new. They fill the frame.
TINY_HEADS = replace(HEADS, yaw_spread_deg=14.0, near=0.91)
HEAD_PLACES = placement(cube(0.25), cube(0.25), turns=(-0.05, 0.05))
# The background begins beyond the heads, and near lies within that radius, so that none of it is before them.
START_GAIN, HEAD_RADIUS = 8.0, 0.1
# The true scenes hold 2 to 4 solids of radius .052 to .08 in world units, whose middles reach .165 to each side on a
# plane .06 below the middle; GIRAFFE's unit is 2.732 times smaller.
SCENE_PLACES = placement(
    cube(0.16), cube(0.21), (0.45, 0.45), (-0.01, 0.03), count_probabilities=(0.0, 1 / 3, 1 / 3, 1 / 3), padding=0.0
)
SCENE_CAMERAS = replace(POSE_PRIOR_PRESETS["scenes"], near=0.67, far=1.4)


def tiny_presets() -> Dict[str, Dict[str, Any]]:
    """Cameras and places of known collections."""

    def preset(
        prior: PosePriorConfig,
        places: PlacementConfig,
        start_radius: float,
        num_objects: int = 1,
        background: str = "black",
        built_in: str = "scenes",
    ) -> Dict[str, Any]:
        return {
            "pipeline.datamanager.built_in": built_in,
            "pipeline.model.pose_prior": prior,
            "pipeline.model.composite.num_objects": num_objects,
            "pipeline.model.composite.placement": places,
            "pipeline.model.composite.background_start_radius": start_radius,
            "pipeline.datamanager.collection.background": background,
        }

    return {
        "default": preset(TINY_HEADS, HEAD_PLACES, HEAD_RADIUS),
        "scenes": preset(SCENE_CAMERAS, SCENE_PLACES, 0.33, 4),
        "procedural": preset(
            replace(POSE_PRIOR_PRESETS["procedural"], near=0.9),
            placement(cube(0.3), cube(0.3), turns=(0.0, 0.0)),
            0.1,
            1,
            "white",
            "toy-cars",
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
            CurriculumStage(3000, 32, 8, lr_generator=1e-3, lr_discriminator=2.5e-4),
            CurriculumStage(4500, 32, 8, lr_generator=5e-4, lr_discriminator=1.25e-4),
        ),
        opacity=NO_OPACITY_PRIOR,
        density_noise=EVERY_STEP,
        hollow_check_step=0,
        top_k=TopKConfig(enabled=False),
        ema_decay=0.995,
        machine=machine(),
        logging=LoggingConfig(steps_per_log=50),
        optimizers=optimizers(2e-3, 5e-4, beta2=0.99, max_norm=5.0),
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
                        position_octaves=4,
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
                    start_gain=START_GAIN,
                    background_start_radius=HEAD_RADIUS,
                ),
                neural_renderer=GiraffeRendererConfig(feature_dim=32, ray_side=16, resolution=32, min_channels=16),
                geometry="density",
                density=DENSITY,
                volume_sampler=VolumeSamplerConfig(num_coarse_samples=14, num_fine_samples=0, spacing="stratified"),
                pose_prior=TINY_HEADS,
            ),
            discriminator=SmallDiscriminatorConfig(resolution=32),
            loss=LOSS,
        ),
    ),
    description="GIRAFFE for a CPU: small fields on 16x16 rays, finished to 32x32 (gan3d_ns).",
)


def published_optimizers() -> Dict[str, Any]:
    """RMSprop for the parameter groups; the curriculum sets the rates."""
    rates = {"generator": 5e-4, "discriminator": 1e-4}
    return {name: {"optimizer": GanRMSpropConfig(lr=rate), "scheduler": None} for name, rate in rates.items()}


def published_prior(area: Tuple[float, float], fov_deg: float) -> PosePriorConfig:
    """Cameras at radius 2.732 in GIRAFFE's units, which look from one side: its objects turn. Our unit is that radius.

    ``area`` is its range of v, the fraction of the sphere's area above the camera.
    """
    first, last = area
    return PosePriorConfig(
        distribution="spherical",
        yaw_spread_deg=0.0,
        elevation_mean_deg=90.0 - 90.0 * (first + last),
        elevation_spread_deg=90.0 * (last - first),
        fov_deg=fov_deg,
        near=0.5 / PUBLISHED_RADIUS,
        far=6.0 / PUBLISHED_RADIUS,
        planar_depth=True,
    )


PUBLISHED_LOW, PUBLISHED_LEVEL = (0.41667, 0.5), (0.5, 0.5)
PUBLISHED_TABLE = (0.33333, 0.33333)
FACE_TURNS = (0.40278, 0.59722)
OBJECT_COUNTS = (0.0, 0.19457, 0.24355, 0.25270, 0.30919)
"""Of the released pictures with 2 to 5 objects."""


def published_presets() -> Dict[str, Dict[str, Any]]:
    """The released configs, one for each collection; 256 pixels are those of the name or of the release's only one.

    Two things are ours: Clevr's places, which the release reads from a file of the true ones, are drawn evenly, clear
    of each other; and a picture's background is turned by its own latent, where the release turns a batch's alike.
    """

    def preset(
        places: PlacementConfig,
        area: Tuple[float, float] = PUBLISHED_LOW,
        fov_deg: float = 10.0,
        resolution: int = 64,
        num_objects: int = 1,
        crop_size: int | None = None,
        widths: Tuple[int, int] = (128, 64),
        codes: int = 256,
    ) -> Dict[str, Any]:
        features = 128 if resolution == 64 else 256
        composite = "pipeline.model.composite"
        return {
            "pipeline.model.pose_prior": published_prior(area, fov_deg),
            f"{composite}.num_objects": num_objects,
            f"{composite}.placement": places,
            f"{composite}.feature_dim": features,
            f"{composite}.objects": GiraffeDecoderConfig(hidden_dim=widths[0], shape_dim=codes, appearance_dim=codes),
            f"{composite}.background": replace(
                CompositeFieldConfig().background,
                hidden_dim=widths[1],
                shape_dim=codes // 2,
                appearance_dim=codes // 2,
            ),
            "pipeline.model.neural_renderer.feature_dim": features,
            "pipeline.model.neural_renderer.resolution": resolution,
            "pipeline.discriminator.resolution": resolution,
            "pipeline.datamanager.collection.crop_size": crop_size,
            "curriculum": (
                CurriculumStage(
                    0, resolution, 32, lr_generator=5e-4 if resolution == 64 else 2.5e-4, lr_discriminator=1e-4
                ),
            ),
        }

    cars = placement((0.2, 0.16, 0.16), (0.25, 0.2, 0.2), (0.22, 0.12))
    church = placement(cube(0.45), cube(0.55), (0.15, 0.15), background_turns=(0.0, 0.25))
    face = placement(cube(0.21), cube(0.21), turns=FACE_TURNS)
    table = {"reach": (0.71, 0.71), "height": (0.1665, 0.1665), "turns": (0.0, 0.0), "padding": 0.1}
    two = placement(cube(0.17), cube(0.17), **{**table, "reach": (0.713, 0.713)})
    five = placement(cube(0.17), cube(0.17), **table, count_probabilities=OBJECT_COUNTS)
    return {
        "cars": preset(cars),
        "cars256": preset(cars, resolution=256),
        "celeba": preset(face, crop_size=108),
        "celebahq": preset(placement(cube(0.21), cube(0.21), turns=(0.375, 0.625)), resolution=256, crop_size=650),
        "ffhq": preset(face, resolution=256),
        "cats": preset(face),
        "church": preset(church, PUBLISHED_LEVEL, 30.0),
        "church256": preset(church, PUBLISHED_LEVEL, 30.0, resolution=256),
        "chairs": preset(placement(cube(0.5), cube(0.5)), (0.05, 0.5), 49.13),
        "clevr2": preset(two, PUBLISHED_TABLE, 49.13, resolution=256, num_objects=2),
        "clevr2345": preset(five, PUBLISHED_TABLE, 49.13, resolution=256, num_objects=5, widths=(64, 32), codes=64),
    }


# The published penalty is 10 E|grad|^2 of pictures in [0, 1]; ours has a 1/2 and sees pictures in [-1, 1].
PUBLISHED_LOSS = GanLossConfig(r1_weight=80.0, pose_weight=0.0, normal_weight=0.0)

giraffe = MethodSpecification(
    config=GanTrainerConfig(
        method_name="giraffe",
        steps_per_save=2000,
        max_num_iterations=200_000,
        presets=tiny_presets(),
        curriculum=(CurriculumStage(0, 64, 32, lr_generator=5e-4, lr_discriminator=1e-4),),
        opacity=NO_OPACITY_PRIOR,
        density_noise=EVERY_STEP,
        hollow_check_step=0,
        top_k=TopKConfig(enabled=False),
        ema_decay=0.999,
        steps_per_panel=1000,
        machine=machine(),
        optimizers=published_optimizers(),
        pipeline=GanPipelineConfig(
            datamanager=GanDataManagerConfig(built_in="scenes", collection=ImageCollectionConfig(background="black")),
            model=GanModelConfig(
                field="composite",
                composite=CompositeFieldConfig(
                    placement=HEAD_PLACES, start_gain=START_GAIN, background_start_radius=HEAD_RADIUS
                ),
                neural_renderer=GiraffeRendererConfig(),
                geometry="density",
                density=DENSITY,
                volume_sampler=VolumeSamplerConfig(num_coarse_samples=32, num_fine_samples=0, spacing="stratified"),
                pose_prior=TINY_HEADS,
                eval_num_rays_per_chunk=32768,
            ),
            discriminator=DCDiscriminatorConfig(),
            loss=PUBLISHED_LOSS,
            share_fakes=False,
        ),
    ),
    description="GIRAFFE for one GPU: the published networks at 64x64 with a start shape and tight boxes (gan3d_ns).",
)

giraffe_paper = MethodSpecification(
    config=GanTrainerConfig(
        method_name="giraffe-paper",
        steps_per_save=5000,
        # The release trains without end and keeps the best.
        max_num_iterations=300_000,
        presets=published_presets(),
        base_preset="cars",
        curriculum=(CurriculumStage(0, 64, 32, lr_generator=5e-4, lr_discriminator=1e-4),),
        opacity=NO_OPACITY_PRIOR,
        density_noise=EVERY_STEP,
        hollow_check_step=0,
        top_k=TopKConfig(enabled=False),
        ema_decay=0.999,
        steps_per_panel=1000,
        machine=machine(),
        optimizers=published_optimizers(),
        pipeline=GanPipelineConfig(
            datamanager=GanDataManagerConfig(collection=ImageCollectionConfig(background="black")),
            model=GanModelConfig(
                field="composite",
                composite=CompositeFieldConfig(
                    placement=published_presets()["cars"]["pipeline.model.composite.placement"]
                ),
                neural_renderer=GiraffeRendererConfig(aligned=False),
                geometry="density",
                density=DENSITY,
                volume_sampler=VolumeSamplerConfig(num_coarse_samples=64, num_fine_samples=0, spacing="stratified"),
                pose_prior=published_prior(PUBLISHED_LOW, 10.0),
                truncation=0.65,
            ),
            discriminator=DCDiscriminatorConfig(),
            loss=PUBLISHED_LOSS,
            share_fakes=False,
        ),
    ),
    description="GIRAFFE as published, --preset cars|celeba|cats|church|chairs|ffhq|clevr2345... (gan3d_ns).",
)
