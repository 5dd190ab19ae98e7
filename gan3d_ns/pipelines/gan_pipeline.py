"""Generator against discriminator: the two phases of a training step, each a dictionary of losses."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Literal, Optional, Tuple, Type, Union

import torch
import tyro
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.pipelines.base_pipeline import VanillaPipeline, VanillaPipelineConfig
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor
from torch.amp.grad_scaler import GradScaler
from torch.nn import Parameter
from typing_extensions import Annotated

from gan3d_ns.cameras.patches import Patches
from gan3d_ns.cameras.viewpoints import Viewpoints
from gan3d_ns.data.datamanager import GanDataManager, GanDataManagerConfig
from gan3d_ns.discriminators.base import Discriminator, DiscriminatorConfig
from gan3d_ns.discriminators.shared_batch import SharedBatch, Total
from gan3d_ns.discriminators.small import SmallDiscriminatorConfig
from gan3d_ns.errors import UserError
from gan3d_ns.exporter.object_files import FILE_KINDS, write_object
from gan3d_ns.fields.base_field import Styles
from gan3d_ns.metrics.evaluation import Evaluation, RealCollection
from gan3d_ns.metrics.scores import score_measures
from gan3d_ns.metrics.settings import EvaluationConfig
from gan3d_ns.model_components import losses
from gan3d_ns.model_components.augmentation import NUM_UNIFORMS, Showing, augmentation_uniforms, diff_augment
from gan3d_ns.model_components.packing import pack_rows
from gan3d_ns.model_components.path_length import PathLengthRegulariser
from gan3d_ns.model_components.ray_samplers import SurfaceWindowSampler, VolumeSampler
from gan3d_ns.model_components.sampling import points_at
from gan3d_ns.models.gan_model import OUTPUT_NAMES, GanModel, GanModelConfig
from gan3d_ns.pipelines.batch_parts import kept_together
from gan3d_ns.pipelines.checkpoint_state import fitted_state
from gan3d_ns.pipelines.loss_config import GanLossConfig
from gan3d_ns.pipelines.path_length import num_measured, path_length_penalty
from gan3d_ns.pipelines.step import Draw, Fakes, Found, Pictures, Purpose, StepPlan, shown_as
from gan3d_ns.pipelines.style_mixing import draw_style_mixing, mixed_styles
from gan3d_ns.viewer.export_controls import ExportControls, Write
from gan3d_ns.viewer.health_panel import HealthPanel
from gan3d_ns.viewer.prior_panel import PriorPanel
from gan3d_ns.viewer.surface_controls import SurfaceControls

LARGEST_SEED = 2**31
LARGEST_PERIODIC_SPREAD_DEG = 90.0
"""Beyond this half range of yaw the pose loss is measured around the circle."""


@dataclass
class GanPipelineConfig(VanillaPipelineConfig):
    """A generator, its opponent and their losses."""

    _target: Type = field(default_factory=lambda: GanPipeline)
    """target class to instantiate"""
    datamanager: GanDataManagerConfig = field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default_factory=GanDataManagerConfig
    )
    """The pictures."""
    model: GanModelConfig = field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default_factory=GanModelConfig
    )
    """The generator and how it is shown."""
    discriminator: DiscriminatorConfig = field(default_factory=SmallDiscriminatorConfig)
    """The opponent. Its resolution must cover the curriculum's largest."""
    loss: GanLossConfig = field(default_factory=GanLossConfig)
    """What is minimised."""
    resolutions: Annotated[Tuple[Tuple[int, int], ...], tyro.conf.Suppress] = ()
    """Sides of the training's pictures in pixels, each with the step that it begins at: filled in from the
    curriculum."""
    knows_pictures: Annotated[bool, tyro.conf.Suppress] = True
    """Whether it is known what the weights were trained on: not of imported ones."""
    share_fakes: bool = True
    """Show the discriminator the pictures that then train the generator: one rendering a step instead of two, or, where
    a batch is split, one search. The published methods draw new ones."""
    augmentation: Literal["none", "diffaug"] = "none"
    """diffaug: the discriminator sees all pictures, real and generated, through random changes of colour, place and
    visible part (Zhao et al. 2020), which keeps it from learning collections of hundreds of pictures by heart."""


