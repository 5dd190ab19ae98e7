"""Pictures of the search itself: where rays were sampled, and where they were not."""

from __future__ import annotations

import torch
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from gan3d_ns.model_components.occupancy_grids import LatentGrid, OccupancyGrid
from gan3d_ns.model_components.ray_samplers import RaySampler
from gan3d_ns.model_components.sampling import sample_positions, spread_evenly
from gan3d_ns.model_components.surface import SurfaceHits
from gan3d_ns.models.generator import RenderOutput

SKIPPED_SAMPLES = 48
"""Places on a ray that are looked at for the picture of skipped space."""


def window_picture(
    sampler: RaySampler,
    rays: RayBundle,
    output: RenderOutput,
    near: Float[Tensor, "batch ray 1"],
    far: Float[Tensor, "batch ray 1"],
) -> Float[Tensor, "batch ray 3"]:
    """Start, surface and end of the sampled window as red, green and blue: 0 at the near plane, 1 at the far one.

    A narrow window is grey; one as long as the ray is blue where it meets nothing.
    """
    start, end = sampler.window(rays, SurfaceHits(output.surface_depth, output.hit))
    middle = torch.where(output.hit, output.surface_depth, start)
    return ((torch.stack((start, middle, end), dim=-1) - near) / (far - near)).clamp(0.0, 1.0)


def skipped_share(rays: RayBundle, grid: OccupancyGrid) -> Float[Tensor, "batch ray 1"]:
    """How much of each ray the occupancy grid skips."""
    assert rays.nears is not None and rays.fars is not None
    distances = spread_evenly(rays.nears[..., 0], rays.fars[..., 0], SKIPPED_SAMPLES)
    positions = sample_positions(rays, distances)
    asked = grid.occupied(positions)
    if isinstance(grid, LatentGrid):
        asked = asked & (grid.in_box(positions).abs() <= 1.0).all(dim=-1)  # its box holds all matter
    return 1.0 - asked.float().mean(dim=-1, keepdim=True)
