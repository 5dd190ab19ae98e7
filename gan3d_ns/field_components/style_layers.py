"""What networks of the StyleGAN family are made of: equalised learning rates and resampling by a small FIR filter."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

BINOMIAL_TAPS = (1.0, 3.0, 3.0, 1.0)
"""Weights of the resampling filter along each axis, before they are normalised (StyleGAN2, released code)."""


class EqualisedLinear(nn.Module):
    """A linear layer whose weights are kept at unit variance and scaled where they are used (Karras et al. 2018).

    With w ~ N(0, 1 / rate), it gives x (w rate / sqrt(in_features))^T + b rate: an optimizer such as Adam, whose step
    does not depend on a gradient's size, moves all layers equally fast, and this one `rate` times as fast as others.

    Args:
        in_features: length of the inputs.
        out_features: length of the outputs.
        bias: whether there is a bias.
        initial_bias: the bias that is added at the start.
        rate: factor of the learning rate (StyleGAN's mapping network has 0.01).
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, initial_bias: float = 0.0, rate: float = 1.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / rate)
        self.bias = nn.Parameter(torch.full((out_features,), initial_bias / rate)) if bias else None
        self.scale = rate / math.sqrt(in_features)
        self.rate = rate

    def forward(self, inputs: Float[Tensor, "*batch in_features"]) -> Float[Tensor, "*batch out_features"]:
        bias = None if self.bias is None else self.bias * self.rate
        return functional.linear(inputs, self.weight * self.scale, bias)


class EqualisedConv2d(nn.Module):
    """A convolution whose weights are kept at unit variance and scaled by 1 / sqrt(fan-in) where they are used.

    Args:
        in_channels: channels of the inputs.
        out_channels: channels of the outputs.
        kernel_size: side of the kernel in pixels.
        stride: step in pixels.
        padding: zeros around the inputs; None keeps their size (for a stride of 1 and an odd kernel).
        bias: whether there is a bias, which starts at 0.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.scale = 1.0 / math.sqrt(in_channels * kernel_size**2)
        self.stride = stride
        self.padding = kernel_size // 2 if padding is None else padding

    def forward(
        self, features: Float[Tensor, "batch in_channels row column"]
    ) -> Float[Tensor, "batch out_channels out_row out_column"]:
        return functional.conv2d(features, self.weight * self.scale, self.bias, self.stride, self.padding)


def fir_filter2d(
    images: Float[Tensor, "batch channel row column"],
    taps: tuple[float, ...] = BINOMIAL_TAPS,
    padding: tuple[int, int] = (0, 0),
    stride: int = 1,
) -> Float[Tensor, "batch channel out_row out_column"]:
    """The images, filtered along both axes with the taps over their sum, channel by channel.

    Args:
        images: any channels; the outside counts as 0.
        taps: symmetric weights.
        padding: zeros in front of and behind both axes.
        stride: distance in pixels between the outputs.
    """
    before, after = padding
    padded = functional.pad(images, (before, after, before, after))
    return functional.conv2d(padded, _kernel(taps, images), stride=stride, groups=images.shape[1])


def fir_downsample2d(
    images: Float[Tensor, "batch channel row column"], taps: tuple[float, ...] = BINOMIAL_TAPS
) -> Float[Tensor, "batch channel half_row half_column"]:
    """The images at half their side: filtered, then every second pixel (StyleGAN2, released code).

    An image of one colour keeps it, except that the borders fade, since the outside counts as 0.

    Args:
        images: any channels, with even sides.
        taps: symmetric weights of the filter, an even number of them.
    """
    extra = len(taps) - 2
    return fir_filter2d(images, taps, padding=((extra + 1) // 2, extra // 2), stride=2)


def fir_upsample2d(
    images: Float[Tensor, "batch channel row column"], taps: tuple[float, ...] = BINOMIAL_TAPS
) -> Float[Tensor, "batch channel double_row double_column"]:
    """The images at twice their side: zeros between the pixels, filtered with the gain 4 (StyleGAN2, released code).

    With the taps (1, 3, 3, 1) it is bilinear interpolation between pixel middles, except that the borders fade, since
    the outside counts as 0 (as published): the outermost pixel has 3/4 of the colour, a corner 9/16.

    Args:
        images: any channels.
        taps: symmetric weights of the filter, an even number of them.
    """
    pad = (len(taps) - 2) // 2
    kernel = 4.0 * _kernel(taps, images)
    return functional.conv_transpose2d(images, kernel, stride=2, padding=pad, groups=images.shape[1])


def _kernel(taps: tuple[float, ...], images: Tensor) -> Tensor:
    """The filter of both axes for each channel; in one piece it is faster than axis by axis, at this size."""
    weights = torch.tensor(taps, dtype=images.dtype, device=images.device)
    weights = weights / weights.sum()
    return torch.outer(weights, weights).expand(images.shape[1], 1, -1, -1)
