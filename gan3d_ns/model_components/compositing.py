"""Alpha compositing of occupancies or densities along a ray (GOF, section 3.1; NeRF, equation 3)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

TRANSMITTANCE_EPSILON = 1e-10
ACCUMULATION_EPSILON = 1e-5
LAST_INTERVAL = 1e10
"""The last density sample is taken to extend to infinity."""

Background = Literal["black", "white", "last-sample"]


def occupancy_alphas(logits: Float[Tensor, "*batch sample"]) -> Float[Tensor, "*batch sample"]:
    """sigmoid(logit): opacity does not depend on the spacing of samples, so a window may shrink without a change."""
    return torch.sigmoid(logits)


def density_alphas(
    densities: Float[Tensor, "*batch sample"], distances: Float[Tensor, "*batch sample"]
) -> Float[Tensor, "*batch sample"]:
    """1 - exp(-delta * relu(density)) with the distance to the next sample as delta."""
    deltas = F.pad(distances[..., 1:] - distances[..., :-1], (0, 1), value=LAST_INTERVAL)
    return 1.0 - torch.exp(-deltas * torch.relu(densities))


def alphas_of(
    geometry: Literal["occupancy", "density"],
    values: Float[Tensor, "*batch sample"],
    distances: Float[Tensor, "*batch sample"],
) -> Float[Tensor, "*batch sample"]:
    """Opacity of each sample for either kind of geometry."""
    return occupancy_alphas(values) if geometry == "occupancy" else density_alphas(values, distances)


def compositing_weights(alphas: Float[Tensor, "*batch sample"]) -> Float[Tensor, "*batch sample"]:
    """w_i = alpha_i * prod_{j<i} (1 - alpha_j + 1e-10), samples in order of increasing distance."""
    transmittance = torch.cumprod(1.0 - alphas + TRANSMITTANCE_EPSILON, dim=-1)
    return alphas * F.pad(transmittance[..., :-1], (1, 0), value=1.0)


def composite_colour(
    weights: Float[Tensor, "*batch sample"], colours: Float[Tensor, "*batch sample 3"], background: Background
) -> Float[Tensor, "*batch 3"]:
    """Sum of weighted colours, and what a ray that is not yet opaque shows behind them.

    "last-sample" gives the remaining weight to the last sample's colour (``last_back`` of the released code).
    """
    colour = (weights[..., None] * colours).sum(dim=-2)
    if background == "black":
        return colour
    remainder = 1.0 - weights.sum(dim=-1, keepdim=True)
    return colour + remainder * (1.0 if background == "white" else colours[..., -1, :])


def expected_depth(
    weights: Float[Tensor, "*batch sample"], distances: Float[Tensor, "*batch sample"]
) -> Float[Tensor, "*batch"]:
    """Sum w t / (sum w + 1e-5): distance along the unit ray, towards 0 on empty rays."""
    return (weights * distances).sum(dim=-1) / (weights.sum(dim=-1) + ACCUMULATION_EPSILON)


def depth_variance(
    weights: Float[Tensor, "*batch sample"], distances: Float[Tensor, "*batch sample"]
) -> Float[Tensor, "*batch"]:
    """Weighted variance of the depth, sum w (t - d)^2 / ((sum w + 1e-5) (n - 1) / n): how diffuse a surface is."""
    count = weights.shape[-1]
    deviation = distances - expected_depth(weights, distances)[..., None]
    total = (weights.sum(dim=-1) + ACCUMULATION_EPSILON) * ((count - 1) / count)
    return (weights * deviation.square()).sum(dim=-1) / total
