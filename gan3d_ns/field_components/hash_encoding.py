"""Hash-encoded feature grids (Müller et al., Instant Neural Graphics Primitives, 2022, section 3) for small fields.

nerfstudio's `HashEncoding` holds the numbers: tiny-cuda-nn's own on a GPU that has it, nerfstudio's PyTorch table
elsewhere. The two lay their tables out differently, see :func:`torch_levels` and :func:`tcnn_levels`; reading either in
PyTorch is the same code, so that weights of tiny-cuda-nn open on machines without it.
"""

import functools
import math
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Literal, Optional

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from nerfstudio.field_components.encodings import HashEncoding
from nerfstudio.utils.external import TCNN_EXISTS
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor, nn

from gan3d_ns.errors import UserError

Layout = Literal["tcnn", "torch"]
PRIMES = (1, 2654435761, 805459861)
"""Factors of the spatial hash (section 3, equation 4)."""
TCNN_ALIGNMENT = 8
"""tiny-cuda-nn rounds the entries of a level up to a multiple of this."""
MOST_VERTICES = 2**22
"""Grids with more vertices are read by hashing each corner; smaller ones are written out as volumes first."""


@dataclass
class HashTableConfig:
    """Sizes of one hash-encoded grid."""

    num_levels: int = 8
    """Grids of growing resolution."""
    base_resolution: int = 8
    """Cells along an axis of the coarsest grid."""
    finest_resolution: int = 64
    """Cells along an axis of the finest grid; the levels between grow geometrically."""
    features_per_level: int = 2
    """Numbers at a vertex: 1, 2, 4 or 8 (a limit of tiny-cuda-nn)."""
    log2_table_size: int = 14
    """Entries of a level are at most 2 to this power; vertices share them beyond."""

    def __post_init__(self) -> None:
        if self.features_per_level not in (1, 2, 4, 8):
            raise UserError(f"features_per_level is {self.features_per_level}; tiny-cuda-nn takes 1, 2, 4 or 8.")
        if self.num_levels < 1 or not 2 <= self.base_resolution <= self.finest_resolution:
            raise UserError(
                f"a hash table of {self.num_levels} levels from {self.base_resolution} to {self.finest_resolution} "
                "cells makes no sense; give one level or more, growing from 2 cells or more."
            )

    @property
    def num_features(self) -> int:
        """Features of a point: those of all levels."""
        return self.num_levels * self.features_per_level


@dataclass(frozen=True)
class HashLevel:
    """One grid: a point x in [0, 1]^3 lies at scale * x + shift, in cells; vertices are numbered from 0."""

    scale: float
    shift: float
    vertices: int
    """Vertices along an axis that points in the unit cube can touch."""
    stride: Optional[int]
    """Dense levels: entries from one vertex to its neighbour along y, squared along z. None: hashed."""
    entries: int
    first: int
    """Where the level starts in the table, in entries."""

    def index(self, vertices: Int[Tensor, "*batch 3"]) -> Int[Tensor, "*batch"]:
        """The table's row of integer vertices: x + y s + z s^2 for dense levels, else x ^ y p1 ^ z p2, modulo size."""
        x, y, z = vertices.unbind(dim=-1)
        if self.stride is not None:
            row = x + y * self.stride + z * self.stride**2
        else:
            row = x * PRIMES[0] ^ y * PRIMES[1] ^ z * PRIMES[2]
        return row % self.entries + self.first


def growth_factor(config: HashTableConfig) -> float:
    """Ratio of neighbouring resolutions (equation 3), 1 for a single level; rounded as nerfstudio rounds it."""
    if config.num_levels == 1:
        return 1.0
    logarithms = np.log(config.finest_resolution) - np.log(config.base_resolution)
    return float(np.exp(logarithms / (config.num_levels - 1)))


def torch_levels(config: HashTableConfig) -> List[HashLevel]:
    """nerfstudio's PyTorch layout: floor(base g^l) cells, vertices at their corners, all levels hashed, 2^T entries."""
    entries, levels = 2**config.log2_table_size, torch.arange(config.num_levels)
    scales = torch.floor(config.base_resolution * growth_factor(config) ** levels).tolist()
    return [HashLevel(scale, 0.0, int(scale) + 1, None, entries, index * entries) for index, scale in enumerate(scales)]


