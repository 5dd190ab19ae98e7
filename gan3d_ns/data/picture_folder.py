"""Writing the pictures of a collection that this package makes itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from jaxtyping import Float
from nerfstudio.utils.rich_utils import CONSOLE
from PIL import Image
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from gan3d_ns.errors import UserError

SMALLEST_RESOLUTION = 8
NUM_DIGITS = 5
"""In the names of the pictures; more where there are more of them."""


def check_sizes(num_images: int, resolution: int) -> None:
    """Refuse numbers that make no collection.

    Raises:
        UserError: fewer than two pictures, or too small ones.
    """
    if num_images < 2 or resolution < SMALLEST_RESOLUTION:
        raise UserError(
            f"{num_images} images at {resolution} pixels make no collection; ask for 2 or more at "
            f"{SMALLEST_RESOLUTION} or more pixels."
        )


def write_pictures(
    folder: Path, numbers: Iterable[int], num: int, picture: Callable[[int], Float[Tensor, "3 row column"]], label: str
) -> None:
    """Write picture `number` as PNG for each number, in some threads, with a progress bar.

    Args:
        folder: where to.
        numbers: of the pictures, in the order in which they are made.
        num: how many there are.
        picture: colours in [0, 1] of a number.
        label: stands before the progress bar.
    """
    digits = max(NUM_DIGITS, len(str(num - 1)))

    def make(number: int) -> None:
        pixels = picture(number).permute(1, 2, 0).mul(255.0).round().to(torch.uint8).numpy()
        Image.fromarray(pixels).save(folder / f"{number:0{digits}d}.png")

    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool,
        Progress(*columns, console=CONSOLE, transient=True) as progress,
    ):
        task = progress.add_task("", total=num)
        for _ in pool.map(make, numbers):
            progress.advance(task)
