"""Where a ray first enters matter: the first outside-to-inside crossing and its refinement (GOF, section 3.2).

Values are occupancy logits relative to the level, so matter is positive. Nothing here carries a gradient: GOF learns
by evaluating the field again around the surface, not through the depth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

SLOPE_EPSILON = 1e-12


@dataclass(frozen=True)
class SurfaceHits:
    """The first surface along each ray: distance in world units (``miss_depth`` where there is none) and a mask."""

    depth: Float[Tensor, "*batch"]
    hit: Bool[Tensor, "*batch"]


@dataclass(frozen=True)
class Brackets:
    """Two neighbouring samples of each ray that enclose its first entry into matter, valid where ``hit``."""

    low: Float[Tensor, "*batch"]
    high: Float[Tensor, "*batch"]
    value_low: Float[Tensor, "*batch"]
    value_high: Float[Tensor, "*batch"]
    hit: Bool[Tensor, "*batch"]


def first_crossing(values: Float[Tensor, "*batch sample"], distances: Float[Tensor, "*batch sample"]) -> Brackets:
    """The first entry into matter of each ray that starts in free space.

    A ray that starts inside matter is a miss (GOF, released code, perform_ray_marching). A sample that lies exactly on
    the surface counts as matter, as it does in meshes; the released code, which multiplies neighbours, passes over it.

    Args:
        values: logits relative to the level, negative in free space.
        distances: increasing distances of the samples along the ray.
    """
    outside = values < 0
    entries = outside[..., :-1] & (values[..., 1:] >= 0)
    index = entries.to(torch.uint8).argmax(dim=-1, keepdim=True)
    return Brackets(
        low=distances.gather(-1, index).squeeze(-1),
        high=distances.gather(-1, index + 1).squeeze(-1),
        value_low=values.gather(-1, index).squeeze(-1),
        value_high=values.gather(-1, index + 1).squeeze(-1),
        # The first change of a ray that starts outside is an entry.
        hit=outside[..., 0] & entries.any(dim=-1),
    )


def refine_root(
    value_at: Callable[[Float[Tensor, "*batch"]], Float[Tensor, "*batch"]],
    brackets: Brackets,
    num_steps: int,
    method: Literal["secant", "bisection"] = "secant",
) -> Float[Tensor, "*batch"]:
    """Distance of the root inside each bracket after ``num_steps`` evaluations of ``value_at``.

    Secant is regula falsi: the end with the sign of the new value is replaced. Rays without a hit return numbers
    that mean nothing.
    """
    low, high, value_low, value_high = brackets.low, brackets.high, brackets.value_low, brackets.value_high

    def estimate() -> Float[Tensor, "*batch"]:
        if method == "bisection":
            return 0.5 * (low + high)
        slope = value_high - value_low
        slope = torch.where(slope.abs() < SLOPE_EPSILON, torch.full_like(slope, SLOPE_EPSILON), slope)
        return low - value_low * (high - low) / slope

    root = estimate()
    for _ in range(num_steps):
        value = value_at(root)
        outside = value < 0
        low, high = torch.where(outside, root, low), torch.where(outside, high, root)
        value_low, value_high = torch.where(outside, value, value_low), torch.where(outside, value_high, value)
        root = estimate()
    return root
