"""CAMPARI (Niemeyer and Geiger, 3DV 2021) in three sizes: an object, a background, and cameras that are learned."""

from dataclasses import replace
from typing import Any, Dict, Tuple

from nerfstudio.configs.base_config import LoggingConfig
from nerfstudio.plugins.types import MethodSpecification

from gan3d_ns.cameras.camera_generator import CameraGeneratorConfig
from gan3d_ns.cameras.pose_prior import PosePriorConfig
from gan3d_ns.data.datamanager import GanDataManagerConfig
from gan3d_ns.data.image_collection import ImageCollectionConfig
from gan3d_ns.discriminators.coord_residual import CoordResidualDiscriminatorConfig
from gan3d_ns.discriminators.small import SmallDiscriminatorConfig
from gan3d_ns.engine.keep_best import KeepBestConfig
from gan3d_ns.engine.schedules import CurriculumStage, DensityNoiseConfig, TopKConfig, WindowScheduleConfig
from gan3d_ns.engine.trainer_config import GanTrainerConfig
from gan3d_ns.fields.decomposed_field import DecomposedFieldConfig
from gan3d_ns.model_components.geometry import Density
from gan3d_ns.model_components.ray_samplers import VolumeSamplerConfig
from gan3d_ns.models.gan_model import GanModelConfig
from gan3d_ns.pipelines.gan_pipeline import GanLossConfig, GanPipelineConfig

from .common import HEADS, collection_presets, head_shape, machine, optimizers
from .graf import NO_OPACITY_PRIOR, SOFT_DENSITY, published_optimizers

BACKGROUND_RADIUS = 4.0 / 3.0
"""Our cameras stand at radius 1, the published ones at .75 inside of a sphere of 1."""


def decomposed_presets() -> Dict[str, Dict[str, Any]]:
    """Known collections, with a background field behind photographs in place of other methods' wall."""
    presets = collection_presets(WindowScheduleConfig())
    for preset in presets.values():
        photographs = preset["pipeline.model.background"] == "black"
        del preset["geometry_release_steps"]  # each size has its own
        preset.update(
            {
                "pipeline.model.decomposed.background_field": photographs,
                "pipeline.model.start_shape.backdrop": None,
                "pipeline.loss.coverage_weight": 0.0,
            }
        )
    return presets


def published_prior(all_around: bool) -> PosePriorConfig:
    """The released prior: the five or eight numbers of a camera vector have the standard deviation .15.

    Over the released ranges that is 13.5 degrees of rotation and elevation, and .0375 of the radius, which we draw
    evenly with the same deviation. All around, rotations are even and elevations too, up to .95 of a right angle. Near
    and far are the radius -+ .5.
    """
    radius_spread = 0.0375 * 3**0.5
    farthest = 0.75 + radius_spread
    return PosePriorConfig(
        distribution="uniform" if all_around else "gaussian",
        yaw_spread_deg=180.0 if all_around else 13.5,
        elevation_spread_deg=85.5 if all_around else 13.5,
        fov_deg=35.0,
        fov_std_deg=3.75,
        radius=0.75,
        radius_spread=radius_spread,
        near=farthest - 0.5,
        far=farthest + 0.5,
        planar_depth=True,
    )


def published_curriculum(batches: Tuple[int, int, int], samples: Tuple[int, int, int]) -> Tuple[CurriculumStage, ...]:
    """Sides of 32, from step 20,000 64 and from 70,000 128; samples change at 5,000 and 50,000 (released configs).

    The released rates would fall to a tenth every 150,000 steps, but its step count grows a thousandfold each iteration
    and nothing falls in effect: constant here.
    """
    return (
        CurriculumStage(0, 32, batches[0], num_samples=samples[0]),
        CurriculumStage(5_000, 32, batches[0], num_samples=samples[1]),
        CurriculumStage(20_000, 64, batches[1], num_samples=samples[1]),
        CurriculumStage(50_000, 64, batches[1], num_samples=samples[2]),
        CurriculumStage(70_000, 128, batches[2], num_samples=samples[2]),
    )


