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
    """The earliest sign change along each ray, a hit when the ray starts in free space and that change enters matter.

    A ray that starts inside matter, or that first leaves it, is a miss (GOF, released code, perform_ray_marching).
    The earliest change of a ray that starts outside is always an entry, so the first test settles the second.

    Args:
        values: logits relative to the level, positive in matter.
        distances: increasing distances of the samples along the ray.
    """
    changes = values[..., :-1] * values[..., 1:] < 0
    index = changes.to(torch.uint8).argmax(dim=-1, keepdim=True)
    value_low = values.gather(-1, index).squeeze(-1)
    return Brackets(
        low=distances.gather(-1, index).squeeze(-1),
        high=distances.gather(-1, index + 1).squeeze(-1),
        value_low=value_low,
        value_high=values.gather(-1, index + 1).squeeze(-1),
        hit=changes.any(dim=-1) & (values[..., 0] < 0) & (value_low < 0),
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
