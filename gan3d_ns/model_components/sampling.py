"""Distances along rays: evenly spread, drawn from a density, and the positions they stand for."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

PDF_EPSILON = 1e-5

GeometryFunction = Callable[[Float[Tensor, "batch points 3"]], Float[Tensor, "batch points"]]
"""Occupancy logit (or density) of the field at world positions, for the styles of each image in the batch."""


def spread_evenly(
    starts: Float[Tensor, "*batch"], ends: Float[Tensor, "*batch"], num_samples: int
) -> Float[Tensor, "*batch sample"]:
    """``num_samples`` equally spaced distances from ``starts`` to ``ends``, both included."""
    steps = torch.linspace(0.0, 1.0, num_samples, device=starts.device, dtype=starts.dtype)
    return starts[..., None] + (ends - starts)[..., None] * steps


def sample_pdf(
    edges: Float[Tensor, "*batch edge"], weights: Float[Tensor, "*batch bin"], uniforms: Float[Tensor, "*batch sample"]
) -> Float[Tensor, "*batch sample"]:
    """Inverse-CDF samples of a piecewise constant density: ``weights`` between neighbouring ``edges`` (NeRF, 5.2)."""
    weights = weights + PDF_EPSILON
    cdf = torch.cumsum(weights / weights.sum(dim=-1, keepdim=True), dim=-1)
    cdf = torch.cat((torch.zeros_like(cdf[..., :1]), cdf), dim=-1)
    upper = torch.searchsorted(cdf, uniforms.contiguous(), right=False).clamp(1, cdf.shape[-1] - 1)
    lower = upper - 1
    cdf_lower, cdf_upper = cdf.gather(-1, lower), cdf.gather(-1, upper)
    span = cdf_upper - cdf_lower
    span = torch.where(span < PDF_EPSILON, torch.ones_like(span), span)
    edge_lower, edge_upper = edges.gather(-1, lower), edges.gather(-1, upper)
    # The sum of the weights rounds to a little less than 1, which some draws lie beyond.
    return edge_lower + ((uniforms - cdf_lower) / span).clamp(max=1.0) * (edge_upper - edge_lower)


def sample_positions(rays: RayBundle, distances: Float[Tensor, "*batch sample"]) -> Float[Tensor, "*batch sample 3"]:
    """World positions origin + t * direction."""
    return rays.origins[..., None, :] + distances[..., None] * rays.directions[..., None, :]


def points_at(rays: RayBundle, depth: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 3"]:
    """World positions of one distance along each ray."""
    return sample_positions(rays, depth[..., None]).squeeze(-2)
