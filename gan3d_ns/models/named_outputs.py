"""What rays of the shown object see, under nerfstudio's names."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Optional

import torch
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from gan3d_ns.model_components.occupancy_grids import OccupancyGrid
from gan3d_ns.models.ray_bounds import shell
from gan3d_ns.models.search_pictures import skipped_share, window_picture
from gan3d_ns.models.shown_object import ShownObject
from gan3d_ns.viewer.render_thread import wanted_outputs

if TYPE_CHECKING:
    from gan3d_ns.cameras.pose_prior import PosePriorConfig

OUTPUT_NAMES = (
    "rgb",
    "depth",
    "normals",
    "accumulation",
    "surface_hit",
    "surface_rgb",
    "search_window",
    "skipped_space",
)
COLOUR_OUTPUTS = ("rgb", "normals", "surface_rgb", "search_window")
VISIBLE_ACCUMULATION = 0.5


def named_outputs(
    shown: ShownObject,
    rays: RayBundle,
    prior: PosePriorConfig,
    grid: Optional[OccupancyGrid],
    surface_only: bool,
    level: Optional[float],
) -> dict[str, Float[Tensor, "1 ray channel"]]:
    """What bounded rays see, by nerfstudio's names; depth lies at the far plane where nothing is seen.

    Args:
        shown: the object.
        rays: shape (1, ray), with nears and fars.
        prior: where its cameras stand.
        grid: where matter can be.
        surface_only: show the colour at the surface alone.
        level: the value whose level set is shown as the surface; None: the sampler's own.
    """
    styles, generator = shown.styles, shown.generator
    rendered = output = generator.render(styles, rays, grid=grid, surface_only=surface_only)
    if level is not None:
        level_set = generator.level_surface(styles, rays, level, grid)
        output = dataclasses.replace(output, surface_depth=level_set.depth, hit=level_set.hit)
    hit = output.hit[..., None]
    # A viewer shows one output or two: the others, where they cost field queries of their own, may stay blank.
    wanted = wanted_outputs(OUTPUT_NAMES)
    surface_rgb = torch.full_like(output.rgb, generator.background_grey)
    normals = torch.zeros_like(output.rgb)
    if surface_only:
        surface_rgb = output.rgb
    elif "surface_rgb" in wanted:
        colour = generator.surface_colour(styles, rays, output.surface_depth, output.hit)
        surface_rgb = torch.where(hit, colour, surface_rgb)
    if "normals" in wanted:
        # Matter may be seen without an entry into it, where a crop box cuts it: exporters want a normal there too.
        matter = output.hit | (output.accumulation > VISIBLE_ACCUMULATION)
        depth = torch.where(output.hit, output.surface_depth, output.depth)
        world = generator.surface_normals(styles, rays, depth, matter)
        normals = torch.where(matter[..., None], world / 2 + 0.5, normals)
    window, skipped = torch.zeros_like(output.rgb), torch.zeros_like(output.rgb[..., :1])
    nears, fars = shell(prior, rays.origins)
    if "search_window" in wanted:
        window = window_picture(generator.sampler, rays, rendered, nears, fars)
    if "skipped_space" in wanted and grid is not None:
        skipped = skipped_share(rays, grid)
    # The shell's, as a ray's own far ends at the ball and would draw it into the background of depth pictures.
    seen = torch.where(output.accumulation > VISIBLE_ACCUMULATION, output.depth, fars[..., 0])
    return {
        "rgb": output.rgb.clamp(0.0, 1.0),
        "depth": torch.where(output.hit, output.surface_depth, seen)[..., None],
        "normals": normals,
        "accumulation": output.accumulation[..., None].clamp(0.0, 1.0),
        "surface_hit": hit.to(output.rgb.dtype),
        "surface_rgb": surface_rgb,
        "search_window": window,
        "skipped_space": skipped,
    }