def published_presets() -> Dict[str, Dict[str, Any]]:
    """The released configs, one for each collection; for the toy cars that of CARLA."""

    def preset(
        all_around: bool,
        background: str,
        background_field: bool,
        batches: Tuple[int, int, int],
        samples: Tuple[int, int, int],
        noise_std: float,
        learn_intrinsics: bool = True,
        fov_deg: float = 35.0,
        release_step: int = 500,
    ) -> Dict[str, Any]:
        prior = published_prior(all_around)
        if not learn_intrinsics:
            prior = replace(prior, fov_deg=fov_deg, fov_std_deg=0.0)
        return {
            "pipeline.model.pose_prior": prior,
            "pipeline.model.camera_generator.parametrisation": "full" if all_around else "normal",
            "pipeline.model.camera_generator.learn_fov": learn_intrinsics,
            "pipeline.model.background": background,
            "pipeline.datamanager.collection.background": background,
            "pipeline.model.decomposed.background_field": background_field,
            "pipeline.model.decomposed.background_samples": max(1, samples[-1] // 4),
            "pipeline.model.volume_sampler.num_coarse_samples": samples[-1],
            "density_noise": DensityNoiseConfig(noise_std, 10_000, decay="none"),
            "curriculum": published_curriculum(batches, samples),
            "camera_release_step": release_step,
        }

    faces, cars = (64, 24, 20), (64, 20, 15)
    # The release splits its batches of 128x128 by loops of its own that accumulate gradients, here left to
    # the curriculum's batch_split.
    published = {
        "celeba": preset(False, "black", True, faces, (14, 20, 24), 1.0),
        "cats": preset(False, "black", False, faces, (14, 20, 20), 1.0),
        "carla": preset(True, "white", False, cars, (32, 42, 52), 2.0),
        "chairs": preset(
            True, "white", False, cars, (32, 42, 52), 2.0, learn_intrinsics=False, fov_deg=49.1, release_step=1000
        ),
    }
    return {**published, "procedural": published["carla"]}


PUBLISHED_CAMERAS = CameraGeneratorConfig(learn_fov=True, learn_radius=True, fov_range_deg=25.0, radius_range=0.25)

campari_tiny = MethodSpecification(
    config=GanTrainerConfig(
        method_name="campari-tiny",
        steps_per_save=1000,
        max_num_iterations=6000,
        presets=decomposed_presets(),
        curriculum=(
            CurriculumStage(0, 16, 8),
            CurriculumStage(2000, 32, 8),
            CurriculumStage(4500, 32, 8, lr_generator=5e-4, lr_discriminator=2.5e-4),
        ),
        fade_steps=500,
        fade_first_resolution=False,
        opacity=NO_OPACITY_PRIOR,
        density_noise=DensityNoiseConfig(start=0.0),
        geometry_release_steps=300,
        camera_release_step=300,
        top_k=TopKConfig(enabled=False),
        ema_decay=0.995,
        steps_per_panel=1000,
        keep_best=KeepBestConfig(interval=2000),
        machine=machine(),
        logging=LoggingConfig(steps_per_log=50),
        optimizers=optimizers(1e-3, 5e-4, beta2=0.99, max_norm=5.0),
        pipeline=GanPipelineConfig(
            datamanager=GanDataManagerConfig(collection=ImageCollectionConfig(background="black")),
            model=GanModelConfig(
                field="decomposed",
                decomposed=DecomposedFieldConfig(
                    shape_dim=32,
                    appearance_dim=32,
                    hidden_dim=64,
                    num_layers=3,
                    position_octaves=4,
                    background_octaves=6,
                    use_view_directions=False,
                    coordinate_scale=16.0,
                    background_radius=BACKGROUND_RADIUS,
                    background_samples=3,
                    background_activation="softplus",
                    start_shape=True,
                ),
                geometry="density",
                density=SOFT_DENSITY,
                start_shape=replace(head_shape(), backdrop=None),
                volume_sampler=VolumeSamplerConfig(num_coarse_samples=14, num_fine_samples=0, spacing="stratified"),
                pose_prior=HEADS,
                camera_law="learned",
                # A run of minutes: cameras reach their law before shapes have settled for the prior's.
                camera_generator=CameraGeneratorConfig(speed=5.0),
            ),
            discriminator=SmallDiscriminatorConfig(resolution=32),
            loss=GanLossConfig(r1_weight=3.0, penalty_interval=4, pose_weight=0.0, normal_weight=0.0),
        ),
    ),
    description="CAMPARI for a CPU: object and background networks at 32x32, learned cameras (gan3d_ns).",
)

campari = MethodSpecification(
    config=GanTrainerConfig(
        method_name="campari",
        steps_per_save=2000,
        max_num_iterations=200_000,
        presets=decomposed_presets(),
        curriculum=(CurriculumStage(0, 32, 32), CurriculumStage(20_000, 64, 24), CurriculumStage(70_000, 128, 16)),
        fade_steps=10_000,
        fade_first_resolution=False,
        opacity=NO_OPACITY_PRIOR,
        density_noise=DensityNoiseConfig(start=0.0),
        geometry_release_steps=1000,
        top_k=TopKConfig(enabled=False),
        ema_decay=0.999,
        steps_per_panel=1000,
        machine=machine(),
        optimizers=published_optimizers(),
        pipeline=GanPipelineConfig(
            datamanager=GanDataManagerConfig(collection=ImageCollectionConfig(background="black")),
            model=GanModelConfig(
                field="decomposed",
                decomposed=DecomposedFieldConfig(
                    coordinate_scale=16.0,
                    position_octaves=8,
                    background_radius=BACKGROUND_RADIUS,
                    background_samples=6,
                    background_activation="softplus",
                    start_shape=True,
                ),
                geometry="density",
                density=SOFT_DENSITY,
                start_shape=replace(head_shape(), backdrop=None),
                volume_sampler=VolumeSamplerConfig(num_coarse_samples=24, num_fine_samples=0, spacing="stratified"),
                pose_prior=HEADS,
                camera_law="learned",
                eval_num_rays_per_chunk=32768,
            ),
            discriminator=CoordResidualDiscriminatorConfig(),
            loss=GanLossConfig(r1_weight=80.0, pose_weight=0.0, normal_weight=0.0),
        ),
    ),
    description="CAMPARI for one GPU: the published networks with a start shape, up to 128x128 (gan3d_ns).",
)

campari_paper = MethodSpecification(
    config=GanTrainerConfig(
        method_name="campari-paper",
        steps_per_save=5000,
        max_num_iterations=400_000,
        presets=published_presets(),
        base_preset="celeba",
        curriculum=published_presets()["celeba"]["curriculum"],
        fade_steps=15_000,
        fade_first_resolution=False,
        opacity=NO_OPACITY_PRIOR,
        density_noise=published_presets()["celeba"]["density_noise"],
        top_k=TopKConfig(enabled=False),
        ema_decay=0.999,
        steps_per_panel=1000,
        machine=machine(),
        optimizers=published_optimizers(),
        pipeline=GanPipelineConfig(
            datamanager=GanDataManagerConfig(
                collection=ImageCollectionConfig(background="black"), horizontal_flip=False
            ),
            model=GanModelConfig(
                field="decomposed",
                decomposed=DecomposedFieldConfig(background_samples=6),
                geometry="density",
                # The last interval is far - t: nothing without jitter, and with it less than one of the others.
                density=Density(activation="relu", last_interval=0.0),
                volume_sampler=VolumeSamplerConfig(num_coarse_samples=24, num_fine_samples=0, spacing="stratified"),
                pose_prior=published_prior(all_around=False),
                camera_law="learned",
                camera_generator=replace(PUBLISHED_CAMERAS, parametrisation="normal"),
                eval_num_rays_per_chunk=8192,
            ),
            discriminator=CoordResidualDiscriminatorConfig(),
            # 10 E|grad|^2 over colours in [0, 1] is 80 times our 1/2 E|grad|^2 over [-1, 1].
            loss=GanLossConfig(r1_weight=80.0, pose_weight=0.0, normal_weight=0.0),
            share_fakes=False,
        ),
    ),
    description="CAMPARI as published, --preset celeba|cats|carla|chairs (gan3d_ns).",
)
