"""A generative field that is a formula: a ball whose centre is the latent, coloured by position."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gan3d_ns.fields.base_field import GenerativeField, Styles


@dataclass(frozen=True)
class BallStyles(Styles):
    """Centres of the balls in world units."""

    centres: Float[Tensor, "batch 3"]


class BallField(GenerativeField):
    """Logit = slope * (radius - distance from the latent's point); counts the points that it is asked for."""

    latent_dim = code_dim = 3

    def __init__(self, radius: float = 0.05, slope: float = 2000.0) -> None:
        super().__init__()
        self.radius, self.tint = radius, nn.Parameter(torch.full((3,), 0.5))
        self.slope = nn.Parameter(torch.tensor(slope))
        self.num_geometry = self.num_colours = 0

    def mapping(self, latents):
        return latents

    def condition(self, codes):
        return BallStyles(codes)

    def geometry_logits(self, positions, styles):
        self.num_geometry += positions.shape[0] * positions.shape[1]
        return self.slope * (self.radius - (positions - styles.centres[:, None]).norm(dim=-1))

    def colours(self, positions, directions, styles):
        self.num_colours += positions.shape[0] * positions.shape[1]
        return torch.sigmoid(10.0 * positions + self.tint)

    def forward(self, positions, directions, styles):
        return self.geometry_logits(positions, styles), self.colours(positions, directions, styles)
