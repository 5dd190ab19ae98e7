"""VolumeGAN's structural representation: a volume of features drawn by 3D convolutions, which a code styles."""

from __future__ import annotations

import itertools
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

NORMALISATION_EPSILON = 1e-8
LEAKY_SLOPE = 0.2
FIRST_SIDE = 4
STYLE_GAIN = 0.25
"""Scale of the style layer's first weights (VolumeGAN, released code)."""
BILINEAR, BORDER = 0, 1
"""torch's numbers of the interpolation and padding modes."""

StyleOrder = Literal["style-then-activate", "activate-then-style"]


class FeatureVolume(nn.Module):
    """Learned 4x4x4 constant -> 3x3x3 convolutions at sides 4, 8, ... with adaptive instance norm -> feature volume.

    (VolumeGAN, section 3.1; released code, FeatureVolume.) One linear layer gives the scales and shifts of all stages;
    features are doubled by repetition before each convolution but the first.

    Args:
        code_dim: length of the code.
        channels: of the stages, at side 4 * 2**index; the constant has those of the first.
        order: "style-then-activate" normalises, scales and shifts, then applies the leaky ReLU (released code);
            "activate-then-style" applies it first (the paper's figure 2).
        constant_std: spread of the constant's first values around 1; 0 as published.
    """

    def __init__(
        self,
        code_dim: int,
        channels: tuple[int, ...],
        order: StyleOrder = "style-then-activate",
        constant_std: float = 0.0,
    ) -> None:
        super().__init__()
        self.order: StyleOrder = order
        self.channels = channels
        side = FIRST_SIDE
        self.constant = nn.Parameter(1.0 + constant_std * torch.randn(1, channels[0], side, side, side))
        widths = (channels[0], *channels)
        self.convolutions = nn.ModuleList(
            nn.Conv3d(fan_in, fan_out, 3, padding=1) for fan_in, fan_out in itertools.pairwise(widths)
        )
        self.style = nn.Linear(code_dim, 2 * sum(channels))
        nn.init.kaiming_normal_(self.style.weight, a=LEAKY_SLOPE, mode="fan_in", nonlinearity="leaky_relu")
        with torch.no_grad():
            self.style.weight.mul_(STYLE_GAIN)

    @property
    def side(self) -> int:
        """Voxels along each axis."""
        return FIRST_SIDE * 2 ** (len(self.channels) - 1)

    def forward(self, code: Float[Tensor, "batch code"]) -> Float[Tensor, "batch channel depth height width"]:
        """The volume of each code; depth runs along z, height along y, width along x."""
        scales, shifts = (part.split(self.channels, dim=1) for part in self.style(code).chunk(2, dim=1))
        features = self.constant.expand(len(code), -1, -1, -1, -1)
        for index, convolution in enumerate(self.convolutions):
            if index > 0:
                features = F.interpolate(features, scale_factor=2, mode="nearest")
            features = convolution(features)
            if self.order == "activate-then-style":
                features = F.leaky_relu(features, LEAKY_SLOPE)
            features = F.instance_norm(features, eps=NORMALISATION_EPSILON)
            features = features * scales[index][..., None, None, None] + shifts[index][..., None, None, None]
            if self.order == "style-then-activate":
                features = F.leaky_relu(features, LEAKY_SLOPE)
        return features


def sample_volume(
    volume: Float[Tensor, "batch channel depth height width"], coordinates: Float[Tensor, "batch points 3"]
) -> Float[Tensor, "batch points channel"]:
    """Trilinear reads at (x, y, z) in [-1, 1], which spans the centres of the outermost voxels; beyond, the border's.

    Differentiable twice with respect to the volume, as penalties of the generator's gradient want it; with respect to
    the coordinates once. Never in half precision, whose steps are large parts of a voxel.
    """
    exact = torch.promote_types(volume.dtype, torch.float32)
    volume, grid = volume.to(exact), coordinates[:, :, None, None].to(exact)
    if coordinates.requires_grad and torch.is_grad_enabled():
        read = F.grid_sample(volume, grid, mode="bilinear", padding_mode="border", align_corners=True)
    else:
        read: Tensor = VolumeRead.apply(volume, grid)  # pyright: ignore[reportAssignmentType]
    return read[..., 0, 0].transpose(1, 2)


class VolumeRead(torch.autograd.Function):
    """Trilinear reads as a linear map of the volume; torch's own has no second derivative."""

    @staticmethod
    def forward(ctx: Any, volume: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(volume, grid)
        return torch.grid_sampler_3d(volume, grid, BILINEAR, BORDER, True)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        volume, grid = ctx.saved_tensors
        return VolumeReadAdjoint.apply(gradients[0], volume.detach(), grid), None  # pyright: ignore


class VolumeReadAdjoint(torch.autograd.Function):
    """The transpose of :class:`VolumeRead`: numbers at points, spread over the voxels around them."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, volume: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(grid)
        backward = torch.ops.aten.grid_sampler_3d_backward
        return backward(values.contiguous(), volume, grid, BILINEAR, BORDER, True, [True, False])[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (grid,) = ctx.saved_tensors
        return VolumeRead.apply(gradients[0], grid), None, None  # pyright: ignore
