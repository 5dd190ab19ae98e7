"""Numbers that follow the training step: curriculum, surface window, priors, fade-in and learning rate.

Every config here is pure policy: `value(step)` is its closed form, without state, so that a resumed run needs nothing
but its step. The laws are those of GOF's released code (train.py, curriculums.py); `step` counts from 0 over the whole
training.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, Optional, Type

from nerfstudio.engine.schedulers import ExponentialDecaySchedulerConfig, Scheduler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from gan3d_ns.errors import UserError


@dataclass(frozen=True)
class WindowScheduleConfig:
    """Half width of the interval around the surface that is composited: max(end, start exp(-decay step))."""

    start: float = 0.12
    """Half width at step 0, in world units; half of far - near makes the training begin with the whole volume."""
    end: float = 0.02
    """Smallest half width, in world units; smaller gives sharper surfaces and less gradient beside them."""
    decay: float = 3e-5
    """Rate of the exponential, per step."""

    def __post_init__(self) -> None:
        if not 0 < self.end <= self.start:
            raise UserError(
                f"the window goes from {self.start} to {self.end}; it must shrink to a positive width, e.g. .12 to .02."
            )
        if self.decay < 0:
            raise UserError(f"the window's decay is {self.decay}; set it to 0 (constant) or more, e.g. 3e-5.")

    def value(self, step: int) -> float:
        """Half width at a step, in world units."""
        return max(self.end, self.start * math.exp(-self.decay * step))


@dataclass(frozen=True)
class OpacityWeightConfig:
    """Weight of the opacity prior: min(limit_factor start, start exp(growth step))."""

    start: float = 0.1
    """Weight at step 0; 0 switches the prior off."""
    growth: float = 4e-5
    """Rate of the exponential, per step; 0 keeps the weight constant."""
    limit_factor: float = 10.0
    """The weight stops growing at this multiple of its start."""

    def __post_init__(self) -> None:
        if self.start < 0 or self.growth < 0 or self.limit_factor < 1:
            raise UserError(
                f"the opacity weight has start {self.start}, growth {self.growth} and limit_factor "
                f"{self.limit_factor}; start and growth must be 0 or more and limit_factor 1 or more."
            )

    def value(self, step: int) -> float:
        """Weight at a step."""
        # The exponent is limited, not only the result: exp overflows after long trainings.
        return self.start * math.exp(min(self.growth * step, math.log(self.limit_factor)))


@dataclass(frozen=True)
class TopKConfig:
    """Fraction of the generated images that train the generator: max(floor, base ** (step / interval))."""

    enabled: bool = True
    """Off: all images count at every step."""
    base: float = 0.99
    """Factor by which the fraction falls in each interval."""
    interval: float = 2000.0
    """Length of an interval, in steps."""
    floor: float = 0.6
    """Smallest fraction; 1 has the effect of `enabled=False`."""

    def __post_init__(self) -> None:
        if not (0 < self.base <= 1 and 0 < self.floor <= 1 and self.interval > 0):
            raise UserError(
                f"top-k has base {self.base}, floor {self.floor} and interval {self.interval}; base and floor must lie "
                "in (0, 1] and the interval must be positive. Set enabled to False to keep all images."
            )

    def value(self, step: int) -> float:
        """Fraction of the batch that is kept at a step."""
        return max(self.floor, self.base ** (step / self.interval)) if self.enabled else 1.0


@dataclass(frozen=True)
class DensityNoiseConfig:
    """Standard deviation of the noise on raw densities; not for occupancy."""

    start: float = 1.0
    """Standard deviation at step 0."""
    length: int = 5000
    """Step from which there is no noise; 0 switches it off."""
    decay: Literal["linear", "none"] = "linear"
    """linear: start max(0, 1 - step / length) (pi-GAN, GRAF). none: the start, until the length is over (CAMPARI)."""

    def value(self, step: int) -> float:
        """Standard deviation at a step."""
        over = fade_alpha(step, 0, self.length)
        return self.start * (1.0 - over if self.decay == "linear" else float(over < 1.0))


@dataclass(frozen=True)
class PatchScheduleConfig:
    """Training on patches in place of whole pictures, with GRAF's law of their smallest scale.

    Use it where whole pictures do not fit in memory (128x128 and more): memory then depends on `size` alone. Whole
    pictures teach faster where they fit.
    """

    size: Optional[int] = None
    """Side of the patches that the discriminator sees, in pixels: 32 as GRAF, 64 for finer detail. None: whole
    pictures."""
    smallest_scale: float = 0.25
    """Side of the smallest patches over the picture's, at the end: size / resolution shows every pixel."""
    first_scale: float = 0.9
    """Smallest scale at the start: first whole pictures at low resolution, then parts of them."""
    decay: float = 0.0025
    """How fast the smallest scale falls: in the k-th interval it is exp(-3 decay k), between the two scales."""
    interval: int = 1000
    """Steps of an interval."""

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 8:
            raise UserError(f"patches of {self.size} pixels are too small; use 16, 32 or 64, or None for pictures.")
        if not (0 < self.smallest_scale <= 1 and 0 < self.first_scale <= 1 and self.decay >= 0 and self.interval > 0):
            raise UserError(
                f"patches have smallest_scale {self.smallest_scale}, first_scale {self.first_scale}, decay "
                f"{self.decay} and interval {self.interval}; the scales must lie in (0, 1], the decay be 0 or more and "
                "the interval positive."
            )

    def value(self, step: int) -> float:
        """Smallest scale of a patch at a step (GRAF, released code, transforms.py)."""
        fallen = math.exp(-3.0 * self.decay * (step // self.interval))
        return min(self.first_scale, max(self.smallest_scale, fallen))


def fade_alpha(step: int, stage_start: int, length: int) -> float:
    """Weight in [0, 1] of a resolution that began at `stage_start` and takes `length` steps to fade in (0: at once)."""
    if length <= 0:
        return 1.0
    return min(1.0, max(0.0, (step - stage_start) / length))


@dataclass(frozen=True)
class CurriculumStage:
    """What holds from one step until the next stage begins."""

    start_step: int = 0
    """First step of the stage."""
    resolution: int = 32
    """Side of the images, in pixels; a power of two."""
    batch_size: int = 8
    """Images of each kind (real, generated) in a step."""
    lr_generator: Optional[float] = None
    """Learning rate of the generator; None leaves it to the optimizer's own."""
    lr_discriminator: Optional[float] = None
    """Learning rate of the discriminator; None leaves it to the optimizer's own."""
    batch_split: int = 1
    """Parts in which the generator's batch is computed, one after the other, to save memory."""
    num_samples: Optional[int] = None
    """Samples over the whole of each ray while training a density; None leaves it to the sampler."""


def validate_stages(stages: Sequence[CurriculumStage]) -> None:
    """Check a curriculum.

    Raises:
        UserError: where stages are missing, out of order or impossible; the message names the stage and the cure.
    """
    if not stages:
        raise UserError("the curriculum has no stages; give at least one that starts at step 0.")
    if stages[0].start_step != 0:
        raise UserError(f"the first stage starts at step {stages[0].start_step}; let it start at 0.")
    for before, after in pairwise(stages):
        if after.start_step <= before.start_step:
            raise UserError(
                f"a stage that starts at step {after.start_step} follows one that starts at {before.start_step}; "
                "sort the stages by start_step and let no two share one."
            )
    for number, stage in enumerate(stages, start=1):
        if stage.resolution < 8 or stage.resolution & (stage.resolution - 1):
            raise UserError(
                f"stage {number} has the resolution {stage.resolution}; use a power of two from 8 on, such as 32 or 64."
            )
        if stage.batch_size < 1 or stage.batch_split < 1 or stage.batch_size % stage.batch_split:
            raise UserError(
                f"stage {number} splits {stage.batch_size} images into {stage.batch_split} parts; both must be "
                "positive, and batch_split must divide batch_size."
            )
        if stage.num_samples is not None and stage.num_samples < 3:
            raise UserError(f"stage {number} has {stage.num_samples} samples on a ray; give 3 at least, or None.")
        for name in ("lr_generator", "lr_discriminator"):
            rate = getattr(stage, name)
            if rate is not None and rate <= 0:
                raise UserError(f"stage {number} has {name} {rate}; give a positive rate or None.")


def stage_at(stages: Sequence[CurriculumStage], step: int) -> CurriculumStage:
    """The stage that holds at a step. The last one holds for ever: a curriculum ends with the training, not before."""
    return next((stage for stage in reversed(stages) if stage.start_step <= step), stages[0])


def fade_at(stages: Sequence[CurriculumStage], step: int, length: int) -> float:
    """Weight in [0, 1] with which the resolution of a step has faded in, counted from that resolution's first stage.

    Args:
        stages: a valid curriculum.
        step: the training step.
        length: steps that a new resolution takes; GOF's take 10,000.
    """
    start = 0
    for before, after in pairwise(stages):
        if after.start_step <= step and after.resolution != before.resolution:
            start = after.start_step
    return fade_alpha(step, start, length)


@dataclass
class FloatExponentialDecayConfig(ExponentialDecaySchedulerConfig):
    """nerfstudio's exponential decay with Python floats as learning rates.

    nerfstudio's own leaves NumPy numbers in the checkpoint, which `torch.load(weights_only=True)` refuses.
    """

    _target: Type = field(default_factory=lambda: FloatExponentialDecay)
    """target class to instantiate"""


class FloatExponentialDecay(Scheduler):
    """Ramps up to the optimizer's rate in `warmup_steps`, then decays exponentially to `lr_final` at `max_steps`.

    Args:
        config: the rates and steps.

    Raises:
        UserError: where the decay would end before the warm-up or a rate is not positive.
    """

    config: FloatExponentialDecayConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, config: FloatExponentialDecayConfig) -> None:
        super().__init__(config)
        if config.max_steps <= config.warmup_steps:
            raise UserError(
                f"max_steps is {config.max_steps} and warmup_steps {config.warmup_steps}; set max_steps above it."
            )
        if config.lr_final is not None and config.lr_final <= 0:
            raise UserError(f"lr_final is {config.lr_final}; give a positive rate, or None to keep it constant.")

    def get_scheduler(self, optimizer: Optimizer, lr_init: float) -> LRScheduler:
        """The torch scheduler of an optimizer whose rate is `lr_init`."""
        config = self.config
        lr_final = lr_init if config.lr_final is None else config.lr_final

        def factor(step: int) -> float:
            if step < config.warmup_steps:
                progress = step / config.warmup_steps
                ramp = math.sin(0.5 * math.pi * progress) if config.ramp == "cosine" else progress
                return (config.lr_pre_warmup + (lr_init - config.lr_pre_warmup) * ramp) / lr_init
            progress = (step - config.warmup_steps) / (config.max_steps - config.warmup_steps)
            return float((lr_final / lr_init) ** min(1.0, progress))

        return LambdaLR(optimizer, lr_lambda=factor)
