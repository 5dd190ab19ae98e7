"""Whether the cameras of a pose prior look at the object: its rays must pass through it, its frame must hold it."""

from __future__ import annotations

import math
from typing import Optional

from gan3d_ns.cameras.pose_prior import PosePriorConfig

LEAST_DEPTH_SEEN = 0.5
"""Least fraction of the object's depth that near and far must enclose."""
LEAST_SHARE = 1.0 / 3.0
"""Least width of the frame over that of the object, and of the object over that of the frame."""
ROUNDING = 1e-6
FLAGS = "--pipeline.model.pose-prior"


def framing_problem(prior: PosePriorConfig, half_sides: Optional[tuple[float, float, float]] = None) -> Optional[str]:
    """A sentence that says how near, far or the field of view miss the object, with the numbers; None where they fit.

    Args:
        prior: the cameras, which all look at the origin from `radius`.
        half_sides: half the sides of the box around the origin that the object is expected in, in world units; None
            where nothing is known of it. A box that reaches the cameras bounds nothing.
    """
    # Near and far are those of the cameras that stand farthest away.
    near, far, radius = prior.near, prior.far, prior.largest_radius
    span = f"near {near:g} and far {far:g}"
    if not near < radius < far:
        side = "before" if far <= radius else "behind"
        return (
            f"{span} end {side} the object's centre, which is {radius:g} from the cameras, so that the pictures show "
            f"little or nothing of it; set {FLAGS}.near below and {FLAGS}.far above {radius:g}."
        )
    if half_sides is None or max(half_sides) >= radius:
        return None
    smallest, largest = min(half_sides), max(half_sides)
    first, last = radius - smallest, radius + smallest
    seen = (min(far, last) - max(near, first)) / (last - first)
    if seen < LEAST_DEPTH_SEEN - ROUNDING:
        return (
            f"{span} enclose only {seen:.0%} of the object, whose box spans {first:g} to {last:g} from the cameras at "
            f"radius {radius:g}; set {FLAGS}.near {first:g} and {FLAGS}.far {last:g}."
        )
    half_frame = radius * math.tan(math.radians(prior.fov_deg) / 2.0)
    if half_frame < LEAST_SHARE * largest:
        found = "shows only a small part of"
    elif largest < LEAST_SHARE * half_frame:
        found = "is far wider than"
    else:
        return None
    fitting = math.degrees(2.0 * math.atan(largest / radius))
    return (
        f"the frame of {prior.fov_deg:g} degrees is {2 * half_frame:.3g} wide at radius {radius:g} and {found} the "
        f"object, whose box has the sides {', '.join(f'{2 * side:g}' for side in half_sides)}; it fits "
        f"{FLAGS}.fov-deg {fitting:.3g}."
    )
