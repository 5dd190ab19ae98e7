"""D+G iterations of this package's methods, through the trainer that ns-train uses."""

from __future__ import annotations

import copy
import shutil
import statistics
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.turns import Contender, Running
from benchmarks.weights import is_published, read_start
from gan3d_ns.errors import UserError

if TYPE_CHECKING:
    from gan3d_ns.engine.gan_trainer import GanTrainer
    from gan3d_ns.engine.trainer_config import GanTrainerConfig

METHODS = ("gof-gan-tiny", "gof-gan", "gof-gan-paper")
NUM_PICTURES = 16


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
    field: str | None = None
    """Field of the generator; None: the method's own."""
    prior_grid: bool = False
    """Skip space that no latent fills."""
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
        return f"{self.method}{f', {self.field}' if self.field else ''}{', prior grid' if self.prior_grid else ''}"

    @property
    def units(self) -> float:
        return self.steps

    def prepare(self, device: str) -> Running:
        return _RunningIteration(self, device)


class _RunningIteration:
    def __init__(self, iteration: Iteration, device: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="gan3d-benchmark-"))
        self.iteration = iteration
        try:
            self.trainer = build_trainer(iteration, self.folder, device)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.step = iteration.first_step
        self.hit_rates: list[float] = []

    def turn(self) -> None:
        for _ in range(self.iteration.steps):
            _, _, measures = self.trainer.train_iteration(self.step)
            self.hit_rates.append(float(measures["hit_rate"]))
            self.step += 1

    def facts(self) -> dict[str, Any]:
        stage = self.trainer.config.curriculum[0]
        generator = self.trainer.pipeline.model.generator
        return {
            "resolution": stage.resolution,
            "batch": stage.batch_size,
            "hit_rate": statistics.mean(self.hit_rates),
            "parameters": sum(parameter.numel() for parameter in generator.parameters()),
        }


def method_config(method: str) -> GanTrainerConfig:
    """A private copy of a registered method's settings.

    Raises:
        UserError: no such method.
    """
    from gan3d_ns.method_configs import gof

    specification = getattr(gof, method.replace("-", "_"), None)
    if specification is None:
        raise UserError(f"there is no method {method}; choose among {', '.join(METHODS)}.")
    return copy.deepcopy(specification.config)


def build_trainer(iteration: Iteration, folder: Path, device: str) -> GanTrainer:
    """A trainer of the method on a handful of random pictures in ``folder``, without viewer and event writers."""
    import numpy as np
    import torch
    from PIL import Image

    from gan3d_ns.engine.schedules import CurriculumStage

    torch.manual_seed(0)
    config = method_config(iteration.method)
    stage = config.curriculum[0]
    resolution = iteration.resolution or stage.resolution
    stage = CurriculumStage(
        0, resolution, iteration.batch_size or stage.batch_size, stage.lr_generator, stage.lr_discriminator
    )
    config.curriculum = (stage,)
    config.pipeline.discriminator = replace(
        config.pipeline.discriminator, resolution=max(config.pipeline.discriminator.resolution, resolution)
    )
    apply_field(config, iteration.field)
    apply_prior_grid(config, iteration.prior_grid)
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


def apply_prior_grid(config: GanTrainerConfig, enabled: bool) -> None:
    """Switches the prior grid.

    Raises:
        UserError: this version of the package has no prior grid.
    """
    grid = getattr(config.pipeline.model, "prior_grid", None)
    if grid is None:
        if enabled:
            raise UserError("this version has no prior grid; measure without it.")
        return
    grid.enabled = enabled


def load_field_weights(trainer: GanTrainer, path: Path) -> None:
    """Puts the weights of a file into the generator's field and its average."""
    state = read_start(path)["field"]
    for generator in (trainer.pipeline.model.generator, trainer.pipeline.model.generator_ema):
        missing, unknown = generator.field.load_state_dict(state, strict=False)
        if unknown or any(is_published(name) for name in missing):
            raise UserError(f"{path} does not fit the field of {trainer.config.method_name}.")