class GanPipeline(VanillaPipeline):
    """nerfstudio's pipeline with a discriminator beside the model.

    Raises:
        UserError: on a checkpoint that does not fit this method.
    """

    config: GanPipelineConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    datamanager: GanDataManager  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(
        self,
        config: GanPipelineConfig,
        device: Union[str, torch.device],
        test_mode: Literal["test", "val", "inference"] = "val",
        world_size: int = 1,
        local_rank: int = 0,
        grad_scaler: Optional[GradScaler] = None,
    ) -> None:
        config.datamanager.dataparser.pose_prior = config.model.pose_prior
        # nerfstudio would average the gradients of `model.forward` alone, which no training calls.
        super().__init__(config, device, test_mode, 1, local_rank, grad_scaler)  # pyright: ignore
        prior = self.model.pose_prior
        # The published estimate starts at 0; ours starts at the prior's mean.
        self.discriminator: Discriminator = config.discriminator.setup(pose_centre=prior.mean_pose())
        self.discriminator.to(device)
        self.health, self.prior_panel = HealthPanel(), PriorPanel(lambda: self.model.pose_prior)
        self.path_length = PathLengthRegulariser().to(device) if config.loss.path_length_weight > 0 else None
        self.total: Total = torch.Tensor.detach
        """Sums numbers over the processes of a training; the training engine sets it."""
        self.score_measures: Dict[str, Tensor] = {}
        """How the discriminator told the last step's pictures apart, see ``metrics.scores``."""
        self.surface_controls = SurfaceControls(
            OUTPUT_NAMES,
            self.model.generator.geometry.level,
            self.model.show_level,
            ExportControls(FILE_KINDS, self.prepare_export),
        )
        moved = self.model.generator.camera_generator
        around = moved is not None and moved.parametrisation == "full"
        self.periodic_yaw = around or config.model.pose_prior.yaw_spread_deg > LARGEST_PERIODIC_SPREAD_DEG

    @property
    def model(self) -> GanModel:  # pyright: ignore[reportIncompatibleMethodOverride]
        model = super().model
        assert isinstance(model, GanModel)
        return model

    def prepare_export(self, kind: str, resolution: int) -> Write:
        """Copies the shown object; what is returned writes it to a file, see `write_object`."""
        model = self.model.still_copy()
        return lambda folder, progress: write_object(model, kind, resolution, folder, progress)

    def set_window(self, half_width: float) -> None:
        """Sets the half width of the sampled window, where there is one, for the generator and its average."""
        for generator in (self.model.generator, self.model.generator_ema):
            if isinstance(generator.sampler, SurfaceWindowSampler):
                generator.sampler.half_width.fill_(half_width)

    def set_density_noise(self, std: float) -> None:
        """Sets the standard deviation of the noise on raw values that densities are trained with."""
        generator = self.model.generator
        generator.field.backdrop_noise_std = std
        if isinstance(generator.sampler, VolumeSampler):
            generator.sampler.noise_std = std

    def set_num_samples(self, num_samples: Optional[int]) -> None:
        """Sets how many samples densities take over the whole of each ray in training; None: as configured."""
        sampler = self.model.generator.sampler
        if isinstance(sampler, VolumeSampler):
            sampler.num_training_samples = num_samples

    def release_cameras(self, amount: float) -> None:
        """Lets the camera generator, where there is one, move the cameras (1), or not yet (0); its average too."""
        for generator in (self.model.generator, self.model.generator_ema):
            if generator.camera_generator is not None:
                generator.camera_generator.release(amount)

    def grow_to(self, side: int, fade: float) -> None:
        """Sets the side of the pictures that a neural renderer makes, for the generator and its average."""
        for generator in (self.model.generator, self.model.generator_ema):
            if generator.neural_renderer is not None:
                generator.neural_renderer.grow_to(side, fade)

    def release_geometry(self, amount: float) -> None:
        """Sets how far geometry may leave the field's start shape, for the generator and its average."""
        for generator in (self.model.generator, self.model.generator_ema):
            generator.field.release_geometry(amount)

    @torch.no_grad()
    def update_prior_grid(self, step: int, draw: Draw, randomness: torch.Generator) -> bool:
        """Lets the prior grid, where there is one, look at a step's objects; returns whether its turn had come.

        Args:
            step: steps since the weights were new.
        """
        grid, model = self.model.prior_grid, self.model
        if grid is None or step % grid.config.update_interval != 0:
            return False
        prior, generator, seen = model.config.pose_prior, model.generator, draw[: grid.config.num_latents]
        spacing = (prior.far - prior.near) / (generator.sampler.num_coarse_samples - 1)
        styles = mixed_styles(generator, seen.latents, seen.mixing)
        grid.update(generator.field, generator.geometry, styles, spacing, randomness)
        return True

    def draw(self, count: int, side: int, randomness: torch.Generator, patches: Optional[Patches] = None) -> Draw:
        """Random latents, poses, and neighbours for the normals of ``count`` pictures of ``side`` x ``side`` pixels."""
        config, device = self.config.loss, randomness.device
        latents = torch.randn(count, self.model.generator.field.latent_dim, generator=randomness, device=device)
        viewpoints = self.model.cameras.drawn.sample_viewpoints(count, randomness, self.device)
        renderer = self.model.generator.neural_renderer
        num_rays = (side if renderer is None else renderer.ray_side) ** 2
        rays = torch.arange(num_rays, device=device)
        if config.normal_weight == 0:
            rays = rays[:0]
        elif config.normal_ray_fraction < 1.0:
            compared = max(1, round(config.normal_ray_fraction * num_rays))
            rays = torch.randperm(num_rays, generator=randomness, device=device)[:compared]
        origins = torch.zeros(count, rays.shape[0], 3, device=device)
        offsets = losses.neighbour_points(origins, config.normal_distance, randomness)
        augmentation = torch.zeros(count, 0, NUM_UNIFORMS, device=device)
        if self.config.augmentation == "diffaug":
            augmentation = augmentation_uniforms(count, randomness)
        mixing = None
        if config.style_mixing > 0:
            mixing = draw_style_mixing(self.model.generator, count, config.style_mixing, randomness)
        seeds = torch.randint(LARGEST_SEED, (count,), generator=randomness, device=device).tolist()
        return Draw(latents, viewpoints, rays, offsets, side, augmentation, patches, mixing, tuple(seeds))

    def shown(
        self, images: Float[Tensor, "batch 3 side side"], draw: Draw, showing: Showing
    ) -> Float[Tensor, "batch 3 side side"]:
        """The images as the discriminator sees them, augmented as this showing of the draw says."""
        if self.config.augmentation == "none":
            return images
        return diff_augment(images, draw.augmentation[:, showing])

    def draw_batch(self, plan: StepPlan, randomness: torch.Generator) -> Draw:
        """What a step's pictures are drawn from, those of other processes too."""
        patches = plan.draw_patches(plan.batch_size, randomness)
        return self.draw(plan.batch_size, plan.side, randomness, patches)

    def real_batch(self, plan: StepPlan, randomness: torch.Generator) -> Float[Tensor, "batch 3 side side"]:
        """This process's share of a step's real pictures, or the patches of them that are shown."""
        share = plan.share
        count = share.stop - share.start
        real = self.datamanager.real_batch(plan.position + share.start, count, plan.resolution, plan.seed)
        patches = plan.draw_patches(plan.batch_size, randomness)
        return real if patches is None else patches[share].of(real)

    def viewpoints(self, draw: Draw) -> Viewpoints:
        """The cameras of each picture; gradients reach a generator of cameras. Never in half precision."""
        moved = self.model.generator.camera_generator
        with losses.full_precision(draw.viewpoints.poses):
            return draw.viewpoints if moved is None else moved(draw.viewpoints)

    def rays(self, draw: Draw, viewpoints: Viewpoints) -> RayBundle:
        """The rays of each picture; never in half precision, whose steps are as wide as pixels."""
        prior = self.model.cameras.drawn
        with losses.full_precision(viewpoints.poses):
            if draw.patches is not None:
                return prior.viewpoint_rays_at(viewpoints, draw.patches.coordinates())
            return self.model.generator.picture_rays(prior, viewpoints, draw.side)

    def search(self, draw: Draw) -> Found:
        """The distances that each picture's rays will be composited at, jittered, and its surface."""
        with torch.no_grad():
            styles = mixed_styles(self.model.generator, draw.latents, draw.mixing)
            return self.found_along(self.rays(draw, self.viewpoints(draw)), draw, styles)

    def found_along(self, rays: RayBundle, draw: Draw, styles: Styles) -> Found:
        """The search along the rays of a draw."""
        generator, jitter = self.model.generator, draw.randomness(Purpose.SEARCH)
        distances, hits = generator.sampler(
            rays,
            lambda positions: generator.field.geometry_logits(positions, styles),
            jitter=jitter,
            grid=self.model.training_grid(),
        )
        return Found(distances, hits, generator.sampler.value_noise(distances, jitter, generator.field.num_parts))

    def search_parts(self, draw: Draw, plan: StepPlan) -> List[Optional[Found]]:
        """The search of each part of a batch, before any is rendered; None where there is but one part."""
        parts = plan.parts()
        return [None] if len(parts) == 1 else [self.search(draw[part]) for part in parts]

    def render(self, draw: Draw, found: Optional[Found] = None) -> Fakes:
        """The pictures of a draw, with jittered samples; ``found`` saves the search."""
        viewpoints, generator = self.viewpoints(draw), self.model.generator
        rays, styles = self.rays(draw, viewpoints), mixed_styles(generator, draw.latents, draw.mixing)
        if found is None:
            found = self.found_along(rays, draw, styles)
        jitter, grid = draw.randomness(Purpose.COMPOSITING), self.model.training_grid()
        render = generator.composite(styles, rays, found.distances, found.hits, grid, found.noise, jitter)
        images = shown_as(generator.pictures(render, styles, jitter))
        return Fakes(images, draw, viewpoints.detach(), styles, rays, render)

    def generate(self, count: int, resolution: int, randomness: torch.Generator) -> Fakes:
        """Pictures of random latents from random poses, with jittered samples."""
        return self.render(self.draw(count, resolution, randomness))

    @contextmanager
    def looking_at(self, shared: Optional[SharedBatch]) -> Iterator[None]:
        """Lets the discriminator compare pictures with those of other processes, which look at theirs meanwhile."""
        self.discriminator.shared_batch = shared
        try:
            yield
        finally:
            self.discriminator.shared_batch = None

    def discriminator_losses(
        self, plan: StepPlan, real: Float[Tensor, "batch 3 side side"], fakes: Pictures
    ) -> Dict[str, Float[Tensor, ""]]:
        """Losses of the discriminator's phase; the generator gets no gradient from them."""
        config = self.config.loss
        self.discriminator.requires_grad_(True)
        real = self.shown(real, fakes.draw, Showing.REAL_TO_DISCRIMINATOR)
        fake = self.shown(fakes.images.detach(), fakes.draw, Showing.FAKE_TO_DISCRIMINATOR)
        real = real.requires_grad_(plan.penalise and config.r1_weight > 0)
        fake = fake.requires_grad_(plan.penalise and config.r2_weight > 0)
        penalised = real.requires_grad or fake.requires_grad
        with losses.full_precision(real) if penalised else torch.enable_grad():
            on_real, on_fake = self.discriminator(real, plan.fade), self.discriminator(fake.float(), plan.fade)
        self.score_measures = score_measures(on_real.score, on_fake.score)
        if config.adversarial == "relativistic":
            adversarial = losses.relativistic_discriminator_loss(on_fake.score, on_real.score)
        else:
            adversarial = losses.non_saturating_discriminator_loss(on_real.score, on_fake.score)
        terms = {"d_adversarial": adversarial}
        if on_fake.pose is not None and config.pose_weight > 0:
            terms["d_pose"] = config.pose_weight * losses.pose_loss(on_fake.pose, fakes.poses, self.periodic_yaw)
        if real.requires_grad:
            weight = config.r1_weight * config.penalty_interval
            terms["d_r1"] = weight * losses.r1_penalty(on_real.score, real)
        if fake.requires_grad:
            weight = config.r2_weight * config.penalty_interval
            terms["d_r2"] = weight * losses.r1_penalty(on_fake.score, fake)
        return terms

    def generator_losses(
        self, plan: StepPlan, real: Float[Tensor, "batch 3 side side"], fakes: Fakes
    ) -> Dict[str, Float[Tensor, ""]]:
        """Losses of the generator's phase. The discriminator is frozen, so that its optimizer has nothing to step."""
        config = self.config.loss
        self.discriminator.requires_grad_(False)
        on_fake = self.discriminator(self.shown(fakes.images, fakes.draw, Showing.FAKE_TO_GENERATOR), plan.fade)
        kept, weight = kept_together(on_fake.score, plan.top_k_fraction, self.discriminator.shared_batch)
        if config.adversarial == "relativistic":
            with torch.no_grad():
                shown_real = self.shown(real.detach(), fakes.draw, Showing.REAL_TO_GENERATOR)
                score_real = self.discriminator(shown_real, plan.fade).score
            adversarial = losses.relativistic_generator_loss(on_fake.score[kept], score_real[kept])
        else:
            adversarial = losses.non_saturating_generator_loss(on_fake.score[kept])
        # None of this process's pictures may be among the best of all, whose mean is then not a number.
        terms = {"g_adversarial": weight * adversarial if len(kept) > 0 else 0.0 * on_fake.score.sum()}
        if on_fake.pose is not None and config.pose_weight > 0:
            terms["g_pose"] = config.pose_weight * losses.pose_loss(on_fake.pose, fakes.poses, self.periodic_yaw)
        if self.model.generator.geometry.kind == "occupancy" and plan.opacity_weight > 0:
            terms["g_opacity"] = plan.opacity_weight * losses.opacity_prior(fakes.render.geometry_values)
        if config.coverage_weight > 0:
            terms["g_coverage"] = config.coverage_weight * (1.0 - fakes.render.accumulation).mean()
        if self.path_length is not None and plan.measure_paths:
            grid, weight = self.model.training_grid(), config.path_length_weight * config.path_length_interval
            measured = num_measured(slice(0, plan.batch_size))
            penalty = path_length_penalty(self.model.generator, fakes, self.path_length, grid, measured, self.total)
            terms["g_path"] = weight * penalty
        if config.normal_weight > 0:
            terms["g_normal"] = config.normal_weight * self.normal_smoothness(fakes)
        return terms

    def normal_smoothness(self, fakes: Fakes) -> Float[Tensor, ""]:
        """Mean squared difference of the normals at surface points and at random neighbours (GOF, section 3.3).

        The field is asked at the compared rays that hit something, packed to the front of their picture's row.
        """
        chosen = fakes.draw.compared_rays
        packed = pack_rows(fakes.render.hit[:, chosen])
        if packed.width == 0:
            return torch.zeros((), device=self.device)
        points = packed.pack(points_at(fakes.rays, fakes.render.surface_depth)[:, chosen])
        neighbours = points + packed.pack(fakes.draw.neighbour_offsets)
        normals = self.model.generator.field.normals(torch.cat((points, neighbours), dim=1), fakes.styles)
        return losses.normal_smoothness(normals[:, : packed.width], normals[:, packed.width :], packed.valid)

    def get_train_loss_dict(self, step: int) -> Tuple[Any, Dict[str, Tensor], Dict[str, Tensor]]:
        """Refuses: two opponents cannot share one loss; GanTrainer runs the phases."""
        raise UserError("this pipeline trains in two phases; run it with gan3d_ns.engine.gan_trainer.GanTrainer.")

    def get_eval_loss_dict(self, step: int) -> Tuple[Any, Dict[str, Tensor], Dict[str, Tensor]]:
        """How the discriminator scores the averaged generator on fixed latents and poses."""
        randomness = torch.Generator(device=self.device).manual_seed(0)
        resolution = self.config.discriminator.resolution
        model = self.model
        with torch.no_grad():
            latents = torch.randn(4, model.generator_ema.field.latent_dim, generator=randomness, device=self.device)
            viewpoints, generator = model.sample_viewpoints(4, randomness, self.device), model.generator_ema
            styles = generator.styles(latents)
            rendered = generator.render(styles, generator.picture_rays(model.cameras.drawn, viewpoints, resolution))
            scores = self.discriminator(shown_as(generator.pictures(rendered, styles))).score
            loss = losses.non_saturating_generator_loss(scores)
        return None, {"g_adversarial": loss}, {}

    def real_pictures(self, folder: Optional[Path] = None) -> RealCollection:
        """The pictures that generated ones are compared with: those of the training, or of another folder."""
        config = self.config.datamanager
        trained = config.data or config.dataparser.data
        sides = self.config.resolutions or ((0, self.config.discriminator.resolution),)
        now = [side for start, side in sides if start <= self.model.step]
        stored = max(side for _, side in sides)
        return RealCollection(
            folder or trained,
            config.collection,
            now[-1],
            stored,
            trained,
            folder is not None or self.config.knows_pictures,
            config.built_in,
        )

    def get_average_eval_image_metrics(
        self, step: Optional[int] = None, output_path: Optional[Path] = None, get_std: bool = False
    ) -> Dict[str, float]:
        """For ns-eval: what a model has to say of the virtual views, and the picture metrics of `gan3d eval`.

        Raises:
            UserError: the training pictures are gone or too few, or the feature network is out of reach. While a
                training goes on (``step`` is given) this is only said.
        """
        try:
            records = Evaluation(self.model, self.real_pictures(), EvaluationConfig()).measure("pictures")
        except UserError as error:
            if step is None:
                raise
            CONSOLE.print(f"Pictures could not be measured: {error}", style="yellow", soft_wrap=True, markup=False)
            records = []
        results = super().get_average_eval_image_metrics(step, output_path, get_std)
        for record in records:
            results[record.heading] = record.value
            if get_std and record.deviation is not None:
                results[f"{record.heading} std"] = record.deviation
            if record.floor is not None:
                results[f"{record.heading} floor"] = record.floor
        return results

    def get_param_groups(self) -> Dict[str, List[Parameter]]:
        return {**self.model.get_param_groups(), "discriminator": list(self.discriminator.parameters())}

    def load_pipeline(self, loaded_state: Dict[str, Any], step: int) -> None:
        """Loads generator, average and discriminator, all names and shapes checked.

        Raises:
            UserError: where the checkpoint belongs to another method or other sizes.
        """
        state = fitted_state(self, self.model, loaded_state)
        self.model.update_to_step(step)
        torch.nn.Module.load_state_dict(self, state, strict=True)
