"""Convolutions that know where they are (Liu et al. 2018, "CoordConv")."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


def append_coordinates(
    features: Float[Tensor, "batch channel height width"],
) -> Float[Tensor, "batch channel_2 height width"]:
    """The features with two more channels: the row (top -1, bottom +1), then the column (left -1, right +1)."""
    batch, _, height, width = features.shape
    rows = torch.linspace(-1, 1, height, dtype=features.dtype, device=features.device)
    columns = torch.linspace(-1, 1, width, dtype=features.dtype, device=features.device)
    coordinates = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
    return torch.cat([features, coordinates.expand(batch, 2, height, width)], dim=1)


class CoordConv2d(nn.Conv2d):
    """A convolution over the features and their two coordinates; `in_channels` counts the features alone."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__(in_channels + 2, out_channels, kernel_size, stride=stride, padding=padding)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, features: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch out_channel out_height out_width"]:
        """The convolution of the features and coordinates."""
        return super().forward(append_coordinates(features))
