"""Style-modulated convolution (StyleGAN2, section 2.2) in its unfused form, which is the faster one on a CPU."""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gan3d_ns.field_components.style_layers import EqualisedLinear

DEMODULATION_EPSILON = 1e-8
NORMALISATION_EPSILON = 1e-8
SHIFT_STD = 0.3
"""Spread of the biases that a code gives, for codes of unit variance."""


class LatentMapping(nn.Sequential):
    """Latents, scaled to unit variance, to codes of the same length by two leaky-ReLU layers."""

    def __init__(self, latent_dim: int) -> None:
        first, second = nn.Linear(latent_dim, latent_dim), nn.Linear(latent_dim, latent_dim)
        super().__init__(first, nn.LeakyReLU(0.2), second, nn.LeakyReLU(0.2))
        for layer in (first, second):
            nn.init.kaiming_normal_(layer.weight, a=0.2, nonlinearity="leaky_relu")
            nn.init.zeros_(layer.bias)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, latents: Float[Tensor, "batch latent"]
    ) -> Float[Tensor, "batch code"]:
        scale = latents.square().mean(dim=-1, keepdim=True)
        return super().forward(latents * torch.rsqrt(scale + NORMALISATION_EPSILON))


class ModulatedConv2d(nn.Module):
    """Convolution whose input channels are scaled by a style and whose outputs are scaled back to unit variance.

    Scaling the input and the output of one shared convolution equals convolving with modulated, demodulated weights.
    """

    def __init__(
        self, in_channels: int, out_channels: int, code_dim: int, kernel_size: int = 3, demodulate: bool = True
    ) -> None:
        super().__init__()
        # Scaled at the start, not at run time: equalised learning rates made short trainings many times slower.
        weight = torch.randn(out_channels, in_channels, kernel_size, kernel_size)
        self.weight = nn.Parameter(weight / math.sqrt(in_channels * kernel_size**2))
        self.style = nn.Linear(code_dim, in_channels)
        nn.init.normal_(self.style.weight, std=1.0 / math.sqrt(code_dim))
        nn.init.ones_(self.style.bias)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.demodulate = demodulate

    def forward(
        self, features: Float[Tensor, "batch in_channels height width"], code: Float[Tensor, "batch code"]
    ) -> Float[Tensor, "batch out_channels height width"]:
        weight = self.weight
        style = self.style(code)
        outputs = F.conv2d(features * style[:, :, None, None], weight, padding=weight.shape[-1] // 2)
        if self.demodulate:
            energy = style.square() @ weight.square().sum(dim=(2, 3)).T
            outputs = outputs * torch.rsqrt(energy + DEMODULATION_EPSILON)[:, :, None, None]
        return outputs + self.bias[:, None, None]


class StyleGenerator2d(nn.Module):
    """Learned 4x4 constant -> feature images of growing sides by style-modulated convolutions.

    ``channels[i]`` is the width at side 4 * 2**i. No noise inputs: a code alone decides the picture.
    """

    def __init__(self, code_dim: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.constant = nn.Parameter(torch.randn(1, channels[0], 4, 4))
        widths = (channels[0], *channels)
        self.blocks = nn.ModuleList(
            ModulatedConv2d(fan_in, fan_out, code_dim) for fan_in, fan_out in itertools.pairwise(widths)
        )

    @property
    def sides(self) -> list[int]:
        """Sides of the feature images, smallest first."""
        return [4 * 2**index for index in range(len(self.blocks))]

    def forward(self, codes: Float[Tensor, "block batch code"]) -> list[Tensor]:
        """The feature image after each block, "batch channels[i] sides[i] sides[i]", each block with a code."""
        features, outputs = self.constant.expand(codes.shape[1], -1, -1, -1), []
        for index, (block, code) in enumerate(zip(self.blocks, codes, strict=True)):
            if index > 0:
                features = F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
            features = F.leaky_relu(block(features, code), 0.2) * math.sqrt(2.0)
            outputs.append(features)
        return outputs


class ModulatedLinear(nn.Module):
    """A linear layer whose weights a code scales (as :class:`ModulatedConv2d`) and whose bias it shifts.

    It answers with the weights themselves, one matrix for each code: computed once, applied to any number of points.
    """

    def __init__(self, in_features: int, out_features: int, code_dim: int, demodulate: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(in_features, out_features) / math.sqrt(in_features))
        self.style = nn.Linear(code_dim, in_features)
        nn.init.normal_(self.style.weight, std=1.0 / math.sqrt(code_dim))
        nn.init.ones_(self.style.bias)
        self.shift = nn.Linear(code_dim, out_features)
        nn.init.normal_(self.shift.weight, std=SHIFT_STD / math.sqrt(code_dim))
        nn.init.zeros_(self.shift.bias)
        self.demodulate = demodulate

    def forward(
        self, code: Float[Tensor, "batch code"]
    ) -> tuple[Float[Tensor, "batch in_features out_features"], Float[Tensor, "batch out_features"]]:
        """Weights and biases for each code."""
        weights = self.style(code)[:, :, None] * self.weight
        if self.demodulate:
            weights = weights * torch.rsqrt(weights.square().sum(dim=1, keepdim=True) + DEMODULATION_EPSILON)
        return weights, self.shift(code)


class EqualisedModulatedLinear(nn.Module):
    """A 1x1 convolution of StyleGAN2 (section 2.2): weights at equalised learning rate that a code scales, and a bias.

    As :class:`ModulatedLinear` it answers with one matrix for each code; the bias does not depend on the code.

    Args:
        in_features: length of the inputs.
        out_features: length of the outputs.
        code_dim: length of the code.
        demodulate: scale each output back to the variance of its inputs.
        rate: factor of the learning rate, see :class:`EqualisedLinear`.
    """

    def __init__(
        self, in_features: int, out_features: int, code_dim: int, demodulate: bool = True, rate: float = 1.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / rate)
        self.bias = nn.Parameter(torch.zeros(out_features))
        self.style = EqualisedLinear(code_dim, in_features, initial_bias=1.0, rate=rate)
        self.scale = rate / math.sqrt(in_features)
        self.rate = rate
        self.demodulate = demodulate

    def forward(
        self, code: Float[Tensor, "batch code"]
    ) -> tuple[Float[Tensor, "batch in_features out_features"], Float[Tensor, "batch out_features"]]:
        """Weights and biases for each code."""
        weights = self.style(code)[:, :, None] * (self.weight.T * self.scale)
        if self.demodulate:
            weights = weights * torch.rsqrt(weights.square().sum(dim=1, keepdim=True) + DEMODULATION_EPSILON)
        return weights, (self.bias * self.rate).expand(len(code), -1)


class EqualisedMapping(nn.Sequential):
    """Latents, scaled to unit variance, to codes by dense layers with leaky ReLUs (StyleGAN2, released code).

    Args:
        latent_dim: length of the latents.
        hidden_dim: width of the layers but the last.
        code_dim: length of the codes.
        num_layers: how many layers.
        rate: factor of their learning rate; 0.01 as published.
    """

    def __init__(self, latent_dim: int, hidden_dim: int, code_dim: int, num_layers: int = 8, rate: float = 0.01):
        widths = (latent_dim, *[hidden_dim] * (num_layers - 1), code_dim)
        super().__init__(
            *(EqualisedLinear(fan_in, fan_out, rate=rate) for fan_in, fan_out in itertools.pairwise(widths))
        )

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, latents: Float[Tensor, "batch latent"]
    ) -> Float[Tensor, "batch code"]:
        features = latents * torch.rsqrt(latents.square().mean(dim=-1, keepdim=True) + NORMALISATION_EPSILON)
        for layer in self:
            features = F.leaky_relu(layer(features), 0.2) * math.sqrt(2.0)
        return features
