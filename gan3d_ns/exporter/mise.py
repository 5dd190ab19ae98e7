"""Multiresolution iso-surface extraction (MISE): a fine lattice of logits, evaluated only near the surface.

Mescheder et al., "Occupancy Networks", CVPR 2019, section 3.3. Lattice points are integers `0..R` on each axis with
`R = resolution0 * 2**depth`; a cell of tier `t` spans `2**(depth - t)` lattice steps. Cells of tier 0 are split
wherever the known points on them lie on both sides of the level, and so on down to single steps. The original keeps
cells in a hash map of a compiled module; here a tier is a dense array of flags and a round is a few array operations.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Callable, Iterator, Optional

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

from gan3d_ns.errors import UserError

FieldFunction = Callable[[Float[Tensor, "point 3"]], Float[Tensor, "point"]]
"""Geometry of one object: world positions to a scalar that is larger inside than outside."""

ProgressFunction = Callable[[int, int], None]
"""Called after each chunk with (points evaluated so far, points asked for so far); the second number grows by round."""

DEFAULT_COARSE_RESOLUTION = 32
"""Cells on each axis before any split (the paper's choice): parts thinner than a box side / 32 may be missed."""

_GATHER_LIMIT = 1 << 22
"""Lattice values looked up in one go when new cells collect what is already known on their faces."""

_FILL_SLABS = 8
"""Lattice slabs filled together."""

_CORNER_OFFSETS = np.array(list(itertools.product((-1, 0), repeat=3)), dtype=np.int64)
_SPLIT_OFFSETS = np.array([o for o in itertools.product((0, 1, 2), repeat=3) if 1 in o], dtype=np.int64)
_CHILD_OFFSETS = np.array(list(itertools.product((0, 1), repeat=3)), dtype=np.int64)


@dataclass(frozen=True)
class IsoGrid:
    """Logits on a lattice: exact in every cell that the surface crosses, copied from a neighbour elsewhere."""

    values: Float32[np.ndarray, "x y z"]
    """Index (i, j, k) stands at `lower + (upper - lower) * (i, j, k) / resolution`."""
    lower: Float64[np.ndarray, "3"]
    """World corner of index (0, 0, 0)."""
    upper: Float64[np.ndarray, "3"]
    """World corner of the last index."""
    level: float
    """The surface is where the field equals this value; larger is inside."""
    queries_per_round: tuple[int, ...]
    """Points evaluated in each round."""
    leaves_per_tier: tuple[int, ...]
    """Unsplit cells of each size, the coarsest first."""

    @property
    def resolution(self) -> int:
        """Cells on each axis, R."""
        return self.values.shape[0] - 1

    @property
    def spacing(self) -> Float64[np.ndarray, "3"]:
        """World length of one lattice step on each axis."""
        return (self.upper - self.lower) / self.resolution

    @property
    def rounds(self) -> int:
        """Rounds of evaluation: more than depth + 1 where a neighbour's split revealed a crossing."""
        return len(self.queries_per_round)

    @property
    def num_queries(self) -> int:
        """Points evaluated in all, of the (R + 1)^3 a dense grid would need."""
        return sum(self.queries_per_round)


def split_resolution(resolution: int, coarse_resolution: int = DEFAULT_COARSE_RESOLUTION) -> tuple[int, int]:
    """`(resolution0, depth)` with `resolution0 * 2**depth >= resolution`, as near as a fine enough start allows.

    128 gives (32, 2), 256 (32, 3), 100 (50, 1), and 250 gives (63, 2), hence 252 cells; up to 63 the grid is dense.

    Raises:
        UserError: when either number is below 1.
    """
    if resolution < 1 or coarse_resolution < 1:
        raise UserError(
            f"a mesh needs at least 1 cell on each axis (got {resolution}, coarse {coarse_resolution}); try 128 or 256"
        )
    depth = max(0, (resolution // coarse_resolution).bit_length() - 1)
    return -(-resolution // 2**depth), depth


def extract_iso_grid(
    logit_fn: FieldFunction,
    lower: Float[Tensor, "3"],
    upper: Float[Tensor, "3"],
    resolution0: int,
    depth: int,
    level: float = 0.0,
    *,
    chunk: int = 65536,
    progress: Optional[ProgressFunction] = None,
) -> IsoGrid:
    """The lattice of logits between two world corners, evaluated near the surface only (MISE, Occupancy Networks 3.3).

    Positions handed to `logit_fn` have the device and dtype of `lower`, at most `chunk` of them a call, sorted by x, y,
    z within a round. In each round every known point marks the cells that touch it as reaching above (`value >= level`)
    or below (`value <= level`); cells with both marks are split in 8. Ends when no split asks for a new point.
    Unevaluated points copy their predecessor along x, then y, then z, which carries their sign.

    Raises:
        UserError: when the evaluated logits all lie on one side of the level, or one of them is not finite.
    """
    resolution = resolution0 * 2**depth
    # As the values are: one that lies exactly on the level must do so in whatever precision it is compared.
    level = float(np.float32(level))
    evaluate = _Evaluator(logit_fn, lower, upper, resolution, chunk, progress)
    octree = _LeafFlags(resolution0, depth, level)
    values = np.full((resolution + 1) ** 3, np.nan, dtype=np.float32)

    axis = np.arange(0, resolution + 1, 2**depth, dtype=np.int64)
    pending = np.ravel_multi_index(np.ix_(axis, axis, axis), (resolution + 1,) * 3).ravel()
    queries: list[int] = []
    while pending.size:
        points = np.stack(np.unravel_index(pending, (resolution + 1,) * 3), axis=-1)
        logits = evaluate(points)
        values[pending] = logits
        queries.append(len(pending))
        octree.mark(points, logits)
        pending = octree.split(values)

    known = values[~np.isnan(values)]
    if known.max() < level or known.min() >= level:
        raise no_surface(level, float(known.min()), float(known.max()))
    values = values.reshape((resolution + 1,) * 3)
    _fill_from_predecessors(values)
    return IsoGrid(
        values=values,
        lower=lower.detach().cpu().double().numpy(),
        upper=upper.detach().cpu().double().numpy(),
        level=level,
        queries_per_round=tuple(queries),
        leaves_per_tier=octree.leaves_per_tier(),
    )


class _Evaluator:
    """Calls the field in chunks on integer lattice points."""

    def __init__(
        self,
        logit_fn: FieldFunction,
        lower: Float[Tensor, "3"],
        upper: Float[Tensor, "3"],
        resolution: int,
        chunk: int,
        progress: Optional[ProgressFunction],
    ) -> None:
        self.logit_fn, self.resolution, self.chunk, self.progress = logit_fn, resolution, chunk, progress
        # Positions are made on the CPU: some devices have no float64, and float32 would move the last digit.
        self.lower = lower.detach().cpu().double().numpy()
        self.extent = upper.detach().cpu().double().numpy() - self.lower
        self.device, self.dtype = lower.device, lower.dtype
        self.num_done = 0

    def __call__(self, points: Int64[np.ndarray, "point 3"]) -> Float32[np.ndarray, "point"]:
        logits = np.empty(len(points), dtype=np.float32)
        num_requested = self.num_done + len(points)
        for start in range(0, len(points), self.chunk):
            lattice = points[start : start + self.chunk]
            positions = torch.from_numpy(self.lower + self.extent * (lattice / self.resolution))
            with torch.no_grad():
                part = self.logit_fn(positions.to(device=self.device, dtype=self.dtype))
            logits[start : start + len(lattice)] = part.float().cpu().numpy()
            self.num_done += len(lattice)
            if self.progress is not None:
                self.progress(self.num_done, num_requested)
        num_bad = int(np.count_nonzero(~np.isfinite(logits)))
        if num_bad:
            raise UserError(
                f"no mesh: {num_bad} of {len(logits)} logits are not finite; the weights have diverged, "
                "export an earlier checkpoint"
            )
        return logits


class _LeafFlags:
    """The octree as dense flags: for every cell that may still be split, which signs touch it and whether it is split.

    A tier is the paper's "level" of a cell; `level` here is the value at which the surface lies.
    """

    def __init__(self, resolution0: int, depth: int, level: float) -> None:
        self.depth, self.level = depth, level
        self.sizes = [resolution0 * 2**tier for tier in range(depth + 1)]
        self.above = [np.zeros(size**3, dtype=bool) for size in self.sizes[:depth]]
        self.below = [np.zeros(size**3, dtype=bool) for size in self.sizes[:depth]]
        self.is_split = [np.zeros(size**3, dtype=bool) for size in self.sizes[:depth]]

    @property
    def resolution(self) -> int:
        return self.sizes[-1]

    def mark(self, points: Int64[np.ndarray, "point 3"], logits: Float32[np.ndarray, "point"]) -> None:
        """Marks, for every point, the (up to 8) leaves that touch it, larger leaves with it on their face included."""
        for offset in _CORNER_OFFSETS:
            cells = points + offset
            kept = ((cells >= 0) & (cells < self.resolution)).all(axis=-1)
            cells, values = cells[kept], logits[kept]
            for tier in range(self.depth):
                index = _flat_index(cells >> (self.depth - tier), self.sizes[tier])
                self.above[tier][index[values >= self.level]] = True
                self.below[tier][index[values <= self.level]] = True
                # Cells split already keep collecting marks, harmlessly; only they hold smaller leaves.
                finer = self.is_split[tier][index]
                cells, values = cells[finer], values[finer]

    def split(self, values: Float32[np.ndarray, "lattice"]) -> Int64[np.ndarray, "point"]:
        """Splits the leaves with both marks. Returns the sorted flat lattice indices that are not known yet."""
        chosen = [
            np.flatnonzero(self.above[tier] & self.below[tier] & ~self.is_split[tier]) for tier in range(self.depth)
        ]
        asked = []
        for tier, index in enumerate(chosen):
            self.is_split[tier][index] = True
            cells = np.stack(np.unravel_index(index, (self.sizes[tier],) * 3), axis=-1)
            half = 2 ** (self.depth - tier - 1)
            for offset in _SPLIT_OFFSETS:
                flat = _flat_index((2 * cells + offset) * half, self.resolution + 1)
                asked.append(flat[np.isnan(values[flat])])
            if tier + 1 < self.depth:
                children = (2 * cells[:, None] + _CHILD_OFFSETS).reshape(-1, 3)
                self._inherit(tier + 1, children, values)
        return np.unique(np.concatenate(asked)) if asked else np.empty(0, dtype=np.int64)

    def _inherit(self, tier: int, cells: Int64[np.ndarray, "cell 3"], values: Float32[np.ndarray, "lattice"]) -> None:
        """Marks new cells by the points already known on their surface: own corners and those of finer neighbours."""
        size = 2 ** (self.depth - tier)
        steps = (self.resolution + 1) ** np.array([2, 1, 0], dtype=np.int64)
        surface = np.array([o for o in itertools.product(range(size + 1), repeat=3) if {0, size} & set(o)]) @ steps
        for part in _batches(cells, max(1, _GATHER_LIMIT // len(surface))):
            # Comparisons with NaN, the mark of an unknown point, are false.
            touching = values[(part * size @ steps)[:, None] + surface]
            index = _flat_index(part, self.sizes[tier])
            self.above[tier][index] = (touching >= self.level).any(axis=1)
            self.below[tier][index] = (touching <= self.level).any(axis=1)

    def leaves_per_tier(self) -> tuple[int, ...]:
        """Unsplit cells of each tier."""
        num_split = [int(np.count_nonzero(flags)) for flags in self.is_split]
        num_cells = [self.sizes[0] ** 3] + [8 * n for n in num_split]
        return tuple(cells - split for cells, split in zip(num_cells, [*num_split, 0], strict=True))


def _flat_index(index: Int64[np.ndarray, "cell 3"], size: int) -> Int64[np.ndarray, "cell"]:
    """Row-major position in a cube of `size` entries on each axis."""
    return (index[:, 0] * size + index[:, 1]) * size + index[:, 2]


def _batches(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _fill_from_predecessors(values: Float32[np.ndarray, "x y z"]) -> None:
    """Replaces NaN, in place, by the entry before it along x, then y, then z."""
    _copy_forward(values)
    # The passes along y and z stay within a slab of x; a few slabs at a time fit the processor's cache.
    for slabs in _batches(values, _FILL_SLABS):
        _copy_forward(np.moveaxis(slabs, 1, 0))
        _copy_forward(np.moveaxis(slabs, 2, 0))


def _copy_forward(slabs: Float32[np.ndarray, "a b c"]) -> None:
    for before, slab in itertools.pairwise(slabs):
        np.copyto(slab, before, where=np.isnan(slab))


def no_surface(level: float, lowest: float, highest: float) -> UserError:
    """What to say where all logits of a box lie on one side of the level: their range, and what to do."""
    span = f"no surface at level {level:g}: logits span [{lowest:.4g}, {highest:.4g}] inside the box"
    if lowest == highest:
        return UserError(f"{span}; the field is constant, train longer")
    return UserError(f"{span}; train longer or pass --level {(lowest + highest) / 2:.3g}")
