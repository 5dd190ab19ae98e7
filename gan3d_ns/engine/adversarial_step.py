"""One step of the two opponents: discriminator phase, generator phase, moving average."""

import hashlib
from dataclasses import dataclass, field, replace
from typing import Dict, List, Tuple

import torch
from nerfstudio.engine.optimizers import Optimizers
from torch import Tensor
from torch.amp.grad_scaler import GradScaler

from gan3d_ns.engine.ema import decay_with_warmup, update_ema
from gan3d_ns.engine.failures import check_losses
from gan3d_ns.engine.processes import Processes
from gan3d_ns.engine.schedules import CurriculumStage, fade_alpha, fade_at, stage_at
from gan3d_ns.engine.stopping import StopRequest
from gan3d_ns.engine.trainer_config import GanTrainerConfig
from gan3d_ns.pipelines.batch_parts import Weights, part_weights, weighted
from gan3d_ns.pipelines.gan_pipeline import GanPipeline
from gan3d_ns.pipelines.step import Fakes, Pictures, StepPlan

SMALLEST_LOSS_SCALE = 1.0
"""GOF's release keeps the loss scale of half precision from falling below this."""

Numbers = Dict[str, Tensor]
"""Terms of a loss, or measures, by their names."""


def step_randomness(seed: int, step: int, device: str) -> torch.Generator:
    """The random numbers of one step: a function of (seed, step), so that nothing has to be saved to resume."""
    digest = hashlib.blake2b(f"{seed}:{step}:0".encode(), digest_size=4).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest, "little"))


def pictures_before(stages: Tuple[CurriculumStage, ...], step: int) -> int:
    """Real pictures that the steps before ``step`` have consumed."""
    total = 0
    for index, stage in enumerate(stages):
        end = stages[index + 1].start_step if index + 1 < len(stages) else step
        total += stage.batch_size * max(0, min(end, step) - stage.start_step)
    return total


def plan_of(config: GanTrainerConfig, step: int, started_at: int) -> StepPlan:
    """What the schedules say about a step of weights that were new at the step ``started_at``."""
    stage = stage_at(config.curriculum, step)
    unfaded = stage.resolution == config.curriculum[0].resolution and not config.fade_first_resolution
    return StepPlan(
        resolution=stage.resolution,
        batch_size=stage.batch_size,
        position=pictures_before(config.curriculum, step),
        seed=config.machine.seed,
        window_half_width=config.window.value(step),
        opacity_weight=config.opacity.value(step),
        geometry_release=fade_alpha(step, started_at, config.geometry_release_steps),
        top_k_fraction=config.top_k.value(step),
        fade=1.0 if unfaded or config.patches.size is not None else fade_at(config.curriculum, step, config.fade_steps),
        penalise=step % config.pipeline.loss.penalty_interval == 0,
        measure_paths=step % config.pipeline.loss.path_length_interval == 0,
        batch_split=stage.batch_split,
        patch_size=config.patches.size,
        smallest_patch=config.patches.value(step),
        density_noise=config.density_noise.value(step),
        num_samples=stage.num_samples,
        camera_release=float(step - started_at >= config.camera_release_step),
    )


