"""Alpha compositing along a ray (GOF, section 3.1; NeRF, equation 3)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gan3d_ns.model_components.surface import SurfaceHits

TRANSMITTANCE_EPSILON = 1e-10
ACCUMULATION_EPSILON = 1e-5
HALF = 0.5

Background = Literal["black", "white", "last-sample"]


def compositing_weights(alphas: Float[Tensor, "*batch sample"]) -> Float[Tensor, "*batch sample"]:
    """w_i = alpha_i * prod_{j<i} (1 - alpha_j + 1e-10), samples in order of increasing distance."""
    transmittance = torch.cumprod(1.0 - alphas + TRANSMITTANCE_EPSILON, dim=-1)
    return alphas * F.pad(transmittance[..., :-1], (1, 0), value=1.0)


def composite_colour(
    weights: Float[Tensor, "*batch sample"], colours: Float[Tensor, "*batch sample channel"], background: Background
) -> Float[Tensor, "*batch channel"]:
    """Sum of weighted colours (or features), and what a ray that is not yet opaque shows behind them.

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
    """Weighted variance of the depth, sum w (t - d)^2 / ((sum w + 1e-5) (n - 1) / n): how diffuse a surface is.

    A single sample is not divided by n - 1 = 0: it says nothing of a spread.
    """
    count = max(weights.shape[-1], 2)
    deviation = distances - expected_depth(weights, distances)[..., None]
    total = (weights.sum(dim=-1) + ACCUMULATION_EPSILON) * ((count - 1) / count)
    return (weights * deviation.square()).sum(dim=-1) / total


def median_surface(
    weights: Float[Tensor, "*batch sample"], distances: Float[Tensor, "*batch sample"], miss_depth: float
) -> SurfaceHits:
    """Where half of a ray's light is absorbed, for matter without a sharp surface; a miss where less ever is.

    Each sample's opacity is spread over the interval up to the next one as a constant density; the last one's lies at
    its distance.
    """
    absorbed = weights.cumsum(dim=-1)
    hit = absorbed[..., -1] >= HALF
    index = (absorbed < HALF).sum(dim=-1, keepdim=True).clamp(max=weights.shape[-1] - 1)
    after = 1.0 - absorbed.gather(-1, index)
    before = after + weights.gather(-1, index)
    # Transmittance falls exponentially inside the interval: from before to after, through one half.
    fall = torch.log(before / after.clamp(min=TRANSMITTANCE_EPSILON)).clamp(min=TRANSMITTANCE_EPSILON)
    share = (torch.log(before.clamp(min=HALF) / HALF) / fall).clamp(0.0, 1.0)
    intervals = F.pad(distances[..., 1:] - distances[..., :-1], (0, 1))
    depth = distances.gather(-1, index) + share * intervals.gather(-1, index)
    return SurfaceHits(torch.where(hit, depth.squeeze(-1), miss_depth), hit)
