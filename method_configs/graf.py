"""GRAF (Schwarz et al., NeurIPS 2020) in three sizes: patches of pictures, and codes for shape and for appearance."""

from dataclasses import replace
from typing import Any, Dict, Tuple

from nerfstudio.configs.base_config import LoggingConfig
from nerfstudio.plugins.types import MethodSpecification

from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS
from gan3d_ns.data.datamanager import GanDataManagerConfig
from gan3d_ns.data.image_collection import ImageCollectionConfig
from gan3d_ns.discriminators.patch import PatchDiscriminatorConfig
from gan3d_ns.engine.keep_best import KeepBestConfig
from gan3d_ns.engine.schedules import (
    CurriculumStage,
    DensityNoiseConfig,
    OpacityWeightConfig,
    PatchScheduleConfig,
    TopKConfig,
    WindowScheduleConfig,
)
from gan3d_ns.engine.trainer_config import GanRMSpropConfig, GanTrainerConfig
from gan3d_ns.fields.nerf_field import NerfFieldConfig
from gan3d_ns.model_components.geometry import Density
from gan3d_ns.model_components.ray_samplers import VolumeSamplerConfig
from gan3d_ns.models.gan_model import GanModelConfig
from gan3d_ns.pipelines.gan_pipeline import GanLossConfig, GanPipelineConfig

from .common import HEADS, collection_presets, head_shape, machine, optimizers, photograph_loss

NO_OPACITY_PRIOR = OpacityWeightConfig(start=0.0, growth=0.0)
COORDINATE_SCALE = 10.0
"""GRAF's cameras stand at radius 10."""


def published_optimizers() -> Dict[str, Any]:
    """RMSprop for the parameter groups; the curriculum sets the rates."""
    rates = {"generator": 5e-4, "mapping": 5e-4, "discriminator": 1e-4}
    return {name: {"optimizer": GanRMSpropConfig(lr=rate), "scheduler": None} for name, rate in rates.items()}


def published_curriculum(resolution: int) -> Tuple[CurriculumStage, ...]:
    """One resolution; rates halve at three milestones (GRAF, released code, configs/default.yaml)."""
    milestones = (0, 50_000, 100_000, 200_000)
    return tuple(
        CurriculumStage(start, resolution, 8, lr_generator=5e-4 / 2**index, lr_discriminator=1e-4 / 2**index)
        for index, start in enumerate(milestones)
    )


def published_presets() -> Dict[str, Dict[str, Any]]:
    """The released configs/*.yaml, one for each collection; for the toy cars that of CARLA.

    ``front_azimuth_deg`` is the middle of the published azimuths: there stands the front of released weights.
    """

    def preset(
        prior: str,
        resolution: int,
        background: str,
        flip: bool,
        front_azimuth_deg: float = 0.0,
        crop_size: int | None = None,
        view_directions: bool = True,
    ) -> Dict[str, Any]:
        return {
            "pipeline.model.pose_prior": POSE_PRIOR_PRESETS[prior],
            "pipeline.model.background": background,
            "pipeline.model.nerf.front_azimuth_deg": front_azimuth_deg,
            "pipeline.model.nerf.use_view_directions": view_directions,
            "pipeline.datamanager.collection.background": background,
            "pipeline.datamanager.collection.crop_size": crop_size,
            "pipeline.datamanager.horizontal_flip": flip,
            "curriculum": published_curriculum(resolution),
        }

    published = {
        "carla": preset("graf-carla", 128, "white", flip=False),
        "celeba": preset("graf-celeba", 64, "black", flip=True, front_azimuth_deg=45.0, crop_size=108),
        "cats": preset("graf-cats", 64, "black", flip=True, front_azimuth_deg=35.0),
        # The release flips what the discriminator is shown, which comes to the same as flipping the pictures.
        "cub": preset("graf-cub", 64, "white", flip=True, view_directions=False),
    }
    toy_cars = {"pipeline.model.pose_prior": POSE_PRIOR_PRESETS["procedural"]}
    return {**published, "procedural": {**published["carla"], **toy_cars}}


def photograph_losses(r1_weight: float) -> GanLossConfig:
    """Losses for photographs without those on surfaces and poses, which belong to other methods."""
    return replace(photograph_loss(), r1_weight=r1_weight, pose_weight=0.0, normal_weight=0.0)


# Over 0.02 world units a softplus density has the opacity that the same value has as an occupancy logit, so that the
# start shape means what it means for other methods; the published relu learns nothing in empty space without noise.
SOFT_DENSITY = Density(activation="softplus", unit_length=0.02, thickness=0.02)

