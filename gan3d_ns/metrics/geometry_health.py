"""Is there a surface, does it face outwards, has it depth, how much is filled: cheap checks on a few objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

CENTRE_FRACTION = 0.3
"""Side of the central square that is compared with the ring around it, as a fraction of the image."""
RING_FRACTION = 0.6
"""Outer side of that ring: within the object, so that a wall behind it does not count."""
NUM_BOX_POINTS = 4096
"""Points of each object that are asked whether they lie in matter."""


@dataclass(frozen=True)
class GeometryHealth:
    """Averages over several objects seen from the front. Depths in world units."""

    hit_rate: float
    """Fraction of rays that meet a surface from outside."""
    relief: float
    """Mean depth of the ring minus mean depth of the centre: positive where the middle is nearer (outward-facing)."""
    hollow_fraction: float
    """Fraction of the objects whose middle lies deeper than the ring around it: the "hollow face" solution."""
    depth_spread: float
    """Standard deviation of the surface depth within an image: near 0 for flat cards."""


def central_square(like: Bool[Tensor, "batch side side"], fraction: float) -> Bool[Tensor, "batch side side"]:
    """A mask of the middle square whose side is a fraction of the image's."""
    side = like.shape[-1]
    margin = round(side * (1.0 - fraction) / 2.0)
    mask = torch.zeros_like(like)
    mask[:, margin : side - margin, margin : side - margin] = True
    return mask


def relief(depth: Float[Tensor, "batch side side"], hit: Bool[Tensor, "batch side side"]) -> Float[Tensor, "batch"]:
    """How much nearer the middle of each image is than the ring around it, over rays with a surface.

    0 where either has no surface. GOF's authors start from checkpoints whose faces are known to bulge outwards; this is
    the check for it.
    """
    centre = central_square(hit, CENTRE_FRACTION)
    ring = central_square(hit, RING_FRACTION) & ~centre
    means = []
    for mask in (hit & ring, hit & centre):
        count = mask.sum(dim=(1, 2))
        mean = (depth * mask).sum(dim=(1, 2)) / count.clamp(min=1)
        means.append(torch.where(count > 0, mean, torch.full_like(mean, torch.nan)))
    return torch.nan_to_num(means[0] - means[1])


def geometry_health(depth: Float[Tensor, "batch side side"], hit: Bool[Tensor, "batch side side"]) -> GeometryHealth:
    """Health of frontal surface depth images (distance along the unit ray; anything where ``hit`` is false)."""
    bulge = relief(depth, hit)
    count = hit.sum(dim=(1, 2)).clamp(min=1)
    mean = (depth * hit).sum(dim=(1, 2)) / count
    variance = ((depth - mean[:, None, None]).square() * hit).sum(dim=(1, 2)) / count
    return GeometryHealth(
        hit_rate=float(hit.float().mean()),
        relief=float(bulge.mean()),
        hollow_fraction=float((bulge < 0).float().mean()),
        depth_spread=float(variance.sqrt().mean()),
    )


@torch.no_grad()
def occupied_fraction(
    geometry_at: Callable[[Float[Tensor, "1 points 3"]], Float[Tensor, "batch points"]],
    level: float,
    box: Float[Tensor, "2 3"],
    randomness: torch.Generator,
    num_points: int = NUM_BOX_POINTS,
) -> float:
    """Share of a box that lies inside matter, by random points: an estimate with a standard error below 0.01.

    Args:
        geometry_at: value of the geometry at world positions, of one object or of several.
        level: matter lies above it.
        box: lower and upper corner in world units.
        randomness: on the box's device.
        num_points: of each object.
    """
    uniforms = torch.rand(1, num_points, 3, generator=randomness, device=box.device)
    return float((geometry_at(box[0] + (box[1] - box[0]) * uniforms) > level).float().mean())
