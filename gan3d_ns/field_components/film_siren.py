"""FiLM-conditioned sine layers and the mapping network that drives them (pi-GAN, section 3; GOF keeps them)."""

from __future__ import annotations

import itertools
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

FREQUENCY_SCALE = 15.0
"""Raw mapping outputs f become frequencies 15 f + 30 (released code of pi-GAN and GOF)."""
FREQUENCY_SHIFT = 30.0


def uniform_(tensor: Tensor, bound: float) -> None:
    """Fills ``tensor`` in place from U[-bound, bound]."""
    with torch.no_grad():
        tensor.uniform_(-bound, bound)


class FilmSirenLayer(nn.Module):
    """sin(omega * (W h + b) + phi), with one frequency omega and phase phi for each latent and channel.

    Weights start uniform in +-sqrt(6 / fan_in) / 25; a first layer, which sees coordinates, in +-1 / fan_in.
    """

    def __init__(self, in_features: int, out_features: int, is_first: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        uniform_(self.linear.weight, 1.0 / in_features if is_first else math.sqrt(6.0 / in_features) / 25.0)

    def forward(
        self,
        inputs: Float[Tensor, "batch points in_features"],
        frequencies: Float[Tensor, "batch out_features"],
        phase_shifts: Float[Tensor, "batch out_features"],
    ) -> Float[Tensor, "batch points out_features"]:
        return torch.sin(frequencies[:, None] * self.linear(inputs) + phase_shifts[:, None])

    def folded(
        self, frequencies: Float[Tensor, "batch out_features"], phase_shifts: Float[Tensor, "batch out_features"]
    ) -> tuple[Float[Tensor, "batch in_features out_features"], Float[Tensor, "batch out_features"]]:
        """A and c with which the layer is sin(h A + c): A = (omega W)^T, c = omega b + phi, for each latent."""
        matrices = self.linear.weight.T * frequencies[:, None]
        return matrices, torch.addcmul(phase_shifts, frequencies, self.linear.bias)


class MappingNetwork(nn.Module):
    """Latent -> code: three hidden linear layers with LeakyReLU 0.2 and a linear output.

    Kaiming-normal weights (a = 0.2, fan_in); the last matrix is scaled by 0.25, so that early styles vary little.
    """

    def __init__(self, latent_dim: int, hidden_dim: int, code_dim: int, num_hidden_layers: int = 3) -> None:
        super().__init__()
        widths = [latent_dim] + [hidden_dim] * num_hidden_layers
        layers: list[nn.Module] = []
        for fan_in, fan_out in itertools.pairwise(widths):
            layers += [nn.Linear(fan_in, fan_out), nn.LeakyReLU(0.2)]
        last = nn.Linear(hidden_dim, code_dim)
        layers.append(last)
        self.layers = nn.Sequential(*layers)
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, a=0.2, mode="fan_in", nonlinearity="leaky_relu")
        with torch.no_grad():
            last.weight.mul_(0.25)

    def forward(self, latents: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch code"]:
        return self.layers(latents)
