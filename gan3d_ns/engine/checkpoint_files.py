"""Checkpoints on disk: written whole or not at all, read without running code, with one sentence on what is wrong."""

from __future__ import annotations

import os
import re
import shutil
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gan3d_ns.engine.plain_files import NotPlain, load_plain, unfit_tensors
from gan3d_ns.errors import UserError, explainers, shown_path

if TYPE_CHECKING:
    from nerfstudio.engine.optimizers import Optimizers
    from torch.amp.grad_scaler import GradScaler

PARTIAL_NAME = "checkpoint.partial"
NAME = re.compile(r"step-([0-9]{9,15})\.ckpt")
MOST_STEPS = 10**15
"""More than any training has."""
ZIP_WRITER = "PytorchStreamWriter"
"""What torch calls the writer of its archives in error messages."""


def checkpoint_state(
    step: int, pipeline: torch.nn.Module, optimizers: Optimizers, grad_scaler: GradScaler
) -> dict[str, Any]:
    """nerfstudio's layout of a checkpoint: tensors, numbers and containers only."""
    return {
        "step": step,
        "pipeline": pipeline.state_dict(),
        "optimizers": {name: entry.state_dict() for name, entry in optimizers.optimizers.items()},
        "schedulers": {name: entry.state_dict() for name, entry in optimizers.schedulers.items()},
        "scalers": grad_scaler.state_dict(),
    }


def save_atomically(state: dict[str, Any], path: Path, scratch: Path) -> None:
    """Writes to ``scratch`` on the same file system and renames; an older file at ``path`` survives any failure.

    Raises:
        OSError: the disk is full or not writable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(scratch, "wb") as stream:
            torch.save(state, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(scratch, path)
        _keep_entries(path.parent)
    except RuntimeError as error:
        # torch reports a failed write of its zip archive as a RuntimeError; others are none of the disk's.
        if ZIP_WRITER in str(error) or "unexpected pos" in str(error):
            left = shutil.disk_usage(path.parent).free
            raise OSError(f"the disk took only a part of it and has {left / 1e6:.0f} MB left") from error
        raise
    finally:
        scratch.unlink(missing_ok=True)


def _keep_entries(folder: Path) -> None:
    """Lets the folder's entries survive a loss of power, where the system can: the new one before older ones go."""
    if os.name != "posix":
        return
    with suppress(OSError):  # network folders do not know this
        entries = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(entries)
        finally:
            os.close(entries)


def steps_in(folder: Path) -> list[int]:
    """The steps of the checkpoints in a run's ``nerfstudio_models`` folder, in order.

    Raises:
        UserError: there are none.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; give the nerfstudio_models folder of a run.")
    names = (NAME.fullmatch(file.name) for file in folder.glob("step-*.ckpt"))
    steps = sorted(int(name[1]) for name in names if name is not None)
    if not steps:
        raise UserError(
            f"there is no checkpoint (step-*.ckpt) in {folder}; give the nerfstudio_models folder of a run."
        )
    return steps


def checkpoint_in(folder: Path, step: int | None = None) -> Path:
    """The checkpoint of a step in a run's ``nerfstudio_models`` folder, the newest one without a step.

    Raises:
        UserError: there is none; says which steps there are.
    """
    steps = steps_in(folder)
    if step is not None and step not in steps:
        raise UserError(f"there is no checkpoint of step {step} in {folder}; there are: {', '.join(map(str, steps))}.")
    return folder / f"step-{steps[-1] if step is None else step:09d}.ckpt"


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The checkpoint's plain tensors and numbers, on the CPU.

    Raises:
        UserError: the file is missing, cut off, or no checkpoint of nerfstudio.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}.")
    try:
        state = load_plain(path)
    except NotPlain as reason:
        raise UserError(
            f"the checkpoint {path} cannot be read ({path.stat().st_size} bytes; {reason}): it is cut off or not "
            "a checkpoint. Copy it again, or move it away: then the run's next older one is read."
        ) from reason
    if not isinstance(state, dict) or not {"step", "pipeline", "optimizers"} <= state.keys():
        raise UserError(f"{path} is not a training checkpoint of nerfstudio: it has no step, pipeline and optimizers.")
    step, weights = state["step"], state["pipeline"]
    if not isinstance(step, int) or isinstance(step, bool) or not 0 <= step < MOST_STEPS:
        raise UserError(f"{path} is not a training checkpoint of nerfstudio: its step is {str(step)[:60]}.")
    unfit = unfit_tensors(weights) if isinstance(weights, dict) else ["pipeline"]
    if unfit or not isinstance(state["optimizers"], dict):
        raise UserError(
            f"{path} is not a training checkpoint of nerfstudio: {len(unfit)} entries of its weights are none, such as "
            f"{', '.join(unfit[:3]) or 'its optimizers'}."
        )
    return state


@contextmanager
def resuming_from(path: Path) -> Iterator[None]:
    """Says what is wrong when a checkpoint opens but a training cannot go on from it.

    Raises:
        UserError: its optimizers, schedulers, scores or costs do not fit.
    """
    try:
        yield
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError, IndexError) as error:
        reason = (str(error).splitlines() or [""])[0][:120]
        raise UserError(
            f"the training cannot go on from {path}: what it holds beside the weights does not fit "
            f"({type(error).__name__}: {reason}). Resume from another checkpoint of the run; this one still opens in "
            "ns-viewer and gan3d."
        ) from error


def require_fitting_moments(optimizers: Optimizers) -> None:
    """Checks that the running moments of each parameter have its size and are finite.

    Raises:
        ValueError: names the optimizer that has others.
    """
    for name, optimizer in optimizers.optimizers.items():
        for parameter, moments in optimizer.state.items():
            tensors = [value for value in moments.values() if isinstance(value, torch.Tensor) and value.dim() > 0]
            if any(value.shape != parameter.shape or not bool(value.isfinite().all()) for value in tensors):
                raise ValueError(f"the moments of the optimizer {name} have other sizes or are not finite")


def explain_stock_reader(error: BaseException) -> str | None:
    """What is wrong with the checkpoint of a run of this package that ns-viewer, ns-export or ns-render stumbled over.

    These commands read checkpoints with nerfstudio's own `eval_load_checkpoint`, which answers a missing or damaged
    file with a traceback. Where an error comes from there, our reader looks at the same file.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == "eval_load_checkpoint" and "config" in frame.f_locals:
            config = frame.f_locals["config"]
            if type(config).__module__.startswith("gan3d_ns."):
                try:
                    read_checkpoint(checkpoint_in(config.load_dir, config.load_step))
                except UserError as fault:
                    return str(fault)
                if isinstance(error, ValueError):
                    strange = [file.name for file in config.load_dir.iterdir() if NAME.fullmatch(file.name) is None]
                    if strange:  # it takes every file there for a checkpoint
                        return f"{shown_path(config.load_dir / strange[0])} is no checkpoint; move it away."
    return None


explainers.append(explain_stock_reader)
