"""Generative Occupancy Fields (Xu et al., NeurIPS 2021) in three sizes: for a CPU, for one GPU, as published."""

from typing import Any, Dict

from nerfstudio.configs.base_config import LoggingConfig
from nerfstudio.plugins.types import MethodSpecification

from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS
from gan3d_ns.data.datamanager import GanDataManagerConfig
from gan3d_ns.data.image_collection import ImageCollectionConfig
from gan3d_ns.discriminators.progressive import ProgressiveDiscriminatorConfig
from gan3d_ns.discriminators.small import SmallDiscriminatorConfig
from gan3d_ns.engine.schedules import CurriculumStage, OpacityWeightConfig, TopKConfig, WindowScheduleConfig
from gan3d_ns.engine.trainer_config import GanTrainerConfig
from gan3d_ns.field_components.hash_encoding import HashTableConfig
from gan3d_ns.fields.film_siren_field import FilmSirenFieldConfig
from gan3d_ns.fields.hash_grid_field import HashGridFieldConfig
from gan3d_ns.fields.tri_plane_field import TriPlaneFieldConfig
from gan3d_ns.model_components.ray_samplers import SurfaceWindowSamplerConfig
from gan3d_ns.models.gan_model import GanModelConfig
from gan3d_ns.pipelines.gan_pipeline import GanLossConfig, GanPipelineConfig

from .common import HEADS, collection_presets, head_shape, machine, optimizers, photograph_loss


def published_presets() -> Dict[str, Dict[str, Any]]:
    """GOF's curricula (released code, curriculums.py), one for each collection; for the toy cars that of CelebA."""

    def preset(
        prior: str,
        flip: bool,
        stages: tuple[tuple[int, int, int, float, float], ...],
        end: int,
        window: WindowScheduleConfig,
        opacity: OpacityWeightConfig,
        normals: tuple[float, float],
        samples: tuple[int, int],
        crop_size: int | None,
    ) -> Dict[str, Any]:
        curriculum = tuple(
            CurriculumStage(start, resolution, batch, lr_g, lr_d, batch_split=2 if resolution == 128 else 1)
            for start, resolution, batch, lr_g, lr_d in stages
        )
        return {
            "pipeline.model.pose_prior": POSE_PRIOR_PRESETS[prior],
            "pipeline.model.background": "black",
            "pipeline.datamanager.collection.background": "black",
            "pipeline.datamanager.horizontal_flip": flip,
            "pipeline.datamanager.collection.crop_size": crop_size,
            "pipeline.model.sampler.num_window_samples": samples[0],
            "pipeline.model.sampler.num_fine_samples": samples[1],
            "pipeline.loss.normal_weight": normals[0],
            "pipeline.loss.normal_distance": normals[1],
            "curriculum": curriculum,
            "max_num_iterations": end,
            "window": window,
            "opacity": opacity,
        }

    published = {
        "bfm": preset(
            "bfm",
            True,
            ((0, 32, 16, 5e-5, 2e-4), (10_000, 64, 8, 5e-5, 2e-4), (60_000, 128, 4, 4e-6, 2e-5)),
            80_000,
            WindowScheduleConfig(0.12, 0.02, 3e-5),
            OpacityWeightConfig(0.1, 4e-5),
            (0.01, 1e-3),
            (12, 3),
            170,
        ),
        "celeba": preset(
            "celeba",
            True,
            ((0, 32, 16, 5e-5, 2e-4), (20_000, 64, 8, 5e-5, 2e-4), (160_000, 128, 4, 4e-6, 2e-5)),
            200_000,
            WindowScheduleConfig(0.12, 0.03, 1e-5),
            OpacityWeightConfig(0.05, 0.5e-5),
            (0.05, 1e-2),
            (9, 6),
            142,
        ),
        "cats": preset(
            "cats",
            True,
            ((0, 32, 16, 4e-5, 2e-4), (5_000, 64, 8, 4e-5, 2e-4), (30_000, 128, 4, 4e-6, 2e-5)),
            40_000,
            WindowScheduleConfig(0.2, 0.1, 2e-5),
            OpacityWeightConfig(0.05, 1e-5),
            (0.05, 1e-2),
            (9, 6),
            None,
        ),
    }
    toy_cars = {
        "pipeline.model.pose_prior": POSE_PRIOR_PRESETS["procedural"],
        "pipeline.model.background": "white",
        "pipeline.datamanager.collection.background": "white",
        "pipeline.datamanager.collection.crop_size": None,
    }
    return {**published, "procedural": {**published["celeba"], **toy_cars}}


TINY_WINDOW = WindowScheduleConfig(start=0.12, end=0.03, decay=2.5e-4)
FULL_WINDOW = WindowScheduleConfig(start=0.12, end=0.02, decay=3e-5)

