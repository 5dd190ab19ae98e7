"""The order in which a collection is read: a function of the seed and the position, with no state to save.

A run that stops after n images and resumes at position n sees what an uninterrupted run would have seen.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import torch
from jaxtyping import Bool, Int64
from torch import Tensor


def epoch_indices(start: int, count: int, size: int, seed: int) -> Int64[Tensor, "count"]:
    """Indices of the images at positions start .. start + count - 1 of an endless, shuffled reading.

    Position p is entry p % size of the permutation of epoch p // size, which depends on (seed, epoch) alone: the order
    does not depend on how positions are grouped into batches, and each epoch shows each image once.

    Args:
        start: number of images read before.
        count: how many to read now; may cross epochs.
        size: number of images in the collection.
        seed: selects the order.
    """
    return _of_positions(0, start, count, size, seed)


def epoch_flips(start: int, count: int, size: int, seed: int) -> Bool[Tensor, "count"]:
    """Which of the same images to mirror: a fair coin for each position, also a function of the position alone."""
    return _of_positions(1, start, count, size, seed)


def _of_positions(which: int, start: int, count: int, size: int, seed: int) -> Tensor:
    if size < 1 or start < 0 or count < 0:
        raise ValueError(f"size {size} must be positive, start {start} and count {count} not negative")
    parts = []
    end = start + count
    while start < end:
        epoch, first = divmod(start, size)
        taken = min(end - start, size - first)
        parts.append(_epoch(seed, epoch, size)[which][first : first + taken])
        start += taken
    return torch.cat(parts) if parts else _epoch(seed, 0, size)[which][:0].clone()


@lru_cache(maxsize=2)
def _epoch(seed: int, epoch: int, size: int) -> tuple[Tensor, Tensor]:
    # PyTorch's CPU generator uses 32 bits of its seed, so neighbouring (seed, epoch) pairs are hashed apart.
    digest = hashlib.blake2b(f"{seed}:{epoch}".encode(), digest_size=4).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "little"))
    return torch.randperm(size, generator=generator), torch.rand(size, generator=generator) < 0.5
