"""One step of the two opponents: discriminator phase, generator phase, moving average."""

import hashlib
from dataclasses import dataclass
from typing import Dict, List, Tuple

import torch
from nerfstudio.engine.optimizers import Optimizers
from torch import Tensor
from torch.amp.grad_scaler import GradScaler

from gan3d_ns.engine.ema import decay_with_warmup, update_ema
from gan3d_ns.engine.failures import check_losses
from gan3d_ns.engine.schedules import CurriculumStage, fade_alpha, fade_at, stage_at
from gan3d_ns.engine.stopping import StopRequest
from gan3d_ns.engine.trainer_config import GanTrainerConfig
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

    def run(self) -> Tuple[Numbers, Numbers]:
        """One discriminator phase and one generator phase; returns all terms, and measures.

        Raises:
            Diverged: nothing of this step has reached a checkpoint.
        """
        pipeline, step = self.pipeline, self.step
        plan = plan_of(self.config, step, self.started_at)
        self.prepare(plan)
        randomness = step_randomness(self.config.machine.seed, step, str(pipeline.device))
        real = pipeline.real_batch(plan, randomness)
        parts = plan.parts()
        shared, whole = pipeline.config.share_fakes, len(parts) == 1

        self.optimizers.zero_grad_all()
        with self.autocast():
            draw = pipeline.draw_batch(plan, randomness)
            found = pipeline.search_parts(draw, plan, randomness)
            with torch.set_grad_enabled(shared and whole):
                rendered = [
                    pipeline.render(draw[part], randomness, search) for part, search in zip(parts, found, strict=True)
                ]
            shown = Pictures.of(rendered, draw)
            discriminator_terms = pipeline.discriminator_losses(plan, real, shown)
        self.descend(discriminator_terms, ["discriminator"])

        generator_terms: Numbers = {}
        if not shared:
            with self.autocast():
                draw = pipeline.draw_batch(plan, randomness)
                found = pipeline.search_parts(draw, plan, randomness)
        for index, part in enumerate(parts):
            with self.autocast():
                if not (shared and whole):
                    rendered[index] = pipeline.render(draw[part], randomness, found[index])
                terms = pipeline.generator_losses(plan, real.detach()[part], rendered[index])
                terms = pipeline.scaled_to_batch(terms, part, draw, found)
            self.grad_scaler.scale(self.checked_sum(terms)).backward()
            for name, term in terms.items():
                generator_terms[name] = generator_terms.get(name, torch.zeros_like(term)) + term.detach()
        self.step_optimizers([name for name in ("generator", "mapping") if name in self.optimizers.optimizers])

        self.adapt_loss_scale()
        decay = decay_with_warmup(self.config.ema_decay, step - self.started_at)
        with self.stopping.changing():
            update_ema(pipeline.model.generator_ema, pipeline.model.generator, decay)
        pipeline.model.update_to_step(step)
        pipeline.update_prior_grid(step - self.started_at, rendered[-1], randomness)

        pipeline.datamanager.rays_in_step = sum(fakes.render.hit.numel() for fakes in rendered)
        terms = {**{name: term.detach() for name, term in discriminator_terms.items()}, **generator_terms}
        return terms, self.measures(plan, rendered)

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

    def descend(self, terms: Numbers, groups: List[str]) -> None:
        """Backward through the sum of the terms and a step of the groups' optimizers."""
        self.grad_scaler.scale(self.checked_sum(terms)).backward()
        self.step_optimizers(groups)

    def step_optimizers(self, groups: List[str]) -> None:
        """A step of the groups' optimizers; none of those whose gradient has overflown."""
        with self.stopping.changing():
            self.optimizers.optimizer_scaler_step_some(self.grad_scaler, groups)  # pyright: ignore[reportArgumentType]

    def checked_sum(self, terms: Numbers) -> Tensor:
        """Sum of the terms.

        Raises:
            Diverged: it is not finite or has exploded.
        """
        check_losses(terms, self.step)
        return torch.stack(list(terms.values())).sum()

    def adapt_loss_scale(self) -> None:
        """Lets the loss scale and the schedulers follow the steps that were taken, or left out after an overflow."""
        scale = self.grad_scaler.get_scale()
        self.grad_scaler.update()
        if scale <= self.grad_scaler.get_scale():
            self.optimizers.scheduler_step_all(self.step)
        if self.grad_scaler.is_enabled() and self.grad_scaler.get_scale() < SMALLEST_LOSS_SCALE:
            self.grad_scaler.update(SMALLEST_LOSS_SCALE)

    def measures(self, plan: StepPlan, rendered: List[Fakes]) -> Numbers:
        """What is worth watching beside the losses."""
        return {
            "hit_rate": torch.cat([fakes.render.hit for fakes in rendered]).float().mean(),
            "accumulation": torch.cat([fakes.render.accumulation.detach() for fakes in rendered]).mean(),
            "window_half_width": torch.tensor(plan.window_half_width),
            "resolution": torch.tensor(float(plan.resolution)),
            **self.pipeline.score_measures,
        }
