"""Tiny feature networks as TorchScript files: what a user may give instead of a published network."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

CELLS = 2
"""The network's features are the mean colours of 2 x 2 cells, in [0, 1]."""
DIMENSION = 3 * CELLS**2


class CellColours(nn.Module):
    """Bytes (n, 3, h, w) to the mean colours of a grid of cells."""

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(images.float() / 255.0, (2, 2)).flatten(1)


class Sized(nn.Module):
    """Takes pictures of 8 x 8 only."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(192, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(images.float().flatten(1))


class Unpooled(nn.Module):
    """Gives maps instead of vectors."""

    def forward(self, images: Tensor) -> Tensor:
        return images.float()


class Infinite(nn.Module):
    """Gives numbers that are none."""

    def forward(self, images: Tensor) -> Tensor:
        return (images.float() / 0.0).mean(dim=(2, 3))


def save_network(path: Path, module: nn.Module | None = None) -> Path:
    """Write a module (by default `CellColours`) as TorchScript."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.script(CellColours() if module is None else module).save(str(path))
    return path


def file_sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
