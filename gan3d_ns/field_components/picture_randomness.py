"""Random numbers that belong to single pictures, whatever is computed beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Union

import torch
from jaxtyping import Float
from torch import Tensor


class PictureRandomness:
    """A source of random numbers for each picture of a batch.

    What a picture gets does not depend on the pictures beside it, so that a batch may be computed in parts, or by
    several processes, and is the same batch.

    Args:
        seeds: one for each picture.
        device: where the numbers are wanted.
    """

    def __init__(self, seeds: Sequence[int], device: Union[torch.device, str] = "cpu") -> None:
        self.sources = [torch.Generator(device=device).manual_seed(seed) for seed in seeds]

    def fill(self, numbers: Float[Tensor, "picture *shape"], kind: str) -> Float[Tensor, "picture *shape"]:
        """Draws each picture's row from its own source, in place."""
        for row, source in zip(numbers, self.sources, strict=True):
            getattr(row, kind)(generator=source)
        return numbers


Randomness = Union[torch.Generator, PictureRandomness]
"""One source for all pictures, or one for each."""


def random_uniforms(
    shape: Sequence[int], randomness: Randomness | None, device: Union[torch.device, str]
) -> Float[Tensor, "picture *shape"]:
    """Numbers in [0, 1), of torch's own source without another; the first axis of the shape counts the pictures."""
    if not isinstance(randomness, PictureRandomness):
        return torch.rand(*shape, generator=randomness, device=device)
    return randomness.fill(torch.empty(*shape, device=device), "uniform_")


def random_normals(
    shape: Sequence[int], randomness: Randomness | None, device: Union[torch.device, str]
) -> Float[Tensor, "picture *shape"]:
    """Standard normal numbers, see :func:`random_uniforms`."""
    if not isinstance(randomness, PictureRandomness):
        return torch.randn(*shape, generator=randomness, device=device)
    return randomness.fill(torch.empty(*shape, device=device), "normal_")
