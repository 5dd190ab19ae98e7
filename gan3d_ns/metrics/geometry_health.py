"""Is there a surface, does it face outwards, has it depth: cheap checks on frontal depth images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

CENTRE_FRACTION = 0.3
"""Side of the central square that is compared with the rest, as a fraction of the image."""


@dataclass(frozen=True)
class GeometryHealth:
    """Averages over several objects seen from the front. Depths in world units."""

    hit_rate: float
    """Fraction of rays that meet a surface from outside."""
    relief: float
    """Mean depth of the rest minus mean depth of the centre: positive where the middle is nearer (outward-facing)."""
    hollow_fraction: float
    """Fraction of the objects whose middle lies deeper than the rest: the "hollow face" solution."""
    depth_spread: float
    """Standard deviation of the surface depth within an image: near 0 for flat cards."""


def relief(depth: Float[Tensor, "batch side side"], hit: Bool[Tensor, "batch side side"]) -> Float[Tensor, "batch"]:
    """How much nearer the middle of each image is than the rest, over rays with a surface; 0 where one part is empty.

    GOF's authors start from checkpoints whose faces are known to bulge outwards; this is the check for it.
    """
    side = depth.shape[-1]
    margin = round(side * (1.0 - CENTRE_FRACTION) / 2.0)
    centre = torch.zeros_like(hit)
    centre[:, margin : side - margin, margin : side - margin] = True
    means = []
    for mask in (hit & ~centre, hit & centre):
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
