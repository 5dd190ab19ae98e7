"""Contenders of this package: D+G iterations through the trainer that ns-train uses, and renderings alone."""

from __future__ import annotations

import copy
import math
import shutil
import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from unittest.mock import patch

from benchmarks.plain_step import plain_step
from benchmarks.turns import Contender, Running
from benchmarks.weights import is_published, read_start
from gan3d_ns.errors import UserError

if TYPE_CHECKING:
    from gan3d_ns.engine.gan_trainer import GanTrainer
    from gan3d_ns.engine.trainer_config import GanTrainerConfig
    from gan3d_ns.models.generator import RenderOutput

METHODS = ("gof-gan-tiny", "pi-gan-tiny", "graf-tiny", "gof-gan", "gof-gan-paper")
"""What is measured when no method is named."""
NUM_PICTURES = 16
NEVER = 10**9
GRID_LATENTS, GRID_PICTURE = 8, 8
"""Latents, and the side of the pictures that bring them along, for one look of the prior grid."""


@dataclass(frozen=True)
class Iteration(Contender):
    """Steps of a registered method on random pictures: one discriminator and one generator update each."""

    method: str
    """Registered name."""
    resolution: int | None = None
    """Side of the pictures; None: the method's first stage."""
    batch_size: int | None = None
    """Pictures in a step; None: the method's first stage."""
    steps: int = 4
    """Steps in a turn; a multiple of the penalty interval shows its mean cost."""
    work: Literal["step", "plain step", "rendering"] = "step"
    """plain step: that of `benchmarks.plain_step`. rendering: the pictures alone, without gradient."""
    field: str | None = None
    """Field of the generator; None: the method's own."""
    num_samples: int | None = None
    """Samples of the search and as many in the window; None: the method's own numbers."""
    prior_grid: bool = False
    """Skip space that no latent fills."""
    grid_looks: int | None = None
    """Looks at the field before the grid is relied upon; None: the method's own number."""
    grid_resolution: int | None = None
    """Cells of the grid on each axis; None: the method's own number."""
    implementation: str | None = None
    """Of the hash tables, tcnn or torch; None: chosen by the field."""
    mixed_precision: bool | None = None
    """Half precision where the method may use it, on a GPU; None: the method's own choice."""
    state: Path | None = None
    """Weights of the field (a file of `benchmarks.weights`) in place of random ones."""
    first_step: int = 0
    """Training step of the first turn, which fixes window, weights of the priors and fade."""
    label: str | None = None
    """Name in tables; None: made of the above."""

    @property
    def name(self) -> str:
        if self.label is not None:
            return self.label
        parts = [self.method, self.field, self.implementation, "prior grid" if self.prior_grid else None]
        if self.mixed_precision is not None:
            parts.append("half precision" if self.mixed_precision else "full precision")
        if self.work != "step":
            parts.append(self.work)
        return ", ".join(part for part in parts if part)

    @property
    def units(self) -> float:
        return self.steps

    def prepare(self, device: str) -> Running:
        return _RunningIteration(self, device)


class _RunningIteration:
    def __init__(self, iteration: Iteration, device: str) -> None:
        folder = Path(tempfile.mkdtemp(prefix="gan3d-benchmark-"))
        try:
            self.trainer = build_trainer(iteration, folder, device)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self.iteration, self.step = iteration, iteration.first_step
        self.hit_rates: list[float] = []
        self.upkeep_interval: int | None = None
        if iteration.prior_grid:
            self.warm_grid()

    def warm_grid(self) -> None:
        """Fills the prior grid, and keeps its updates out of the turns: `facts` measures one."""
        pipeline = self.trainer.pipeline
        grid = pipeline.model.prior_grid
        assert grid is not None
        pipeline.set_window(self.trainer.plan(self.step).window_half_width)
        while not grid.ready:
            self.update_grid()
        self.upkeep_interval = grid.config.update_interval
        grid.config = replace(grid.config, update_interval=NEVER)
        self.step = max(1, self.step)

    def update_grid(self) -> None:
        import torch

        pipeline = self.trainer.pipeline
        randomness = torch.Generator(device=pipeline.device).manual_seed(self.step)
        pipeline.update_prior_grid(0, pipeline.draw(GRID_LATENTS, GRID_PICTURE, randomness), randomness)

    def turn(self) -> None:
        for _ in range(self.iteration.steps):
            self.hit_rates.append(self.unit())
            self.step += 1

    def unit(self) -> float:
        """One step or rendering; returns the fraction of rays that met a surface."""
        if self.iteration.work == "plain step":
            plain_step(self.trainer, self.step)
            return math.nan
        if self.iteration.work == "rendering":
            return float(render_pictures(self.trainer, self.step).hit.float().mean())
        _, _, measures = self.trainer.train_iteration(self.step)
        return float(measures["hit_rate"])

    def facts(self) -> dict[str, Any]:
        stage, pipeline = self.trainer.config.curriculum[0], self.trainer.pipeline
        facts: dict[str, Any] = {
            "resolution": stage.resolution,
            "batch": stage.batch_size,
            "hit_rate": statistics.mean(self.hit_rates),
            "parameters": sum(parameter.numel() for parameter in pipeline.model.generator.parameters()),
        }
        grid = pipeline.model.prior_grid
        if self.upkeep_interval is not None and grid is not None:
            start, work = time.perf_counter(), time.process_time()
            self.update_grid()
            used = (time.perf_counter() - start, time.process_time() - work)
            facts["upkeep_seconds"] = tuple(seconds / self.upkeep_interval for seconds in used)
            facts["grid_occupied"] = float(grid.occupied_fraction)
        return facts


