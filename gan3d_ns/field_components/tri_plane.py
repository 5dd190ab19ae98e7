"""Reading three axis-aligned feature planes at 3D points (EG3D, section 4.1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def sample_tri_planes(
    planes: Float[Tensor, "batch planes channels height width"], positions: Float[Tensor, "batch points 3"]
) -> Float[Tensor, "batch points channels"]:
    """Sum of the bilinear reads of the xy, xz and zy planes; positions in box units, the planes span [-1, 1].

    Points outside the box read the border, so that a field stays bounded where no training ray has been.
    """
    batch, _, channels, height, width = planes.shape
    coordinates = torch.stack((positions[..., [0, 1]], positions[..., [0, 2]], positions[..., [2, 1]]), dim=1)
    reads = F.grid_sample(
        planes.reshape(batch * 3, channels, height, width),
        coordinates.reshape(batch * 3, 1, -1, 2),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return reads.reshape(batch, 3, channels, -1).sum(dim=1).transpose(1, 2)
