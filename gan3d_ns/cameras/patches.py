"""Patches of pictures: few pixels spread over a random part of the frame; memory does not grow with it (GRAF)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Patches:
    """A grid of ``side`` x ``side`` points in each picture's frame, which spans [-1, 1] to the right and down."""

    scale: Float[Tensor, "batch"]
    """Side of the patch over that of the frame."""
    centre: Float[Tensor, "batch 2"]
    """(right, down)."""
    side: int

    def __getitem__(self, part: slice) -> Patches:
        return Patches(self.scale[part], self.centre[part], self.side)

    def coordinates(self) -> Float[Tensor, "batch ray 2"]:
        """(right, down) of each point, row by row from the top left; at scale 1 the borders of the frame included."""
        steps = torch.linspace(-1.0, 1.0, self.side, device=self.scale.device)
        down, right = torch.meshgrid(steps, steps, indexing="ij")
        grid = torch.stack((right, down), dim=-1).reshape(1, -1, 2)
        return grid * self.scale[:, None, None] + self.centre[:, None]

    def of(self, images: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch channel side side"]:
        """The pictures' values at the points, by bilinear interpolation between pixel centres."""
        grid = self.coordinates().unflatten(1, (self.side, self.side)).to(images)
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=True)


def draw_patches(count: int, side: int, smallest_scale: float, randomness: torch.Generator) -> Patches:
    """One patch for each of ``count`` pictures: scale ~ U(smallest, 1), shifts ~ U(-(1 - scale), 1 - scale).

    The scale is a random fraction of the frame, so that the field learns the whole and the detail at once (GRAF,
    section 3.2; released code, transforms.py).
    """
    uniforms = torch.rand(count, 3, generator=randomness, device=randomness.device)
    scale = smallest_scale + (1.0 - smallest_scale) * uniforms[:, 0]
    return Patches(scale, (2.0 * uniforms[:, 1:] - 1.0) * (1.0 - scale[:, None]), side)
