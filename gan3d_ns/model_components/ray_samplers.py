"""Ray samplers that ask the field where its surface is: GOF's window around the first crossing (section 3.2)."""

from dataclasses import dataclass, field
from typing import Callable, Literal, Optional, Type

import torch
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.configs.base_config import InstantiateConfig
from torch import Tensor, nn

from gan3d_ns.errors import UserError
from gan3d_ns.model_components.compositing import alphas_of, compositing_weights
from gan3d_ns.model_components.surface import SurfaceHits, first_crossing, logit_level, refine_root

PDF_EPSILON = 1e-5

GeometryFunction = Callable[[Float[Tensor, "batch points 3"]], Float[Tensor, "batch points"]]
"""Occupancy logit (or density) of the field at world positions, for the styles of each image in the batch."""


@dataclass
class SurfaceWindowSamplerConfig(InstantiateConfig):
    """Coarse search, root refinement, then samples in a window around the surface."""

    _target: Type = field(default_factory=lambda: SurfaceWindowSampler)
    num_coarse_samples: int = 9
    """Evenly spaced samples that look for the surface, without gradient."""
    num_window_samples: int = 9
    """Samples inside the window, with gradient."""
    num_fine_samples: int = 6
    """Samples drawn over the whole ray in proportion to the coarse weights; 0 leaves the window alone."""
    num_root_steps: int = 4
    """Field evaluations that refine the crossing."""
    root_method: Literal["secant", "bisection"] = "secant"
    """How the crossing is refined."""
    occupancy_threshold: float = 0.5
    """Occupancy of the surface."""
    miss_depth: float = 1.0
    """Distance reported where no surface is met: the plane of the origin for cameras at radius 1."""

    def __post_init__(self) -> None:
        least_coarse = 3 if self.num_fine_samples > 0 else 2
        if self.num_coarse_samples < least_coarse or self.num_window_samples < 2:
            raise UserError(
                f"the surface search needs {least_coarse} coarse and 2 window samples at least, got "
                f"{self.num_coarse_samples} and {self.num_window_samples}."
            )


def spread_evenly(
    starts: Float[Tensor, "*batch"], ends: Float[Tensor, "*batch"], num_samples: int
) -> Float[Tensor, "*batch sample"]:
    """``num_samples`` equally spaced distances from ``starts`` to ``ends``, both included."""
    steps = torch.linspace(0.0, 1.0, num_samples, device=starts.device, dtype=starts.dtype)
    return starts[..., None] + (ends - starts)[..., None] * steps


def surface_window(
    hits: SurfaceHits, nears: Float[Tensor, "*batch"], fars: Float[Tensor, "*batch"], half_width: Float[Tensor, ""]
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Start and end of the sampled interval: [t - Delta, t + Delta], shifted inside [near, far]; all of it on a miss.

    The released code shifts against a hard-coded range; this is the intended behaviour for any range. A window wider
    than the range is the range.
    """
    width = torch.minimum(2.0 * half_width, fars - nears)
    starts = torch.minimum(torch.maximum(hits.depth - half_width, nears), fars - width)
    return torch.where(hits.hit, starts, nears), torch.where(hits.hit, starts + width, fars)


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
    return edge_lower + (uniforms - cdf_lower) / span * (edge_upper - edge_lower)


def sample_positions(rays: RayBundle, distances: Float[Tensor, "*batch sample"]) -> Float[Tensor, "*batch sample 3"]:
    """World positions origin + t * direction."""
    return rays.origins[..., None, :] + distances[..., None] * rays.directions[..., None, :]


class SurfaceWindowSampler(nn.Module):
    """Samples around the first surface of any field that can answer "logit at x".

    The half width of the window is a buffer that the training engine shrinks; it is saved with the weights, so a
    viewer opens a run with the window that it had.
    """

    half_width: Float[Tensor, ""]

    def __init__(self, config: SurfaceWindowSamplerConfig) -> None:
        super().__init__()
        self.config = config
        self.level = logit_level(config.occupancy_threshold)
        self.register_buffer("half_width", torch.tensor(0.12))

    @torch.no_grad()
    def forward(
        self,
        rays: RayBundle,
        geometry_at: GeometryFunction,
        geometry: Literal["occupancy", "density"] = "occupancy",
        jitter: Optional[torch.Generator] = None,
        fine_uniforms: Optional[Float[Tensor, "batch ray fine"]] = None,
    ) -> tuple[Float[Tensor, "batch ray sample"], SurfaceHits]:
        """Sorted distances of the samples to composite, and the surface. Without gradient, as in the original.

        Args:
            rays: shape (batch, ray) with unit directions, nears and fars.
            geometry_at: the field's geometry at (batch, points, 3) world positions.
            jitter: source of the window's jitter and the fine draws; without it the window is even and the fine
                samples are stratified, so that viewer frames do not flicker.
            fine_uniforms: numbers in [0, 1] for the inverse CDF in place of draws.
        """
        config = self.config
        assert rays.nears is not None and rays.fars is not None
        nears, fars = rays.nears[..., 0], rays.fars[..., 0]

        def values_at(distances: Float[Tensor, "batch ray sample"]) -> Float[Tensor, "batch ray sample"]:
            positions = sample_positions(rays, distances)
            return geometry_at(positions.flatten(1, 2)).unflatten(1, distances.shape[1:])

        coarse = spread_evenly(nears, fars, config.num_coarse_samples)
        coarse_values = values_at(coarse)
        brackets = first_crossing(coarse_values - self.level, coarse)
        depth = refine_root(
            lambda distances: values_at(distances[..., None]).squeeze(-1) - self.level,
            brackets,
            config.num_root_steps,
            config.root_method,
        )
        depth = torch.where(brackets.hit, depth, torch.full_like(depth, config.miss_depth))
        hits = SurfaceHits(depth, brackets.hit)

        starts, ends = surface_window(hits, nears, fars, self.half_width)
        distances = spread_evenly(starts, ends, config.num_window_samples)
        if jitter is not None:
            spacing = (ends - starts)[..., None] / (config.num_window_samples - 1)
            offsets = torch.rand(distances.shape, generator=jitter, device=distances.device)
            distances = distances + (offsets - 0.5) * spacing
        if config.num_fine_samples > 0:
            weights = compositing_weights(alphas_of(geometry, coarse_values, coarse)) + PDF_EPSILON
            if fine_uniforms is None:
                shape = (*nears.shape, config.num_fine_samples)
                if jitter is not None:
                    fine_uniforms = torch.rand(shape, generator=jitter, device=distances.device)
                else:
                    fine_uniforms = (torch.arange(shape[-1], device=distances.device) + 0.5) / shape[-1]
                    fine_uniforms = fine_uniforms.expand(shape)
            middles = 0.5 * (coarse[..., 1:] + coarse[..., :-1])
            fine = sample_pdf(middles, weights[..., 1:-1], fine_uniforms)
            distances = torch.cat((distances, fine), dim=-1)
        if jitter is not None or config.num_fine_samples > 0:
            distances = distances.sort(dim=-1).values
        return distances, hits
