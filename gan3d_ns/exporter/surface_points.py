"""Points on the surface that the cameras of a prior see, evenly spread, with normals and colours.

The generator's own pictures are the source: every pixel that shows matter gives a point where its light comes from, in
the colour of that pixel. What no camera of the prior looks at gives none. World frame: +y up, front at +z.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int
from scipy.spatial import KDTree
from torch import Tensor
from torch.nn.functional import normalize

from gan3d_ns.cameras.view_coverage import mirrored_poses
from gan3d_ns.errors import UserError
from gan3d_ns.exporter.object_pictures import ObjectPicture, PicturedObject

RANDOM_COVER = 0.696
"""Points a squared distance and area of a random set in which no two are nearer than the distance and no further fits:
discs of that diameter jam at .547 of the area when they arrive one by one."""
CELLS_MET = 1.5
"""Cubes of a lattice that a surface meets, for each area of one of their faces: the mean over its directions."""
SPREAD_ROUNDS = 3
"""Corrections of the distance between points until their number fits."""
SPREAD_TOLERANCE = 0.02
NEIGHBOURS = 16
"""Points around one that decide its colour."""
STRAY_FACTOR = 3.0
"""A point is a stray where its neighbours are this many times as far as is usual, and as points are to be."""

Progress = Callable[[int, int], None]
"""Steps done and steps in all."""


@dataclass(frozen=True)
class SurfacePoints:
    """Points in the world frame."""

    positions: Float[Tensor, "*point 3"]
    normals: Float[Tensor, "*point 3"]
    """Unit vectors out of the object."""
    colours: Float[Tensor, "*point 3"]
    """sRGB in [0, 1], without the background."""
    opacities: Float[Tensor, "*point"]
    """How opaque the object is in the pictures that show the point."""
    directions: Float[Tensor, "*point 3"]
    """Unit vectors from the cameras that see it."""

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: Int[Tensor, "*kept"] | Bool[Tensor, "point"]) -> SurfacePoints:
        return SurfacePoints(
            self.positions[index],
            self.normals[index],
            self.colours[index],
            self.opacities[index],
            self.directions[index],
        )


@dataclass(frozen=True)
class SurfaceSamplingConfig:
    """How the visible surface is sampled."""

    num_views: int = 64
    """Pictures from cameras of the prior."""
    resolution: int = 128
    """Their side in pixels: a pixel is a point that may be taken."""


def points_of_picture(picture: ObjectPicture) -> SurfacePoints:
    """A point for each pixel that shows matter, without a normal yet (0)."""
    shows = picture.shows_matter
    opacities, directions = picture.accumulation[shows], picture.directions[shows]
    positions = picture.origins[shows] + picture.depth[shows][:, None] * directions
    colours = (picture.premultiplied[shows] / opacities[:, None]).clamp(max=1.0)
    return SurfacePoints(positions, torch.zeros_like(positions), colours, opacities, directions)


def joined(parts: list[SurfacePoints]) -> SurfacePoints:
    """All points in one set."""
    return SurfacePoints(
        torch.cat([part.positions for part in parts]),
        torch.cat([part.normals for part in parts]),
        torch.cat([part.colours for part in parts]),
        torch.cat([part.opacities for part in parts]),
        torch.cat([part.directions for part in parts]),
    )


def spread_indices(positions: Float64[np.ndarray, "point 3"], spacing: float, seed: int = 0) -> Int[np.ndarray, "kept"]:
    """A random choice of points in which no two are nearer than `spacing`, and to which no other could be added.

    Every point that is left out lies within `spacing` of a chosen one: no holes. Points draw lots; whoever has the
    lowest among the undecided around it is chosen, and those around it are out, and so on (Luby's algorithm).
    """
    num = len(positions)
    pairs = KDTree(positions).query_pairs(spacing, output_type="ndarray")
    first, second = pairs[:, 0], pairs[:, 1]
    lots = np.random.default_rng(seed).permutation(num)
    undecided, chosen = np.ones(num, dtype=bool), np.zeros(num, dtype=bool)
    while undecided.any():
        lowest = np.full(num, num)
        np.minimum.at(lowest, first, lots[second])
        np.minimum.at(lowest, second, lots[first])
        winners = undecided & (lots < lowest)
        chosen |= winners
        undecided &= ~winners
        undecided[second[winners[first]]] = False
        undecided[first[winners[second]]] = False
        still_open = undecided[first] & undecided[second]
        first, second = first[still_open], second[still_open]
    return np.flatnonzero(chosen)


def one_in_each_cell(positions: Float64[np.ndarray, "point 3"], side: float) -> Int[np.ndarray, "kept"]:
    """The first point in each cube of a lattice: bounds how many neighbours a point has."""
    cells = np.floor((positions - positions.min(axis=0)) / side).astype(np.int64)
    sizes = cells.max(axis=0) + 1
    return np.unique((cells[:, 0] * sizes[1] + cells[:, 1]) * sizes[2] + cells[:, 2], return_index=True)[1]


def evenly_spread_indices(positions: Float64[np.ndarray, "point 3"], num: int) -> tuple[Int[np.ndarray, "kept"], float]:
    """About `num` of the points, no two nearer than the returned distance."""
    extent = np.maximum(positions.max(axis=0) - positions.min(axis=0), 1e-6)
    side = 0.5 * math.sqrt(2.0 * (extent[0] * extent[1] + extent[1] * extent[2] + extent[2] * extent[0]) / num)
    area = len(one_in_each_cell(positions, side)) * side**2 / CELLS_MET
    spacing = math.sqrt(RANDOM_COVER * area / num)
    for step in range(SPREAD_ROUNDS):
        candidates = one_in_each_cell(positions, spacing / 2.0)
        chosen = candidates[spread_indices(positions[candidates], spacing)]
        if abs(len(chosen) - num) < SPREAD_TOLERANCE * num or step == SPREAD_ROUNDS - 1:
            return chosen, spacing
        spacing *= math.sqrt(len(chosen) / num)
    raise AssertionError("unreachable")


def evenly_spread(points: SurfacePoints, num: int) -> tuple[SurfacePoints, float]:
    """About `num` of the points, no two nearer than the returned distance, in the colours of all around them.

    Each takes the median colour and the mean opacity and direction of the points nearest to it, whichever pictures they
    come from. Points that hang alone, far from all others, are left out.
    """
    positions = points.positions.double().cpu().numpy()
    chosen, spacing = evenly_spread_indices(positions, num)
    found = KDTree(positions).query(positions[chosen], min(NEIGHBOURS, len(positions)))
    distances, neighbours = (
        torch.from_numpy(column.reshape(len(chosen), -1)).to(points.positions.device) for column in found
    )
    reach = distances.mean(dim=-1)
    neighbours = neighbours[reach <= STRAY_FACTOR * max(float(reach.median()), spacing)]
    around = points[neighbours]
    kept = points[neighbours[:, 0]]
    return replace(
        kept,
        colours=around.colours.median(dim=1)[0],
        opacities=around.opacities.mean(dim=1),
        directions=normalize(around.directions.mean(dim=1), dim=-1),
    ), spacing


def sample_surface(
    pictured: PicturedObject, num: int, config: SurfaceSamplingConfig, progress: Progress | None = None
) -> tuple[SurfacePoints, float]:
    """About `num` points of the visible surface with the field's normals, and the smallest distance between any two.

    Raises:
        UserError: no picture shows matter.
    """
    parts: list[SurfacePoints] = []
    for pose in mirrored_poses(pictured.prior, config.num_views):
        parts.append(points_of_picture(pictured.picture(pose, config.resolution)))
        if progress is not None:
            progress(len(parts), config.num_views)
    everything = joined(parts)
    if len(everything) == 0:
        raise UserError(
            f"none of {config.num_views} pictures from the training cameras shows an object; train longer, or take "
            "another seed."
        )
    points, spacing = evenly_spread(everything, num)
    normals = pictured.normals(points.positions)
    # Where the field is flat the surface faces those who see it.
    flat = normals.norm(dim=-1, keepdim=True) == 0
    return replace(points, normals=torch.where(flat, -points.directions, normals)), spacing