@dataclass
class AdversarialStep:
    """One step of a training, to be run once."""

    config: GanTrainerConfig
    pipeline: GanPipeline
    optimizers: Optimizers
    grad_scaler: GradScaler
    mixed_precision: bool
    stopping: StopRequest
    step: int
    started_at: int
    """Step at which the present weights were new."""
    processes: Processes = field(default_factory=Processes)

    def run(self) -> Tuple[Numbers, Numbers]:
        """One discriminator phase and one generator phase; returns all terms, and measures.

        Raises:
            Diverged: nothing of this step has reached a checkpoint.
        """
        pipeline, step = self.pipeline, self.step
        processes = self.processes
        plan = plan_of(self.config, step, self.started_at)
        plan = replace(plan, process=processes.rank, num_processes=processes.count)
        self.prepare(plan)
        randomness = step_randomness(self.config.machine.seed, step, str(pipeline.device))
        real = pipeline.real_batch(plan, randomness)
        parts = plan.parts()
        shared, whole = pipeline.config.share_fakes, len(parts) == 1

        self.optimizers.zero_grad_all()
        with self.autocast():
            draw = pipeline.draw_batch(plan, randomness)
            found = pipeline.search_parts(draw, plan)
            with torch.set_grad_enabled(shared and whole):
                rendered = [pipeline.render(draw[part], search) for part, search in zip(parts, found, strict=True)]
            shown = Pictures.of(rendered, draw[plan.share])
            with pipeline.looking_at(plan.beside(None, processes.total)):
                terms = pipeline.discriminator_losses(plan, real, shown)
            share = len(real) / plan.batch_size
            terms = {name: share * term for name, term in terms.items()}
        discriminator_terms = self.descend(terms, ["discriminator"])

        if not shared:
            with self.autocast():
                draw = pipeline.draw_batch(plan, randomness)
                found = pipeline.search_parts(draw, plan)
        generator_terms: Numbers = {}
        weights: List[Weights] = []
        for index, part in enumerate(parts):
            with self.autocast():
                if not (shared and whole):
                    rendered[index] = pipeline.render(draw[part], found[index])
                if index == 0:
                    known = rendered if shared or whole else [entry for entry in found if entry is not None]
                    weights = part_weights(plan, known, draw, processes.total)
                counterparts = real.detach()[part.start - plan.share.start : part.stop - plan.share.start]
                with pipeline.looking_at(plan.beside(index, processes.total)):
                    terms = pipeline.generator_losses(plan, counterparts, rendered[index])
                terms = weighted(terms, weights[index])
            self.backward(terms)
            for name, term in terms.items():
                generator_terms[name] = generator_terms.get(name, torch.zeros_like(term)) + term.detach()
        generator_terms = self.agreed(generator_terms)
        self.step_optimizers([name for name in ("generator", "mapping") if name in self.optimizers.optimizers])

        self.adapt_loss_scale()
        decay = decay_with_warmup(self.config.ema_decay, step - self.started_at)
        with self.stopping.changing():
            update_ema(pipeline.model.generator_ema, pipeline.model.generator, decay)
        pipeline.model.update_to_step(step)
        if pipeline.update_prior_grid(step - self.started_at, draw, randomness):
            processes.share(pipeline.model.prior_grid)

        pipeline.datamanager.rays_in_step = sum(fakes.render.hit.numel() for fakes in rendered)
        return {**discriminator_terms, **generator_terms}, self.measures(plan, rendered, share)

    def prepare(self, plan: StepPlan) -> None:
        """Passes the schedules' numbers on to those that they steer."""
        pipeline = self.pipeline
        pipeline.set_window(plan.window_half_width)
        pipeline.set_density_noise(plan.density_noise)
        pipeline.set_num_samples(plan.num_samples)
        pipeline.release_geometry(plan.geometry_release)
        pipeline.release_cameras(plan.camera_release)
        pipeline.grow_to(plan.resolution, plan.fade)
        self.set_learning_rates()

    def set_learning_rates(self) -> None:
        """Applies the rates of the curriculum's stage where it gives any."""
        stage = stage_at(self.config.curriculum, self.step)
        generator_rate = stage.lr_generator or self.config.optimizers["generator"]["optimizer"].lr
        rates = {"discriminator": stage.lr_discriminator, "generator": stage.lr_generator}
        if stage.lr_generator is not None or self.config.mapping_lr_factor != 1.0:
            rates["mapping"] = generator_rate * self.config.mapping_lr_factor
        for name, rate in rates.items():
            if rate is not None and name in self.optimizers.optimizers:
                for group in self.optimizers.optimizers[name].param_groups:
                    group["lr"] = rate

    def autocast(self) -> torch.autocast:
        """Mixed precision where it is on.

        Uncached: the surface search casts the weights without gradient, and a cache would hand these on.
        """
        return torch.autocast(
            device_type=torch.device(self.pipeline.device).type,
            dtype=getattr(torch, self.config.half_precision),
            enabled=self.mixed_precision,
            cache_enabled=False,
        )

    def descend(self, terms: Numbers, groups: List[str]) -> Numbers:
        """Backward through the sum of the terms and a step of the groups' optimizers; returns all processes' terms."""
        agreed = self.agreed(terms)
        self.backward(terms)
        self.step_optimizers(groups)
        return agreed

    def backward(self, terms: Numbers) -> None:
        """Adds the gradient of the sum of the terms to those of the weights, times the loss scale."""
        self.grad_scaler.scale(torch.stack(list(terms.values())).sum()).backward()

    def step_optimizers(self, groups: List[str]) -> None:
        """A step of the groups' optimizers by all processes' gradients; none of those whose gradient has overflown."""
        for name in groups:
            self.processes.add_gradients(self.optimizers.parameters[name])
        with self.stopping.changing():
            self.optimizers.optimizer_scaler_step_some(self.grad_scaler, groups)  # pyright: ignore[reportArgumentType]

    def agreed(self, terms: Numbers) -> Numbers:
        """The terms of the whole batch, which all processes add up to, without gradient.

        Raises:
            Diverged: their sum is not finite or has exploded, in any process and therefore in all of them.
        """
        values = self.processes.total(torch.stack(list(terms.values())).float())
        everywhere = dict(zip(terms, values, strict=True))
        check_losses(everywhere, self.step)
        return everywhere

    def adapt_loss_scale(self) -> None:
        """Lets the loss scale and the schedulers follow the steps that were taken, or left out after an overflow."""
        scale = self.grad_scaler.get_scale()
        self.grad_scaler.update()
        if scale <= self.grad_scaler.get_scale():
            self.optimizers.scheduler_step_all(self.step)
        if self.grad_scaler.is_enabled() and self.grad_scaler.get_scale() < SMALLEST_LOSS_SCALE:
            self.grad_scaler.update(SMALLEST_LOSS_SCALE)

    def measures(self, plan: StepPlan, rendered: List[Fakes], share: float) -> Numbers:
        """What is worth watching beside the losses: means over the processes, each by its share of the batch."""
        seen = {
            "hit_rate": torch.cat([fakes.render.hit for fakes in rendered]).float().mean(),
            "accumulation": torch.cat([fakes.render.accumulation.detach() for fakes in rendered]).float().mean(),
            **self.pipeline.score_measures,
        }
        return {
            "window_half_width": torch.tensor(plan.window_half_width),
            "resolution": torch.tensor(float(plan.resolution)),
            **dict(zip(seen, self.processes.total(share * torch.stack(list(seen.values()))), strict=True)),
        }
