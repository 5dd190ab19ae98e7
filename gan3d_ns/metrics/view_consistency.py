"""Do two pictures of an object show the same thing: one is warped into the other by a depth and compared with it."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import grid_sample, max_pool2d

from gan3d_ns.cameras.pose_prior import PosePrior, PosePriorConfig
from gan3d_ns.cameras.projection import projected
from gan3d_ns.cameras.viewpoints import Viewpoints
from gan3d_ns.fields.base_field import Styles
from gan3d_ns.metrics.generated_views import Rendered, seen_by
from gan3d_ns.models.generator import Generator

TOLERANCE_PIXELS = 2.0
"""Pixel footprints that a point may lie behind the surface that a camera sees and still count as on it: as much as
the depth changes from pixel to pixel where the surface's normal is 63 degrees off the ray."""
TOLERANCE_RANGE = 0.01
"""The same as a share of the way from near to far, for depths that are no more exact than their samples."""
ALL = 0.999
"""Share of the pixels around a place that have to show the object."""
YAW_STEP_RAD = math.radians(10.0)
"""Turn between two close views."""
RESOLUTION = 32


class Reprojection(NamedTuple):
    """Picture A warped into the view of picture B, and compared with it there."""

    error: Float[Tensor, "view"]
    """Mean absolute difference of colours in [0, 1] over channels and compared pixels; NaN where there are none."""
    share: Float[Tensor, "view"]
    """Compared pixels of those where B shows the object; 0 where it shows none."""
    warped: Float[Tensor, "view 3 side side"]
    """Colours of A at B's pixels; anything where nothing is compared."""
    compared: Bool[Tensor, "view side side"]


class Consistency(NamedTuple):
    """How well close views of each object agree."""

    error: Float[Tensor, "view"]
    """See `Reprojection.error`, mean of both ways; NaN where nothing could be compared."""
    share: Float[Tensor, "view"]
    """See `Reprojection.share`, mean of both ways."""


def occlusion_tolerance(prior: PosePriorConfig, resolution: int) -> float:
    """World units by which a point may lie behind the surface seen at its place in a picture."""
    footprint = 2.0 * prior.radius * math.tan(math.radians(prior.fov_deg) / 2.0) / (resolution - 1)
    return TOLERANCE_PIXELS * footprint + TOLERANCE_RANGE * (prior.far - prior.near)


def reprojection_error(
    seen_a: Rendered,
    poses_a: Float[Tensor, "view 2"],
    seen_b: Rendered,
    poses_b: Float[Tensor, "view 2"],
    pose_prior: PosePrior,
) -> Reprojection:
    """Warps pictures A into the views of pictures B by the depth of B and compares the colours there.

    For each pixel of B with a surface, x = o_B + t_B d_B is looked up in A: c_A bilinearly at the projection of x, on
    the pixel grid of `PosePrior.rays`. The pixel is compared where A shows x: the place lies in A's frame, all the
    pixels around it have a surface, and x lies no further behind A's surface there (bilinear too) than
    `occlusion_tolerance`. Neither is it compared where A's depth changes by more than that between the pixels around
    the place: A's picture mixes two surfaces there, or looks along one. A point *before* A's surface is compared as
    well: nothing hides it, so that a surface which is in another place for every camera costs colour differences
    instead of escaping them. The share tells what does escape.

    Pure tensors, batched over views; gradients reach the colours. Cameras stand at the prior's radius.

    Args:
        seen_a: pictures to warp, with depths along the unit rays.
        poses_a: (pitch, yaw) in radians.
        seen_b: the views to warp into, of the same side.
        poses_b: their poses.
        pose_prior: the camera that they share.
    """
    side = seen_b.rgb.shape[-1]
    tolerance, rays = occlusion_tolerance(pose_prior.config, side), pose_prior.rays(poses_b, side)
    surface_b = torch.where(seen_b.hit, seen_b.surface_depth, pose_prior.config.radius).flatten(1)
    points = rays.origins + surface_b[..., None] * rays.directions
    place, depth, distance = projected(points, pose_prior.camera_to_world(poses_a), pose_prior.config.fov_deg)
    hit = seen_a.hit[:, None].to(seen_a.rgb.dtype)
    known = torch.where(seen_a.hit, seen_a.surface_depth, 0.0)[:, None]
    sampled = grid_sample(
        torch.cat((seen_a.rgb, hit, known), dim=1), place.unflatten(1, (side, side)), align_corners=True
    )
    warped, coverage, surface = sampled[:, :3], sampled[:, 3], sampled[:, 4]
    inside = ((depth > 0.0) & (place.abs() <= 1.0).all(dim=-1)).unflatten(1, (side, side))
    sheer = grid_sample(steepness(known), place.unflatten(1, (side, side)), mode="nearest", align_corners=False)[:, 0]
    hidden = distance.unflatten(1, (side, side)) > surface + tolerance
    compared = seen_b.hit & inside & (coverage > ALL) & ~hidden & (sheer <= tolerance)
    difference = torch.where(compared, (warped - seen_b.rgb).abs().mean(dim=1), 0.0).sum(dim=(1, 2))
    count, shown = compared.sum(dim=(1, 2)), seen_b.hit.sum(dim=(1, 2))
    error = torch.where(count > 0, difference / count.clamp(min=1), torch.nan)
    return Reprojection(error, count / shown.clamp(min=1), warped, compared)


def steepness(depth: Float[Tensor, "view 1 side side"]) -> Float[Tensor, "view 1 cell cell"]:
    """Largest difference of depth between the four pixels around each cell of the grid between pixel centres."""
    return max_pool2d(depth, 2, stride=1) + max_pool2d(-depth, 2, stride=1)


@torch.no_grad()
def view_consistency(
    generator: Generator,
    styles: Styles,
    pose_prior: PosePrior,
    poses: Float[Tensor, "view 2"],
    yaw_step_rad: float = YAW_STEP_RAD,
    resolution: int = RESOLUTION,
) -> Consistency:
    """Agreement of two close views of each object, warped onto each other by the generator's own surface depths.

    The views stand half a step to either side of each pose. Two pictures of all objects are rendered, in one call each.

    Args:
        generator: of any method.
        styles: one object for each pose.
        pose_prior: the camera.
        poses: (pitch, yaw) in radians, the middle between two views.
        yaw_step_rad: turn from one view to the other.
        resolution: side of the pictures in pixels.
    """
    step = poses.new_tensor([0.0, 0.5 * yaw_step_rad])
    sides = (poses - step, poses + step)
    seen = [seen_by(generator, styles, pose_prior, Viewpoints(where), resolution) for where in sides]
    there = reprojection_error(seen[0], sides[0], seen[1], sides[1], pose_prior)
    back = reprojection_error(seen[1], sides[1], seen[0], sides[0], pose_prior)
    error = torch.stack((there.error, back.error)).nanmean(dim=0)
    return Consistency(error, 0.5 * (there.share + back.share))