def tcnn_levels(config: HashTableConfig) -> List[HashLevel]:
    """tiny-cuda-nn's layout (its grid encoding, read at version 2.0).

    Level l scales by base g^l - 1 in single precision and shifts by half a cell; with ceil(scale) + 1 vertices a side
    it is dense where they fit 2^T entries, rounded up to a multiple of 8, and hashed where they do not. The shift can
    touch one vertex more than a dense level has: its index runs on into the next row. A dense level whose scale is a
    whole number but for rounding may come out a vertex larger than on the GPU; hashed levels do not depend on it.
    """
    levels, first = [], 0
    log2_growth = torch.tensor(growth_factor(config)).log2()
    for index in range(config.num_levels):
        scale = float(torch.exp2(index * log2_growth) * config.base_resolution - 1.0)
        side = math.ceil(scale) + 1
        dense = side**3 <= 2**config.log2_table_size
        entries = -(-(side**3) // TCNN_ALIGNMENT) * TCNN_ALIGNMENT if dense else 2**config.log2_table_size
        levels.append(HashLevel(scale, 0.5, math.floor(scale + 0.5) + 2, side if dense else None, entries, first))
        first += entries
    return levels


LEVELS: Dict[Layout, Callable[[HashTableConfig], List[HashLevel]]] = {"torch": torch_levels, "tcnn": tcnn_levels}
PARAMETER_NAMES: Dict[Layout, str] = {"torch": "encoding.hash_table", "tcnn": "encoding.tcnn_encoding.params"}
"""Where the state dict of a :class:`HashTable` holds the table: it tells the layout."""


def corner_features(
    points: Float[Tensor, "points 3"], table: Float[Tensor, "entries features"], levels: List[HashLevel]
) -> Float[Tensor, "points all_features"]:
    """Trilinear reads of all levels at points of the unit cube; can be differentiated any number of times."""
    corners = torch.cartesian_prod(*[torch.arange(2, device=points.device)] * 3)
    features = []
    for level in levels:
        positions = points * level.scale + level.shift
        lowest = positions.detach().floor()
        offsets = (positions - lowest)[:, None]
        weights = torch.where(corners == 1, offsets, 1.0 - offsets).prod(dim=-1)
        rows = level.index(lowest.long()[:, None] + corners)
        features.append((weights[..., None] * table[rows]).sum(dim=1))
    return torch.cat(features, dim=-1)


class TcnnTwin(nn.Module):
    """Reads the parameter vector of a tiny-cuda-nn HashGrid in PyTorch, in its place and under its name.

    In single precision: where tiny-cuda-nn computes in half precision, the two differ by about a thousandth.
    """

    def __init__(self, config: HashTableConfig, params: nn.Parameter) -> None:
        super().__init__()
        self.config = config
        self.params = params

    def forward(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, "points features"]:
        table = self.params.reshape(-1, self.config.features_per_level)
        return corner_features(points, table, tcnn_levels(self.config))


def tcnn_works() -> bool:
    """Whether tiny-cuda-nn can be imported and has a GPU."""
    return TCNN_EXISTS and torch.cuda.is_available()


@functools.cache
def announce(sentence: str) -> None:
    """Prints a sentence the first time that it is said."""
    CONSOLE.print(sentence)


def choose_layout(wanted: Literal["auto", "tcnn", "torch"]) -> Layout:
    """The layout of new tables: tiny-cuda-nn's where it works, unless one is asked for."""
    if wanted == "auto":
        wanted = "tcnn" if tcnn_works() else "torch"
        reason = "" if wanted == "tcnn" else ": tiny-cuda-nn is not installed, or there is no GPU"
        announce(f"Hash encoding: {wanted}{reason}.")
    elif wanted == "tcnn" and not tcnn_works():
        announce("Hash encoding: the layout of tiny-cuda-nn, read by PyTorch, as it does not work here.")
    return wanted


class HashTable(nn.Module):
    """Features of points in the unit cube from one hash table.

    The state dict tells the layout: ``encoding.hash_table`` is nerfstudio's, ``encoding.tcnn_encoding.params`` that of
    tiny-cuda-nn. Loading a state dict changes to its layout.
    """

    rows: Int[Tensor, "vertices"]
    encoding: HashEncoding
    levels: List[HashLevel]
    """The grids of the present layout."""

    def __init__(self, config: HashTableConfig, layout: Layout) -> None:
        super().__init__()
        self.config = config
        native = layout == "tcnn" and tcnn_works()
        self.encoding = HashEncoding(
            num_levels=config.num_levels,
            min_res=config.base_resolution,
            max_res=config.finest_resolution,
            log2_hashmap_size=config.log2_table_size,
            features_per_level=config.features_per_level,
            implementation="tcnn" if native else "torch",
        )
        self.register_buffer("rows", torch.empty(0, dtype=torch.long), persistent=False)
        self.layout: Layout = "tcnn" if native else "torch"
        self.number_vertices()
        self.use_layout(layout)

    @property
    def native(self) -> bool:
        """Whether tiny-cuda-nn itself computes: it does so on GPUs only."""
        twin = isinstance(self.encoding.tcnn_encoding, TcnnTwin)
        return self.layout == "tcnn" and not twin and self.parameter.is_cuda

    @property
    def parameter(self) -> nn.Parameter:
        """The table as the present layout stores it."""
        stored = self.encoding.tcnn_encoding.params if self.layout == "tcnn" else self.encoding.hash_table  # pyright: ignore
        assert isinstance(stored, nn.Parameter)
        return stored

    @property
    def table(self) -> Float[Tensor, "entries features"]:
        """The table, one row for each entry."""
        return self.parameter.reshape(-1, self.config.features_per_level)

    def use_layout(self, layout: Layout) -> None:
        """Changes to another layout; the numbers are undefined until a state dict is loaded.

        The parameter stays the same object, so that an optimizer made before goes on with it.
        """
        if layout == self.layout:
            return
        parameter, encoding, size = self.parameter, self.encoding, sum(x.entries for x in LEVELS[layout](self.config))
        shape = (size * self.config.features_per_level,) if layout == "tcnn" else (size, self.config.features_per_level)
        parameter.data, parameter.grad = parameter.new_zeros(shape, dtype=torch.float32), None
        del encoding.hash_table, encoding.tcnn_encoding
        if layout == "tcnn":
            encoding.hash_table = torch.empty(0)
            encoding.tcnn_encoding = TcnnTwin(self.config, parameter)  # pyright: ignore[reportAttributeAccessIssue]
        else:
            encoding.hash_table, encoding.tcnn_encoding = parameter, None
        self.layout = layout
        self.number_vertices()

    def number_vertices(self) -> None:
        """Notes the levels, and the table's row of each of their vertices, x fastest; none where there are too many."""
        self.levels = levels = LEVELS[self.layout](self.config)
        if sum(level.vertices**3 for level in levels) > MOST_VERTICES:
            self.rows = self.rows.new_empty(0)
            return
        rows = []
        for level in levels:
            axis = torch.arange(level.vertices, device=self.rows.device)
            z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
            rows.append(level.index(torch.stack((x, y, z), dim=-1)).flatten())
        self.rows = torch.cat(rows)

    def volumes(self) -> Float[Tensor, "vertices features"]:
        """The features of all vertices, level by level: written out once, cheaper to read than by hashing.

        Empty where tiny-cuda-nn computes, or where the grids are too fine.
        """
        return self.table.index_select(0, self.rows[:0] if self.native else self.rows)

    def read(
        self, volumes: Float[Tensor, "vertices features"], points: Float[Tensor, "points 3"]
    ) -> Float[Tensor, "points all_features"]:
        """Trilinear reads from :meth:`volumes`, which torch differentiates once. Points outside read the border."""
        if len(volumes) == 0:
            return self(points)
        points, features, levels = points.clamp(0.0, 1.0), [], self.levels
        parts = volumes.split([level.vertices**3 for level in levels])
        for level, part in zip(levels, parts, strict=True):
            side = level.vertices
            volume = part.reshape(1, side, side, side, -1).permute(0, 4, 1, 2, 3)
            where = (points * level.scale + level.shift) * (2.0 / (side - 1)) - 1.0
            reads = F.grid_sample(volume, where[None, None, None], padding_mode="border", align_corners=True)
            features.append(reads.reshape(self.config.features_per_level, -1))
        return torch.cat(features).T

    def forward(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, "points all_features"]:
        """Trilinear reads straight from the table. Points outside read the border.

        Can be differentiated twice, as far as gradients of positions go: in PyTorch exactly; tiny-cuda-nn's grid
        encoding implements the backward pass of its input gradient to table, output gradient and input, in its own
        precision, which is half on most GPUs.
        """
        points = points.clamp(0.0, 1.0)
        if self.native or self.layout == "torch":
            return self.encoding(points).float()
        return corner_features(points, self.table, self.levels)

    def fit_to(self, state: Dict[str, Tensor], prefix: str = "") -> None:
        """Changes to the layout of a state dict whose names start with ``prefix``, if its table has our size."""
        for layout, name in PARAMETER_NAMES.items():
            found = state.get(prefix + name)
            size = sum(level.entries for level in LEVELS[layout](self.config)) * self.config.features_per_level
            if found is not None and found.numel() == size and layout != self.layout:
                announce(f"Hash encoding: the checkpoint has the layout of {layout}, which is read by PyTorch here.")
                self.use_layout(layout)

    def _load_from_state_dict(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, state_dict: Dict[str, Any], prefix: str, *arguments: Any
    ) -> None:
        self.fit_to(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *arguments)
