"""Where in a camera's frame points of the world appear: the way back from `PosePrior.rays_at`."""

from __future__ import annotations

import math
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, stack


class Projected(NamedTuple):
    """Places of points in a frame that spans [-1, 1] to the right and down, pixel centres at its borders included."""

    coordinates: Float[Tensor, "*batch point 2"]
    """(right, down); beyond [-1, 1] outside the frame, and without meaning behind the camera."""
    depth: Float[Tensor, "*batch point"]
    """Along the optical axis in world units; negative behind the camera."""
    distance: Float[Tensor, "*batch point"]
    """From the camera, in world units."""


def projected(
    points: Float[Tensor, "*batch point 3"], camera_to_world: Float[Tensor, "*batch 3 4"], fov_deg: float
) -> Projected:
    """World points as OpenGL cameras (columns right, up, backward, position) of a field of view see them."""
    offsets = points - camera_to_world[..., None, :, 3]
    right, up, backward = (offsets @ camera_to_world[..., :3]).unbind(-1)
    half_frame = math.tan(math.radians(fov_deg) / 2.0)
    coordinates = stack((right, -up), dim=-1) / (half_frame * -backward[..., None])
    return Projected(coordinates, -backward, offsets.norm(dim=-1))
