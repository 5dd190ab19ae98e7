"""Ray samplers that ask the field where its surface is: GOF's window around the first crossing (section 3.2)."""

from dataclasses import dataclass, field, replace
from typing import Literal, Optional, Type

import torch
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.configs.base_config import InstantiateConfig
from torch import Tensor, nn

from gan3d_ns.errors import UserError
from gan3d_ns.model_components.compositing import alphas_of, compositing_weights
from gan3d_ns.model_components.occupancy_grids import FREE_VALUE, OccupancyGrid, evaluate_where
from gan3d_ns.model_components.packing import pack_rows
from gan3d_ns.model_components.sampling import (
    PDF_EPSILON,
    GeometryFunction,
    sample_pdf,
    sample_positions,
    spread_evenly,
)
from gan3d_ns.model_components.surface import Brackets, SurfaceHits, first_crossing, logit_level, refine_root

LARGEST_OUTSIDE = -1e-6
"""A skipped sample counts as outside matter, whatever the field says there: the bracket keeps its signs."""


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
    def search(
        self, rays: RayBundle, geometry_at: GeometryFunction, grid: Optional[OccupancyGrid] = None
    ) -> tuple[Float[Tensor, "batch ray coarse"], Float[Tensor, "batch ray coarse"], SurfaceHits]:
        """Distances and values of the coarse samples, and the first surface that they bracket.

        Args:
            rays: shape (batch, ray) with unit directions, nears and fars.
            geometry_at: the geometry at (batch, points, 3) world positions.
            grid: where to ask at all.
        """
        config = self.config
        assert rays.nears is not None and rays.fars is not None
        coarse = spread_evenly(rays.nears[..., 0], rays.fars[..., 0], config.num_coarse_samples)
        if grid is None:
            positions = sample_positions(rays, coarse).flatten(1, 2)
            values = geometry_at(positions).unflatten(1, coarse.shape[1:])
        else:
            values = grid.geometry_along(rays, coarse, geometry_at)
        brackets = first_crossing(values - self.level, coarse)
        packed = pack_rows(brackets.hit)
        if packed.width == 0:
            return coarse, values, SurfaceHits(torch.full_like(brackets.low, config.miss_depth), brackets.hit)

        origins, directions = packed.pack(rays.origins), packed.pack(rays.directions)

        def value_at(distances: Float[Tensor, "batch hit"]) -> Float[Tensor, "batch hit"]:
            return geometry_at(origins + distances[..., None] * directions) - self.level

        entries = Brackets(
            *(packed.pack(getattr(brackets, name)) for name in ("low", "high", "value_low", "value_high", "hit"))
        )
        if grid is not None:
            # The start of a bracket may lie in skipped space; the refinement wants its true value.
            skipped = entries.value_low <= FREE_VALUE - self.level
            starts = origins + entries.low[..., None] * directions
            found = (evaluate_where(geometry_at, starts, skipped) - self.level).clamp(max=LARGEST_OUTSIDE)
            entries = replace(entries, value_low=torch.where(skipped, found, entries.value_low))
        depth = refine_root(value_at, entries, config.num_root_steps, config.root_method)
        return coarse, values, SurfaceHits(packed.unpack(depth, fill=config.miss_depth), brackets.hit)

    @torch.no_grad()
    def forward(
        self,
        rays: RayBundle,
        geometry_at: GeometryFunction,
        geometry: Literal["occupancy", "density"] = "occupancy",
        jitter: Optional[torch.Generator] = None,
        fine_uniforms: Optional[Float[Tensor, "batch ray fine"]] = None,
        grid: Optional[OccupancyGrid] = None,
    ) -> tuple[Float[Tensor, "batch ray sample"], SurfaceHits]:
        """Sorted distances of the samples to composite, and the surface: the search, and then :meth:`around`."""
        coarse, coarse_values, hits = self.search(rays, geometry_at, grid)
        coarse_alphas = alphas_of(geometry, coarse_values, coarse)
        return self.around(rays, hits, coarse, coarse_alphas, jitter, fine_uniforms), hits

    @torch.no_grad()
    def around(
        self,
        rays: RayBundle,
        hits: SurfaceHits,
        coarse: Float[Tensor, "batch ray coarse"],
        coarse_alphas: Float[Tensor, "batch ray coarse"],
        jitter: Optional[torch.Generator] = None,
        fine_uniforms: Optional[Float[Tensor, "batch ray fine"]] = None,
    ) -> Float[Tensor, "batch ray sample"]:
        """Sorted distances of the samples to composite around what the search found. Without gradient.

        Args:
            rays: shape (batch, ray) with unit directions, nears and fars.
            hits: the surface.
            coarse: distances of the search.
            coarse_alphas: the opacities that it met there.
            jitter: source of the window's jitter and the fine draws; without it the window is even and the fine
                samples are stratified, so that viewer frames do not flicker.
            fine_uniforms: numbers in [0, 1] for the inverse CDF in place of draws.
        """
        config = self.config
        assert rays.nears is not None and rays.fars is not None
        nears, fars = rays.nears[..., 0], rays.fars[..., 0]
        starts, ends = surface_window(hits, nears, fars, self.half_width)
        distances = spread_evenly(starts, ends, config.num_window_samples)
        if jitter is not None:
            spacing = (ends - starts)[..., None] / (config.num_window_samples - 1)
            offsets = torch.rand(distances.shape, generator=jitter, device=distances.device)
            distances = distances + (offsets - 0.5) * spacing
        if config.num_fine_samples > 0:
            weights = compositing_weights(coarse_alphas) + PDF_EPSILON
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
        return distances
