"""Between which distances rays of any camera are sampled: the space that the pose prior's cameras look at."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from gan3d_ns.cameras.camera_generator import CameraGenerator
from gan3d_ns.cameras.pose_prior import PosePriorConfig

SMALLEST_NEAR = 1e-3
SMALLEST_INTERVAL = 1e-4


def reached(prior: PosePriorConfig, cameras: CameraGenerator | None) -> PosePriorConfig:
    """The prior, or one as wide and as distant as learned cameras can become; both look at the same space."""
    if cameras is None:
        return prior
    fov = cameras.ranges.fov_deg if cameras.moves["fov"] else None
    radius = cameras.ranges.radius if cameras.moves["radius"] else None
    further = 0.0 if radius is None else max(0.0, radius.centre + radius.half - prior.largest_radius)
    return replace(
        prior,
        fov_deg=prior.fov_deg if fov is None else max(prior.fov_deg, fov.centre + fov.half),
        radius=prior.radius + further,
        near=prior.near + further,
        far=prior.far + further,
    )


def seen_radius(prior: PosePriorConfig) -> float:
    """Radius of the ball around the origin that holds all that cameras of the prior can see, in world units.

    It reaches the corners of their frames at the far plane, so that it cuts nothing from their pictures. A field may
    go on beyond, where no picture has shaped it.
    """
    half_frame, depth = prior.far * math.tan(math.radians(prior.fov_deg) / 2.0), prior.largest_radius
    return math.hypot(half_frame, half_frame, max(prior.far - depth, depth - prior.near))


def shell(
    prior: PosePriorConfig, origins: Float[Tensor, "*batch 3"]
) -> tuple[Float[Tensor, "*batch 1"], Float[Tensor, "*batch 1"]]:
    """Near and far distance of the object from camera centres, the prior's when they stand at its radius."""
    distance = origins.norm(dim=-1, keepdim=True)
    nears = (distance - (prior.largest_radius - prior.near)).clamp(min=SMALLEST_NEAR)
    beyond = prior.farthest - prior.largest_radius
    return nears, (distance + beyond).clamp(min=SMALLEST_NEAR + SMALLEST_INTERVAL)


def with_near_and_far(prior: PosePriorConfig, rays: RayBundle) -> tuple[RayBundle, Bool[Tensor, "*batch"]]:
    """Rays whose nears and fars bound the object for any distance of the camera, and which rays can meet it.

    From the prior's radius these are the prior's near and far. Bounds that are there already, such as those of
    nerfstudio's texture exporter and crop box, are respected. Rays that have nothing between the bounds keep those of
    the shell.
    """
    # A camera's rays share one origin's memory in a way that makes every later step several times slower.
    rays.origins, rays.directions = rays.origins.contiguous(), rays.directions.contiguous()
    nears, fars = shell(prior, rays.origins)
    nearest = -(rays.origins * rays.directions).sum(dim=-1, keepdim=True)
    distance_squared = rays.origins.square().sum(dim=-1, keepdim=True)
    half_chord = (seen_radius(prior) ** 2 - distance_squared + nearest**2).clamp(min=0.0).sqrt()
    first, last = torch.maximum(nears, nearest - half_chord), torch.minimum(fars, nearest + half_chord)
    if rays.nears is not None and rays.fars is not None:
        first, last = torch.maximum(first, rays.nears), torch.minimum(last, rays.fars)
    valid = last > first
    rays.nears, rays.fars = torch.where(valid, first, nears), torch.where(valid, last, fars)
    return rays, valid[..., 0]