graf_tiny = MethodSpecification(
    config=GanTrainerConfig(
        method_name="graf-tiny",
        steps_per_save=1000,
        # Whole pictures cost more beside its steps on patches than for other methods: looked at half as often.
        steps_per_panel=1000,
        keep_best=KeepBestConfig(interval=2000),
        max_num_iterations=6000,
        presets=collection_presets(WindowScheduleConfig()),
        curriculum=(
            CurriculumStage(0, 32, 8),
            CurriculumStage(3000, 32, 8, lr_generator=5e-4, lr_discriminator=2.5e-4),
            CurriculumStage(4500, 32, 8, lr_generator=2.5e-4, lr_discriminator=1.25e-4),
        ),
        # From whole pictures at half their sharpness to patches that show every pixel, within the run.
        patches=PatchScheduleConfig(size=16, smallest_scale=0.5, decay=0.1, interval=500),
        opacity=NO_OPACITY_PRIOR,
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
                field="nerf",
                nerf=NerfFieldConfig(
                    shape_dim=32,
                    appearance_dim=32,
                    hidden_dim=64,
                    num_layers=4,
                    skip_layer=None,
                    position_octaves=4,
                    use_view_directions=False,
                    # The start shape's box is four field units wide; the fifth octave's waves are a tenth of that.
                    coordinate_scale=16.0,
                    start_shape=True,
                ),
                geometry="density",
                density=SOFT_DENSITY,
                start_shape=head_shape(),
                volume_sampler=VolumeSamplerConfig(num_coarse_samples=14, num_fine_samples=0, spacing="stratified"),
                pose_prior=HEADS,
            ),
            discriminator=PatchDiscriminatorConfig(resolution=16, base_channels=32, instance_norm=False),
            loss=photograph_losses(r1_weight=3.0),
        ),
    ),
    description="GRAF for a CPU: a small conditional NeRF at 32x32, shown in 16x16 patches (gan3d_ns).",
)

graf = MethodSpecification(
    config=GanTrainerConfig(
        method_name="graf",
        steps_per_save=2000,
        max_num_iterations=200_000,
        presets=collection_presets(WindowScheduleConfig()),
        curriculum=published_curriculum(128),
        patches=PatchScheduleConfig(size=32),
        opacity=NO_OPACITY_PRIOR,
        density_noise=DensityNoiseConfig(start=0.0),
        geometry_release_steps=3000,
        top_k=TopKConfig(enabled=False),
        ema_decay=0.999,
        steps_per_panel=1000,
        machine=machine(),
        optimizers=published_optimizers(),
        pipeline=GanPipelineConfig(
            datamanager=GanDataManagerConfig(collection=ImageCollectionConfig(background="black")),
            model=GanModelConfig(
                field="nerf",
                nerf=NerfFieldConfig(coordinate_scale=16.0, position_octaves=8, start_shape=True),
                geometry="density",
                density=SOFT_DENSITY,
                start_shape=head_shape(),
                volume_sampler=VolumeSamplerConfig(num_coarse_samples=32, num_fine_samples=0, spacing="stratified"),
                pose_prior=HEADS,
                eval_num_rays_per_chunk=32768,
            ),
            discriminator=PatchDiscriminatorConfig(),
            loss=photograph_losses(r1_weight=20.0),
        ),
    ),
    description="GRAF for one GPU: the published network with a start shape, 32x32 patches of 128x128 (gan3d_ns).",
)

graf_paper = MethodSpecification(
    config=GanTrainerConfig(
        method_name="graf-paper",
        steps_per_save=5000,
        # The release trains without end and keeps the best; the learning rates' last milestone, and half as much again.
        max_num_iterations=300_000,
        presets=published_presets(),
        base_preset="carla",
        curriculum=published_curriculum(128),
        patches=PatchScheduleConfig(size=32),
        opacity=NO_OPACITY_PRIOR,
        density_noise=DensityNoiseConfig(),
        top_k=TopKConfig(enabled=False),
        ema_decay=0.999,
        steps_per_panel=1000,
        machine=machine(),
        optimizers=published_optimizers(),
        pipeline=GanPipelineConfig(
            datamanager=GanDataManagerConfig(
                collection=ImageCollectionConfig(background="white"), horizontal_flip=False
            ),
            model=GanModelConfig(
                field="nerf",
                nerf=NerfFieldConfig(coordinate_scale=COORDINATE_SCALE),
                geometry="density",
                density=Density(activation="relu", unit_length=1.0 / COORDINATE_SCALE),
                volume_sampler=VolumeSamplerConfig(num_coarse_samples=64, num_fine_samples=0, spacing="stratified"),
                pose_prior=POSE_PRIOR_PRESETS["graf-carla"],
                background="white",
                eval_num_rays_per_chunk=8192,
            ),
            discriminator=PatchDiscriminatorConfig(),
            # The paper's penalty is 10 E|grad|^2, ours has a 1/2. The release's own is 1024 times as small, since it
            # averages over the pixels of a patch as well.
            loss=GanLossConfig(r1_weight=20.0, pose_weight=0.0, normal_weight=0.0),
            share_fakes=False,
        ),
    ),
    description="GRAF as published, --preset carla|celeba|cats|cub (gan3d_ns).",
)
