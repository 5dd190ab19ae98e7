"""Ways of a camera around the object: closed loops of poses that stay where the training cameras stood."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Optional

import torch
from jaxtyping import Float
from torch import Tensor

from gan3d_ns.cameras.pose_prior import TRUNCATION, PosePriorConfig, poses_from_degrees

Programme = Literal["orbit", "front-sweep", "ellipse", "spiral", "still"]
"""orbit: a full circle. front-sweep: there and back over the front. ellipse: around the middle, in yaw and elevation.
spiral: turns twice while it rises and sinks again. still: no movement."""

HALF_CIRCLE_DEG = 180.0
HIGHEST_DEG = 75.0
"""Elevations end here: nearer to the pole a turn of the camera only spins the picture."""
FRONT_YAW_DEG, ELLIPSE_YAW_DEG = 90.0, 30.0
"""Largest half widths of sweep and ellipse, so that they stay looks at the front where cameras stood all around."""
SPIRAL_TURNS = 2


@dataclass(frozen=True)
class ViewRange:
    """The yaws and elevations, in degrees, from which a collection shows its object."""

    yaw: float
    """Middle; 0 is the front."""
    yaw_reach: float
    """Half the range, at most 180."""
    elevation: float
    """Middle."""
    lowest: float
    highest: float

    @property
    def all_around(self) -> bool:
        """Whether pictures show the object from every side."""
        return self.yaw_reach >= HALF_CIRCLE_DEG


def view_range(prior: PosePriorConfig) -> ViewRange:
    """The range of a pose prior: two standard deviations of a Gaussian, all of another distribution."""
    deviations = TRUNCATION if prior.distribution in ("gaussian", "truncated-gaussian", "hybrid") else 1.0
    still = 0.0 if prior.distribution == "fixed" else deviations

    def elevation(offset: float) -> float:
        value = prior.elevation_mean_deg + offset * still * prior.elevation_spread_deg
        if prior.distribution == "spherical":  # fractions of the sphere's area, see PosePriorConfig
            area = min(max((90.0 - value) / 180.0, 0.0), 1.0)
            value = 90.0 - math.degrees(math.acos(1.0 - 2.0 * area))
        return min(max(value, -HIGHEST_DEG), HIGHEST_DEG)

    return ViewRange(
        yaw=prior.yaw_mean_deg,
        yaw_reach=min(still * prior.yaw_spread_deg, HALF_CIRCLE_DEG),
        elevation=elevation(0.0),
        lowest=elevation(-1.0),
        highest=elevation(1.0),
    )


def suitable_programme(prior: PosePriorConfig) -> Programme:
    """An orbit where the pictures show the object from all sides, else a sweep over the sides that they show."""
    return "orbit" if view_range(prior).all_around else "front-sweep"


def trajectory(
    prior: PosePriorConfig,
    programme: Programme,
    num_frames: int,
    turns: int = 1,
    yaw_deg: Optional[float] = None,
    elevation_deg: Optional[float] = None,
) -> Float[Tensor, "frame 2"]:
    """Poses (pitch, yaw) in radians of the frames of a loop: the frame after the last one would be the first.

    Args:
        prior: where the training cameras stood.
        programme: see `Programme`.
        num_frames: how many.
        turns: how often the programme runs in this time; frames are spread evenly over it.
        yaw_deg: where the middle of the way is; without it the prior's.
        elevation_deg: the same for the elevation, 0 is the horizon.
    """
    seen = view_range(prior)
    phase = (2.0 * math.pi * turns / num_frames) * torch.arange(num_frames, dtype=torch.float64)
    yaw, elevation = torch.zeros_like(phase), torch.zeros_like(phase)
    rise, fall = seen.highest - seen.elevation, seen.elevation - seen.lowest
    if programme == "orbit":
        yaw = torch.rad2deg(phase)
    elif programme == "front-sweep":
        yaw = min(seen.yaw_reach, FRONT_YAW_DEG) * phase.sin()
    elif programme == "ellipse":
        yaw = min(seen.yaw_reach, ELLIPSE_YAW_DEG) * phase.sin()
        elevation = min(rise, fall) * phase.cos()
    elif programme == "spiral":
        turned = SPIRAL_TURNS * phase
        yaw = torch.rad2deg(turned) if seen.all_around else seen.yaw_reach * turned.sin()
        elevation = (rise - fall) / 2.0 - (rise + fall) / 2.0 * phase.cos()
    yaw = yaw + (seen.yaw if yaw_deg is None else yaw_deg)
    elevation = elevation + (seen.elevation if elevation_deg is None else elevation_deg)
    return poses_from_degrees(yaw, elevation.clamp(-HIGHEST_DEG, HIGHEST_DEG)).float()
