"""Everything outside a sphere as a bounded space: directions and inverse distances (NeRF++, section 4)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def inverted_sphere_points(
    origins: Float[Tensor, "*batch 3"],
    directions: Float[Tensor, "*batch 3"],
    inverse_radii: Float[Tensor, "*batch sample"],
) -> Float[Tensor, "*batch sample 4"]:
    """The points of rays at given inverse distances from the sphere's centre: unit vector from there, inverse distance.

    Where a ray o + t d meets the sphere of radius 1 / s, s t = -s o.d + sqrt((s o.d)^2 - s^2 |o|^2 + 1); the unit
    vector s o + s t d is finite at s = 0 too, where it is d. NeRF++ gets it by turning the point on the unit sphere.

    Args:
        origins: in units of the sphere's radius, inside it; from outside the nearest point of a ray that misses.
        directions: unit vectors.
        inverse_radii: from 1, the sphere itself, to 0, infinity.
    """
    along = (origins * directions).sum(dim=-1, keepdim=True)
    away = origins.square().sum(dim=-1, keepdim=True)
    scaled = inverse_radii * along
    inside = (scaled.square() - inverse_radii.square() * away + 1.0).clamp(min=0.0)
    distances = inside.sqrt() - scaled
    points = inverse_radii[..., None] * origins[..., None, :] + distances[..., None] * directions[..., None, :]
    return torch.cat((torch.nn.functional.normalize(points, dim=-1), inverse_radii[..., None]), dim=-1)
