"""Cameras as the vectors of numbers around 0 that CAMPARI's camera generator maps (section 3.2; released code).

A number becomes a quantity by a range: value = centre + number * half range, the number kept in [-1, 1]. `normal` has
five of them: fields of view across and down, rotation, elevation, radius. `full` has eight: fields of view, elevation,
radius, and the 2x2 matrix (row by row) whose nearest rotation is the camera's, so that it may turn all around.

The published elevation counts down from the horizon; in our poses, pitch = pi/2 + elevation and yaw = pi/2 + rotation.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from gan3d_ns.cameras.viewpoints import Viewpoints

Parametrisation = Literal["normal", "full"]
VECTOR_LENGTHS: dict[Parametrisation, int] = {"normal": 5, "full": 8}
MATRIX_MAGNITUDE = 0.15 * math.sqrt(2.0)
"""Of the matrices that stand for rotations in `full`: their entries have the root mean square .15 of the published
prior's."""
QUARTER = math.pi / 2
NARROWEST_HALF = 1e-6
"""Half ranges below this are points, so that no number becomes infinite."""


class Range(NamedTuple):
    """What the numbers -1 and 1 stand for: centre - half and centre + half."""

    centre: float
    half: float

    def value(self, numbers: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """The quantity of numbers, which are kept in [-1, 1]."""
        return self.centre + self.half * numbers.clamp(-1.0, 1.0)

    def number(self, values: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """The number of a quantity; 0 where the range is a point."""
        return torch.zeros_like(values) if self.is_point else (values - self.centre) / self.half

    @property
    def is_point(self) -> bool:
        """Whether there is nothing to choose."""
        return self.half < NARROWEST_HALF


class CameraRanges(NamedTuple):
    """The ranges of a camera vector; the published ones are the defaults."""

    fov_deg: Range = Range(35.0, 25.0)
    """Fields of view, across and down each by itself, in degrees."""
    yaw_deg: Range = Range(0.0, 90.0)
    """Rotation in degrees; `full` has its centre alone."""
    elevation_deg: Range = Range(0.0, 90.0)
    """Published elevation in degrees, counted down from the horizon."""
    radius: Range = Range(0.75, 0.25)
    """Distance from the origin, in world units."""


def entries(parametrisation: Parametrisation) -> dict[str, slice]:
    """Where a vector holds the fields of view, the yaw, the elevation and the radius."""
    if parametrisation == "normal":
        return {"fov": slice(0, 2), "yaw": slice(2, 3), "elevation": slice(3, 4), "radius": slice(4, 5)}
    return {"fov": slice(0, 2), "elevation": slice(2, 3), "radius": slice(3, 4), "yaw": slice(4, 8)}


def nearest_rotation(matrices: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch"]:
    """The angle of the rotation matrix nearest to each 2x2 matrix (row by row), in radians.

    U diag(1, det(U V^T)) V^T of the singular value decomposition U S V^T, in closed form: the trace of M^T R is largest
    for the angle of (m11 + m22, m21 - m12).
    """
    return torch.atan2(matrices[..., 2] - matrices[..., 1], matrices[..., 0] + matrices[..., 3])


def viewpoints_of_vectors(
    vectors: Float[Tensor, "view entry"], parametrisation: Parametrisation, ranges: CameraRanges | None = None
) -> Viewpoints:
    """The cameras of vectors. Gradients reach every number that is inside its range."""
    ranges, where = ranges or CameraRanges(), entries(parametrisation)
    turned = vectors[:, where["yaw"]]
    if parametrisation == "normal":
        yaw = torch.deg2rad(ranges.yaw_deg.value(turned[:, 0]))
    else:
        yaw = math.radians(ranges.yaw_deg.centre) + nearest_rotation(turned)
    elevation = torch.deg2rad(ranges.elevation_deg.value(vectors[:, where["elevation"]][:, 0]))
    fov = torch.deg2rad(ranges.fov_deg.value(vectors[:, where["fov"]]))
    return Viewpoints(
        poses=torch.stack((QUARTER + elevation, QUARTER + yaw), dim=-1),
        radii=ranges.radius.value(vectors[:, where["radius"]][:, 0]),
        tangents=torch.tan(0.5 * fov),
    )


def vectors_of_viewpoints(
    viewpoints: Viewpoints, parametrisation: Parametrisation, ranges: CameraRanges | None = None
) -> Float[Tensor, "view entry"]:
    """The vectors of cameras: what :func:`viewpoints_of_vectors` takes back to them where they are inside the ranges.

    Radii and fields of view that the viewpoints leave open are the centres of their ranges.
    """
    ranges = ranges or CameraRanges()
    pitch, yaw = viewpoints.poses.unbind(-1)
    nothing = torch.zeros_like(pitch)
    rotation = yaw - QUARTER - math.radians(ranges.yaw_deg.centre)
    elevation = ranges.elevation_deg.number(torch.rad2deg(pitch - QUARTER))
    radius = nothing if viewpoints.radii is None else ranges.radius.number(viewpoints.radii)
    fov = [nothing, nothing]
    if viewpoints.tangents is not None:
        fov = list(ranges.fov_deg.number(torch.rad2deg(2.0 * torch.atan(viewpoints.tangents))).unbind(-1))
    if parametrisation == "normal":
        number = nothing if ranges.yaw_deg.is_point else torch.rad2deg(rotation) / ranges.yaw_deg.half
        return torch.stack((*fov, number, elevation, radius), dim=-1)
    cosine, sine = MATRIX_MAGNITUDE * rotation.cos(), MATRIX_MAGNITUDE * rotation.sin()
    return torch.stack((*fov, elevation, radius, cosine, -sine, sine, cosine), dim=-1)