gof_gan_tiny = MethodSpecification(
    config=GanTrainerConfig(
        method_name="gof-gan-tiny",
        steps_per_save=1000,
        max_num_iterations=6000,
        presets=collection_presets(TINY_WINDOW),
        # The first 6000 steps are a run of minutes; --max-num-iterations 12000 goes on at 64x64.
        curriculum=(
            CurriculumStage(0, 32, 8),
            CurriculumStage(3000, 32, 8, lr_generator=5e-4, lr_discriminator=2.5e-4),
            CurriculumStage(4500, 32, 8, lr_generator=2.5e-4, lr_discriminator=1.25e-4),
            CurriculumStage(6000, 64, 8, lr_generator=5e-4, lr_discriminator=2.5e-4),
        ),
        fade_steps=1000,
        fade_first_resolution=False,
        window=TINY_WINDOW,
        # Constant: a growing weight drove all logits to their bounds, and surfaces into rims and pits.
        opacity=OpacityWeightConfig(start=0.02, growth=0.0),
        # On photographs about half of the starts pressed faces into heads within their first 1000 steps.
        hollow_reseeds=2,
        geometry_release_steps=3000,
        top_k=TopKConfig(enabled=False),
        ema_decay=0.995,
        machine=machine(),
        logging=LoggingConfig(steps_per_log=50),
        optimizers=optimizers(1e-3, 5e-4, beta2=0.99, max_norm=5.0),
        pipeline=GanPipelineConfig(
            datamanager=GanDataManagerConfig(collection=ImageCollectionConfig(background="black")),
            model=GanModelConfig(
                field="tri-plane",
                start_shape=head_shape(),
                sampler=SurfaceWindowSamplerConfig(num_coarse_samples=8, num_window_samples=8, num_fine_samples=0),
                pose_prior=HEADS,
            ),
            discriminator=SmallDiscriminatorConfig(resolution=64),
            loss=photograph_loss(),
        ),
    ),
    description="GOF for a CPU: tri-plane occupancy field at 32x32, minutes to first faces (gan3d_ns).",
)

gof_gan = MethodSpecification(
    config=GanTrainerConfig(
        method_name="gof-gan",
        steps_per_save=2000,
        max_num_iterations=100_000,
        presets=collection_presets(FULL_WINDOW),
        curriculum=(CurriculumStage(0, 32, 32), CurriculumStage(10_000, 64, 32), CurriculumStage(50_000, 128, 16)),
        fade_steps=5000,
        fade_first_resolution=False,
        window=FULL_WINDOW,
        opacity=OpacityWeightConfig(start=0.02, growth=0.0),
        hollow_reseeds=2,
        geometry_release_steps=3000,
        top_k=TopKConfig(enabled=False),
        ema_decay=0.999,
        steps_per_panel=1000,
        machine=machine(),
        optimizers=optimizers(1e-3, 1e-3, beta2=0.99, max_norm=5.0),
        pipeline=GanPipelineConfig(
            datamanager=GanDataManagerConfig(collection=ImageCollectionConfig(background="black")),
            model=GanModelConfig(
                field="tri-plane",
                start_shape=head_shape(),
                tri_plane=TriPlaneFieldConfig(
                    latent_dim=256,
                    generator_channels=(256, 256, 256, 128, 64, 64),
                    plane_channels=24,
                    decoder_dim=64,
                ),
                # With --pipeline.model.field hash; sized for tiny-cuda-nn, not trained yet.
                hash_grid=HashGridFieldConfig(
                    latent_dim=256,
                    geometry=HashTableConfig(4, 8, 64, features_per_level=4, log2_table_size=16),
                    colour=HashTableConfig(8, 8, 256, features_per_level=4, log2_table_size=19),
                    hidden_dim=128,
                ),
                sampler=SurfaceWindowSamplerConfig(num_coarse_samples=16, num_window_samples=12, num_fine_samples=4),
                pose_prior=HEADS,
                eval_num_rays_per_chunk=32768,
            ),
            discriminator=SmallDiscriminatorConfig(resolution=128, base_channels=128, max_channels=512),
            loss=photograph_loss(),
        ),
    ),
    description="GOF for one GPU: larger tri-planes, up to 128x128, hours (gan3d_ns).",
)

gof_gan_paper = MethodSpecification(
    config=GanTrainerConfig(
        method_name="gof-gan-paper",
        steps_per_save=2000,
        max_num_iterations=published_presets()["celeba"]["max_num_iterations"],
        presets=published_presets(),
        base_preset="celeba",
        curriculum=published_presets()["celeba"]["curriculum"],
        fade_steps=10_000,
        window=published_presets()["celeba"]["window"],
        opacity=published_presets()["celeba"]["opacity"],
        top_k=TopKConfig(),
        mapping_lr_factor=0.05,
        ema_decay=0.999,
        steps_per_panel=1000,
        machine=machine(),
        mixed_precision=True,
        optimizers=optimizers(5e-5, 2e-4, beta2=0.9, max_norm=1.0),
        pipeline=GanPipelineConfig(
            datamanager=GanDataManagerConfig(collection=ImageCollectionConfig(background="black", crop_size=142)),
            model=GanModelConfig(
                field="film-siren",
                film_siren=FilmSirenFieldConfig(),
                sampler=SurfaceWindowSamplerConfig(),
                pose_prior=POSE_PRIOR_PRESETS["celeba"],
            ),
            discriminator=ProgressiveDiscriminatorConfig(),
            loss=GanLossConfig(),
            share_fakes=False,
        ),
    ),
    description="GOF as published: FiLM-SIREN and the authors' curricula, --preset bfm|celeba|cats (gan3d_ns).",
)
