"""Train in this process as `ns-train` does, and keep what a test wants to see: losses, checkpoints, the console."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor


@dataclass(frozen=True)
class TrainedRun:
    """What a training left behind."""

    config: Any
    losses: dict[int, dict[str, Tensor]]
    """Terms by step."""
    trainer: Any
    """The trainer as it was at the end."""

    @property
    def folder(self) -> Path:
        return self.config.get_base_dir()

    @property
    def config_file(self) -> Path:
        return self.folder / "config.yml"

    def checkpoint(self, step: int) -> dict[str, Any]:
        """Read as a careful stranger would: without running code."""
        path = self.config.get_checkpoint_dir() / f"step-{step:09d}.ckpt"
        return torch.load(path, map_location="cpu", weights_only=True)


def train(config: Any) -> TrainedRun:
    """Train by nerfstudio's own `main`, noting the losses of each step."""
    from nerfstudio.scripts.train import main
    from nerfstudio.utils import writer

    from gan3d_ns.engine.gan_trainer import GanTrainer

    losses: dict[int, dict[str, Tensor]] = {}
    trainers: list[GanTrainer] = []
    iterate: Callable[..., Any] = GanTrainer.train_iteration

    def noted(trainer: GanTrainer, step: int) -> Any:
        trainers[:] = [trainer]
        total, terms, measures = iterate(trainer, step)
        losses[step] = terms
        return total, terms, measures

    writer.EVENT_WRITERS.clear()  # those of the run before, which are global
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GanTrainer, "train_iteration", noted)
        main(config)
    return TrainedRun(config, losses, trainers[0])