def method_config(method: str) -> GanTrainerConfig:
    """A private copy of a registered method's settings.

    Raises:
        UserError: no such method.
    """
    from nerfstudio.configs.method_configs import all_methods

    from gan3d_ns.engine.trainer_config import GanTrainerConfig

    config = all_methods.get(method)
    if not isinstance(config, GanTrainerConfig):
        known = [name for name, entry in all_methods.items() if isinstance(entry, GanTrainerConfig)]
        raise UserError(f"there is no method {method}; choose among {', '.join(sorted(known))}.")
    return copy.deepcopy(config)


def build_trainer(iteration: Iteration, folder: Path, device: str) -> GanTrainer:
    """A trainer of the method on a handful of random pictures in ``folder``, without viewer and event writers."""
    import numpy as np
    import torch
    from PIL import Image

    from gan3d_ns.engine.schedules import CurriculumStage

    torch.manual_seed(0)
    config = method_config(iteration.method)
    # After the methods: nerfstudio's circular imports work in this order.
    from nerfstudio.utils import writer

    stage = config.curriculum[0]
    resolution = iteration.resolution or stage.resolution
    stage = CurriculumStage(
        0, resolution, iteration.batch_size or stage.batch_size, stage.lr_generator, stage.lr_discriminator
    )
    config.curriculum = (stage,)
    if config.patches.size is None:
        config.pipeline.discriminator = replace(
            config.pipeline.discriminator, resolution=max(config.pipeline.discriminator.resolution, resolution)
        )
    apply_field(config, iteration.field)
    grid, sampler = config.pipeline.model.prior_grid, config.pipeline.model.sampler
    grid.enabled = iteration.prior_grid
    if iteration.grid_looks is not None:
        grid.warmup_steps = iteration.grid_looks * grid.update_interval
    if iteration.grid_resolution is not None:
        grid.resolution = iteration.grid_resolution
    if iteration.implementation is not None:
        set_implementation(config, iteration.implementation)
    if iteration.num_samples is not None:
        sampler.num_coarse_samples = sampler.num_window_samples = iteration.num_samples
    if iteration.mixed_precision is not None:
        config.mixed_precision = iteration.mixed_precision
    pictures = folder / "pictures"
    pictures.mkdir()
    noise = np.random.default_rng(0)
    for index in range(NUM_PICTURES):
        picture = noise.integers(0, 256, (resolution, resolution, 3), dtype=np.uint8)
        Image.fromarray(picture).save(pictures / f"{index}.png")
    config.data = config.pipeline.datamanager.data = pictures
    config.pipeline.datamanager.collection.crop_size = None
    config.output_dir, config.vis, config.hollow_check_step = folder, "tensorboard", 0
    config.steps_per_panel = 10**9
    config.machine.device_type = device  # pyright: ignore[reportAttributeAccessIssue]
    config.set_timestamp()
    trainer = config.setup()
    with ExitStack() as stack:
        # nerfstudio's writers are shared by the whole process and would outlive the folder.
        for name in ("setup_event_writer", "setup_local_writer", "put_config"):
            stack.enter_context(patch.object(writer, name))
        trainer.setup()
    trainer.pipeline.train()
    if iteration.state is not None:
        load_field_weights(trainer, iteration.state)
    return trainer


def apply_field(config: GanTrainerConfig, field: str | None) -> None:
    """Chooses the generator's field.

    Raises:
        UserError: this version of the package has no such field.
    """
    from typing import get_args, get_type_hints

    model = config.pipeline.model
    if field is None:
        return
    known = get_args(get_type_hints(type(model))["field"])
    if field not in known:
        raise UserError(f"there is no field {field}; this version has {', '.join(known)}.")
    model.field = field  # pyright: ignore[reportAttributeAccessIssue]


def set_implementation(config: GanTrainerConfig, implementation: str) -> None:
    """Chooses the implementation of every field config that has a choice."""
    model = config.pipeline.model
    for entry in fields(model):
        part = getattr(model, entry.name)
        if hasattr(part, "implementation"):
            part.implementation = implementation


def render_pictures(trainer: GanTrainer, step: int) -> RenderOutput:
    """A batch of pictures as the discriminator's phase gets them, without gradient."""
    import torch

    from gan3d_ns.engine.adversarial_step import step_randomness

    plan, pipeline = trainer.plan(step), trainer.pipeline
    pipeline.set_window(plan.window_half_width)
    randomness = step_randomness(trainer.config.machine.seed, step, str(pipeline.device))
    with torch.no_grad(), torch.autocast(pipeline.device.type, enabled=trainer.mixed_precision):
        return pipeline.generate(plan.batch_size, plan.resolution, randomness).render


def load_field_weights(trainer: GanTrainer, path: Path) -> None:
    """Puts the weights of a file into the generator's field and its average."""
    state = read_start(path)["field"]
    for generator in (trainer.pipeline.model.generator, trainer.pipeline.model.generator_ema):
        missing, unknown = generator.field.load_state_dict(state, strict=False)
        if unknown or any(is_published(name) for name in missing):
            raise UserError(f"{path} does not fit the field of {trainer.config.method_name}.")
