"""What each of two processes does for the tests of trainings in several processes; its results lie in files."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the benchmarks are not installed

STEP = 3
"""The first step of the compared gradients: by then fewer pictures are kept."""
SENTENCE = "the pictures of process 1 are gone."


def save(name: str, rank: int, folder: Path, **found: Any) -> None:
    torch.save(found, folder / f"{name}-{rank}.pt")


def load(name: str, rank: int, folder: Path) -> Any:
    return torch.load(folder / f"{name}-{rank}.pt", weights_only=True)


def first_steps(config: Any, rank: int, count: int, steps: int = 2) -> dict[str, Any]:
    """Terms, gradients and what was looked at in one step, and the weights after a few."""
    from benchmarks.reliability.processes import gradients, trainer_of

    trainer: Any = trainer_of(config, rank, count)
    pipeline = trainer.pipeline
    looked_at: dict[str, Tensor] = {}
    real_batch, losses = pipeline.real_batch, pipeline.discriminator_losses

    def noted_real(*arguments: Any) -> Tensor:
        looked_at["real"] = real_batch(*arguments)
        return looked_at["real"]

    def noted_losses(plan: Any, real: Tensor, fakes: Any) -> Any:
        looked_at["fake"], looked_at["poses"] = fakes.images.detach(), fakes.poses
        return losses(plan, real, fakes)

    pipeline.real_batch, pipeline.discriminator_losses = noted_real, noted_losses
    _, terms, measures = trainer.train_iteration(STEP)
    found = {"terms": terms, "gradients": gradients(trainer), "measures": measures, **looked_at}
    for step in range(STEP + 1, STEP + steps):
        trainer.train_iteration(step)
    return {**found, "state": trainer.pipeline.state_dict()}


def whole_training(config: Any, rank: int, count: int, before_step: Any = lambda trainer, step: None) -> dict[str, Any]:
    """By nerfstudio's own loop; the losses of each step, the weights at the end, and the files that were opened."""
    from nerfstudio.scripts.train import train_loop

    from gan3d_ns.engine.gan_trainer import GanTrainer

    losses: dict[int, dict[str, Tensor]] = {}
    trainers: list[Any] = []
    iterate = GanTrainer.train_iteration

    def noted(trainer: Any, step: int) -> Any:
        trainers[:] = [trainer]
        before_step(trainer, step)
        outcome = iterate(trainer, step)
        losses[step] = outcome[1]
        return outcome

    WRITTEN.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GanTrainer, "train_iteration", noted)
        train_loop(rank, count, config, rank)
    trainer, folder = trainers[0], str(config.output_dir)
    return {
        "losses": losses,
        "state": trainer.pipeline.state_dict(),
        "written": [path for path in WRITTEN if path.startswith(folder)],
        "started_at": trainer.started_at,
        "left": trainer.reseeds_left,
        "last": trainer.last_completed,
    }


WRITTEN: list[str] = []


def note_writing(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: the files that this process opens for writing, and the folders that it makes."""
    if event == "open" and isinstance(arguments[0], str) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        WRITTEN.append(arguments[0])
    elif event == "os.mkdir":
        WRITTEN.append(str(arguments[0]))


def all_scenarios(rank: int, count: int, folder: Path) -> None:
    """Everything that the tests look at, the last of it an error that ends both processes."""
    from gan3d_ns.engine import gan_trainer
    from gan3d_ns.errors import UserError

    sys.addaudithook(note_writing)
    configs = pickle.loads((folder / "configs.pkl").read_bytes())
    for name, config in configs["gradients"].items():
        save(name, rank, folder, **first_steps(config, rank, count))
        if rank == 0:
            config.timestamp = f"{name}-alone"
            save(f"{name}-alone", rank, folder, **first_steps(config, 0, 1, steps=1))
    if rank == 0:
        save("alone", rank, folder, **whole_training(configs["alone"], 0, 1))
    dist.barrier()

    # Only the first process looks at the surfaces, and finds them hollow once; the other would not.
    panel = gan_trainer.sample_panel
    looks: list[int] = []

    def hollow_at_first(*arguments: Any) -> Any:
        image, health = panel(*arguments)
        if len(arguments[1]) < 16:
            return image, health
        looks.append(1)
        return image, configs["hollow"] if len(looks) == 1 else configs["outward"]

    gan_trainer.sample_panel = hollow_at_first
    save("run", rank, folder, **whole_training(configs["run"], rank, count), looks=len(looks))
    save("resumed", rank, folder, **whole_training(configs["resumed"], rank, count))
    if rank == 0:
        save("one", rank, folder, **whole_training(configs["one"], 0, 1))

    def asked_to_stop(trainer: Any, step: int) -> None:
        if rank == 1 and step == 1:
            trainer.stopping.by = signal.SIGTERM

    save("stopped", rank, folder, **whole_training(configs["stopped"], rank, count, asked_to_stop))

    def poisoned(trainer: Any, step: int) -> None:
        if rank == 1 and step == 1:
            trainer.pipeline.real_batch = lambda plan, randomness: torch.full((2, 3, 16, 16), torch.nan)

    try:
        whole_training(configs["diverged"], rank, count, poisoned)
    except UserError as error:
        save("diverged", rank, folder, message=str(error))

    def failing(trainer: Any, step: int) -> None:
        if rank == 1 and step == 1:
            raise UserError(SENTENCE)

    whole_training(configs["failed"], rank, count, failing)
