"""What ended a training, and what helps, in one sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from gan3d_ns.engine.schedules import CurriculumStage, stage_at
from gan3d_ns.errors import UserError, asked_memory

EXPLODED = 1e5
"""A loss beyond this never comes back."""
PENALTIES = {"d_r1": "r1-weight", "d_r2": "r2-weight", "g_path": "path-length-weight"}
"""Terms that explode because their weight is too large, and the flag of that weight."""


class Diverged(Exception):
    """A training that cannot recover.

    Args:
        symptom: what was seen, without a full stop.
        advice: what to change, where more is known than the usual.
    """

    def __init__(self, symptom: str, advice: str = "") -> None:
        super().__init__(symptom)
        self.symptom, self.advice = symptom, advice


def last_checkpoint(folder: Path) -> str:
    """Where a training can go on, as a part of a sentence."""
    kept = sorted(folder.glob("step-*.ckpt"))
    return f"the last good checkpoint is {kept[-1]}" if kept else "this run had saved no checkpoint yet"


def diverged(symptom: str, folder: Path, advice: str = "") -> UserError:
    """The end of a training that cannot recover.

    Args:
        symptom: what was seen.
        folder: of the checkpoints.
        advice: what to change.
    """
    advice = advice or "lower learning rates or a larger --pipeline.loss.r1-weight"
    return UserError(
        f"{symptom}, so the training has diverged; {last_checkpoint(folder)}. Resume from it or start again with "
        f"{advice}."
    )


def check_losses(terms: Mapping[str, Tensor], step: int) -> None:
    """Looks at the losses of a phase before anything follows them.

    Raises:
        Diverged: their sum is not finite, or beyond all return.
    """
    values = {name: float(term.detach()) for name, term in terms.items()}
    total = sum(values.values())
    if math.isfinite(total) and abs(total) <= EXPLODED:
        return
    listing = ", ".join(f"{name} {value:.3g}" for name, value in values.items())
    finite = all(math.isfinite(value) for value in values.values())
    worst = max(values, key=lambda name: abs(values[name])) if finite else ""
    advice = f"lower learning rates or a smaller --pipeline.loss.{PENALTIES[worst]}" if worst in PENALTIES else ""
    raise Diverged(f"the loss is {total:.3g} at step {step} ({listing})", advice)


def out_of_memory(error: BaseException, step: int, curriculum: Sequence[CurriculumStage], folder: Path) -> UserError:
    """The end of a training that needs more memory than there is, with the flag that helps.

    Args:
        error: what was raised.
        step: where.
        curriculum: of the training.
        folder: of the checkpoints.
    """
    settings = stage_at(curriculum, step)
    stage = curriculum.index(settings)
    divisors = [n for n in range(settings.batch_split + 1, settings.batch_size + 1) if settings.batch_size % n == 0]
    if divisors:
        parts = next((n for n in divisors if n >= 2 * settings.batch_split), divisors[-1])
        cure = f"--curriculum.{stage}.batch-split {parts} computes the batch in smaller parts"
    else:
        cure = f"--patches.size 32 or a smaller --curriculum.{stage}.resolution makes the pictures smaller"
    return UserError(
        f"the memory is too small for step {step}: {settings.batch_size} pictures of {settings.resolution} x "
        f"{settings.resolution} pixels in {settings.batch_split} part{'' if settings.batch_split == 1 else 's'}"
        f"{asked_memory(error)}; {last_checkpoint(folder)}. {cure}; then resume."
    )
