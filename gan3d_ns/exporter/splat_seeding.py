"""The first splats of an object, without any optimiser: on its visible surface, along it, in the pictures' colours."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from gan3d_ns.cameras.view_coverage import mirrored_poses
from gan3d_ns.exporter.object_pictures import ObjectPicture, PicturedObject
from gan3d_ns.exporter.splat_refinement import Rasterizer, mean_psnr
from gan3d_ns.exporter.splats import Splats, splats_on
from gan3d_ns.exporter.surface_points import SurfacePoints, SurfaceSamplingConfig, sample_surface

FITTED_VIEWS = 4


@dataclass(frozen=True)
class SplatSeedingConfig:
    """How splats are laid over an object."""

    num_splats: int = 30_000
    """About how many."""
    surface: SurfaceSamplingConfig = field(default_factory=SurfaceSamplingConfig)
    """The pictures whose pixels they come from."""
    inset_pixels: tuple[float, ...] = (0.0, 0.5, 1.0, 1.5, 2.0)
    """How far below the surface they may lie, in pixels of those pictures; what looks best is taken. A generator's
    matter is soft: rays that graze it pass, so that its outline lies within that of its surface."""


def pixel_size(pictured: PicturedObject, resolution: int) -> float:
    """World units between the centres of two pixels, at the distance of the origin."""
    config = pictured.prior.config
    return 2.0 * config.radius * math.tan(math.radians(config.fov_deg) / 2.0) / (resolution - 1)


def inset(points: SurfacePoints, distance: float) -> SurfacePoints:
    """The points moved into the object, against their normals."""
    return replace(points, positions=points.positions - distance * points.normals)


def seed_splats(
    pictured: PicturedObject,
    config: SplatSeedingConfig,
    rasterize: Rasterizer,
    progress: Callable[[int, int], None] | None = None,
) -> Splats:
    """Flat Gaussians, evenly spread over all that cameras of the prior see.

    Raises:
        UserError: the pictures show no matter.
    """
    points, spacing = sample_surface(pictured, config.num_splats, config.surface, progress)
    resolution = config.surface.resolution
    poses = mirrored_poses(pictured.prior, FITTED_VIEWS)
    pictures: list[ObjectPicture] = [pictured.picture(pose, resolution) for pose in poses]
    depths = [pixels * pixel_size(pictured, resolution) for pixels in config.inset_pixels]
    tried = [splats_on(inset(points, depth), spacing) for depth in depths]
    return max(tried, key=lambda splats: mean_psnr(splats, pictures, rasterize))
