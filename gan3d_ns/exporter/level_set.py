"""From a lattice of logits to triangles: marching cubes with vertices placed and refined along lattice edges."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Callable

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from skimage.measure import marching_cubes

from gan3d_ns.exporter.mise import IsoGrid

SNAP_FRACTION = 1e-4
"""No vertex comes nearer to a lattice point than this fraction of a step, so that no triangle loses its area.

It is also how far outside the box the lid of a cut surface lies (the original pads with -1e6: 1e-6 of a step).
"""

_TIE_FRACTION = 1e-3
"""Smallest distance from the level that marching cubes sees, relative to the largest next to the surface.

An exact tie would put several vertices on one lattice point. Positions do not depend on this number.
"""

LatticeFunction = Callable[[Float64[np.ndarray, "vertex 3"]], Float64[np.ndarray, "vertex"]]
"""Positions in lattice steps to field values."""


@dataclass(frozen=True)
class EdgeVertices:
    """Vertices on lattice edges: `start + fraction * (end - start)`, in lattice steps from the box's lower corner.

    Where the signs at a cell's corners are ambiguous, marching cubes may put one more vertex in the middle of the cell:
    its start and end are opposite corners of the cell.
    """

    start: Int64[np.ndarray, "vertex 3"]
    """Lattice point at the smaller index; -1 where the edge comes from the layer around the box."""
    end: Int64[np.ndarray, "vertex 3"]
    """One step further along one axis (all three in the middle of a cell); R + 1 lies in the layer around the box."""
    fraction: Float64[np.ndarray, "vertex 3"]
    """Where between start and end on each axis, strictly between 0 and 1; the same on all axes for an edge."""

    @property
    def positions(self) -> Float64[np.ndarray, "vertex 3"]:
        """Vertex positions in lattice steps."""
        return self.start + self.fraction * (self.end - self.start)

    @property
    def on_edge(self) -> Bool[np.ndarray, "vertex"]:
        """Which vertices lie on an edge, not in the middle of a cell."""
        return (self.end - self.start).sum(axis=1) == 1

    def select(self, kept: Bool[np.ndarray, "vertex"]) -> EdgeVertices:
        """The vertices that are kept, in their order."""
        return EdgeVertices(self.start[kept], self.end[kept], self.fraction[kept])


def marching_cubes_on_grid(grid: IsoGrid) -> tuple[EdgeVertices, Int64[np.ndarray, "face 3"]]:
    """Vertices at the linear zero crossings of lattice edges, and faces counter-clockwise seen from outside.

    A layer of outside points around the lattice closes surfaces that leave the box: the mesh is watertight.
    Connectivity is Lewiner's (scikit-image); its float32 positions are recomputed from the values in float64.
    """
    signed, first = _crop_to_surface(grid)
    largest = _largest_beside_surface(signed)
    inside = signed >= 0
    magnitude = np.clip(np.abs(signed), _TIE_FRACTION * largest, None)
    signed = np.pad(np.where(inside, magnitude, -magnitude), 1, constant_values=-largest)
    # "ascent": scikit-image's winding for index axes read as x, y, z, a right-handed frame.
    vertices, faces, _, _ = marching_cubes(signed, 0.0, gradient_direction="ascent")
    start = np.floor(vertices).astype(np.int64) + (first - 1)
    end = np.ceil(vertices).astype(np.int64) + (first - 1)
    fraction = (vertices - np.floor(vertices)).astype(np.float64)
    vertices = EdgeVertices(start, end, fraction)
    on_edge = vertices.on_edge
    value_start, value_end = _end_values(grid, vertices.select(on_edge))
    fraction[on_edge] = _snapped(value_start / (value_start - value_end))[:, None]
    return vertices, faces.astype(np.int64)


def refine_on_edges(vertices: EdgeVertices, grid: IsoGrid, field: LatticeFunction, num_steps: int) -> EdgeVertices:
    """Vertices moved onto `field = level` by `num_steps` bracketed secant steps (Illinois rule) along their own edges.

    One query a vertex and step. A vertex never leaves its edge, hence faces keep their orientation and the mesh stays
    closed. Vertices on the lid of a cut surface and in the middle of a cell stay where they are.
    """
    movable = np.all((vertices.start >= 0) & (vertices.end <= grid.resolution), axis=1) & vertices.on_edge
    moving = vertices.select(movable)
    value_low, value_high = _end_values(grid, moving)
    low, high = np.zeros(len(value_low)), np.ones(len(value_low))
    fraction = moving.fraction[:, 0]
    last_side = np.zeros(len(low), dtype=np.int8)
    for _ in range(num_steps):
        value = field(moving.start + fraction[:, None] * (moving.end - moving.start)) - grid.level
        raises_low = (value >= 0) == (value_low >= 0)
        side = np.where(raises_low, -1, 1).astype(np.int8)
        # Illinois: an end that stays for a second time counts half, else one end of a convex function never moves.
        weight = np.where(side == last_side, 0.5, 1.0)
        value_low, value_high = (
            np.where(raises_low, value, weight * value_low),
            np.where(raises_low, weight * value_high, value),
        )
        low, high = np.where(raises_low, fraction, low), np.where(raises_low, high, fraction)
        fraction = low + (high - low) * value_low / (value_low - value_high)
        last_side = side
    refined = vertices.fraction.copy()
    refined[movable] = _snapped(fraction)[:, None]
    return replace(vertices, fraction=refined)


def _snapped(fraction: Float64[np.ndarray, "vertex"]) -> Float64[np.ndarray, "vertex"]:
    return np.clip(fraction, SNAP_FRACTION, 1.0 - SNAP_FRACTION)


def _end_values(
    grid: IsoGrid, vertices: EdgeVertices
) -> tuple[Float64[np.ndarray, "vertex"], Float64[np.ndarray, "vertex"]]:
    """Field minus level at both ends of each edge; minus infinity, in effect, in the layer around the box."""
    values = []
    for points in (vertices.start, vertices.end):
        within = ((points >= 0) & (points <= grid.resolution)).all(axis=1)
        nearest = np.clip(points, 0, grid.resolution)
        value = grid.values[tuple(nearest.T)].astype(np.float64) - grid.level
        values.append(np.where(within, value, -np.finfo(np.float32).max))
    return values[0], values[1]


def _crop_to_surface(grid: IsoGrid) -> tuple[Float32[np.ndarray, "x y z"], Int64[np.ndarray, "3"]]:
    """Field minus level on the bounding box of the inside points and one layer more, and its first lattice index."""
    inside = grid.values >= grid.level
    first, stop = [], []
    for axis in range(3):
        occupied = np.flatnonzero(inside.any(axis=tuple(other for other in range(3) if other != axis)))
        first.append(max(int(occupied[0]) - 1, 0))
        stop.append(min(int(occupied[-1]) + 2, grid.resolution + 1))
    part = grid.values[first[0] : stop[0], first[1] : stop[1], first[2] : stop[2]]
    signed = np.empty(part.shape, dtype=np.float32)
    # Subtracted in float64: a value just below a level that float32 cannot hold must not round onto it.
    np.subtract(part, np.float64(grid.level), out=signed, dtype=np.float64, casting="same_kind")
    return signed, np.array(first, dtype=np.int64)


def _largest_beside_surface(signed: Float32[np.ndarray, "x y z"]) -> float:
    """Largest distance from the level at the ends of edges that cross the surface."""
    inside = signed >= 0
    largest = 0.0
    for axis in range(3):
        flags, values = np.moveaxis(inside, axis, 0), np.moveaxis(signed, axis, 0)
        crossing = flags[1:] != flags[:-1]
        for ends in (values[:-1][crossing], values[1:][crossing]):
            largest = max(largest, float(np.abs(ends).max(initial=0.0)))
    return largest
