"""Meshes out of a field: level set, clean-up, normals, colours. Everything in world units, +y up, front at +z."""

from dataclasses import dataclass, field
from typing import Callable, Dict, Optional

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int64, UInt8
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from gan3d_ns.exporter.level_set import marching_cubes_on_grid, refine_on_edges
from gan3d_ns.exporter.mise import (
    DEFAULT_COARSE_RESOLUTION,
    FieldFunction,
    ProgressFunction,
    extract_iso_grid,
    split_resolution,
)

NormalFunction = Callable[[Float[Tensor, "point 3"]], Float[Tensor, "point 3"]]
"""World positions to unit normals that point out of the object."""

ColourFunction = Callable[[Float[Tensor, "point 3"], Float[Tensor, "point 3"]], Float[Tensor, "point 3"]]
"""World positions and outward normals to sRGB colours in [0, 1]."""

SHORTEST_NORMAL = 1e-20
"""Below this length (of a normal, or of a summed face area in square world units) a vector has no direction."""


@dataclass
class MeshExtractionConfig:
    """How a surface is cut out of a field."""

    resolution: int = 256
    """Cells on each axis of the box, rounded up to a number that can be halved down to `coarse_resolution`."""
    coarse_resolution: int = DEFAULT_COARSE_RESOLUTION
    """Cells on each axis of the first search; raise it when thin or separate parts are missing (costs its cube)."""
    level: float = 0.0
    """Value of the field on the surface; an occupancy logit of 0 is a probability of one half."""
    refine_steps: int = 1
    """Secant steps that move vertices along their lattice edge onto the level set; one query a vertex each."""
    min_component_fraction: float = 0.02
    """Pieces with fewer faces than this fraction of the largest piece are dropped as floaters; 0 keeps all."""
    largest_only: bool = False
    """Keep only the piece with the most faces."""
    chunk_size: int = 65536
    """Points handed to the field at once; lower it when memory runs out."""


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh in the world frame (+y up, front at +z, unit = radius of the camera orbit)."""

    vertices: Float32[np.ndarray, "vertex 3"]
    """Positions."""
    faces: Int64[np.ndarray, "face 3"]
    """Vertex indices, counter-clockwise seen from outside."""
    normals: Optional[Float32[np.ndarray, "vertex 3"]] = None
    """Unit vectors out of the object."""
    colours: Optional[Float32[np.ndarray, "vertex 3"]] = None
    """sRGB in [0, 1]; None where there is a texture."""
    uvs: Optional[Float32[np.ndarray, "vertex 2"]] = None
    """Place of each vertex in the texture, which spans [0, 1]: to the right and down (glTF's convention)."""
    texture: Optional[UInt8[np.ndarray, "row column 3"]] = None
    """sRGB, row 0 on top."""
    statistics: Dict[str, int] = field(default_factory=dict)
    """What the extraction did: queries, rounds, resolution, pieces found and dropped."""


def extract_mesh(
    config: MeshExtractionConfig,
    logit_fn: FieldFunction,
    lower: Float[Tensor, "3"],
    upper: Float[Tensor, "3"],
    *,
    normal_fn: Optional[NormalFunction] = None,
    colour_fn: Optional[ColourFunction] = None,
    progress: Optional[ProgressFunction] = None,
) -> Mesh:
    """The closed surface `logit_fn = level` inside the box of two world corners, larger values within.

    MISE for the lattice, marching cubes, floaters dropped, vertices moved onto the level set, normals from `normal_fn`
    (else from the faces), colours from `colour_fn` (else none). Functions get positions of `lower`'s device and dtype.

    Raises:
        UserError: when the box holds no surface at the level, or the field is not finite.
    """
    resolution0, depth = split_resolution(config.resolution, config.coarse_resolution)
    grid = extract_iso_grid(
        logit_fn, lower, upper, resolution0, depth, config.level, chunk=config.chunk_size, progress=progress
    )
    num_queries = grid.num_queries
    lattice_vertices, faces = marching_cubes_on_grid(grid)
    kept_vertices, faces, num_pieces, num_dropped = drop_floaters(
        len(lattice_vertices.fraction), faces, config.min_component_fraction, config.largest_only
    )
    lattice_vertices = lattice_vertices.select(kept_vertices)

    def to_world(lattice: Float64[np.ndarray, "vertex 3"]) -> Float[Tensor, "vertex 3"]:
        world = torch.from_numpy(grid.lower + (grid.upper - grid.lower) * (lattice / grid.resolution))
        return world.to(device=lower.device, dtype=lower.dtype)

    def lattice_field(lattice: Float64[np.ndarray, "vertex 3"]) -> Float64[np.ndarray, "vertex"]:
        nonlocal num_queries
        num_queries += len(lattice)
        return in_chunks(logit_fn, config.chunk_size, to_world(lattice)).astype(np.float64)

    with torch.no_grad():
        lattice_vertices = refine_on_edges(lattice_vertices, grid, lattice_field, config.refine_steps)
    positions = to_world(lattice_vertices.positions)
    vertices = positions.cpu().numpy().astype(np.float32)
    normals = normals_from_faces(vertices, faces)
    if normal_fn is not None:
        normals = normals_of_field(positions, normals, normal_fn, config.chunk_size)
    colours = None
    if colour_fn is not None:
        with torch.no_grad():
            colours = in_chunks(colour_fn, config.chunk_size, positions, torch.from_numpy(normals).to(positions))
        colours = np.clip(np.nan_to_num(colours), 0.0, 1.0)
    statistics = {
        "resolution": grid.resolution,
        "queries": num_queries,
        "dense_queries": grid.values.size,
        "components": num_pieces,
        "components_dropped": num_dropped,
    }
    return Mesh(vertices=vertices, faces=faces, normals=normals, colours=colours, statistics=statistics)


def drop_floaters(
    num_vertices: int, faces: Int64[np.ndarray, "face 3"], min_fraction: float, largest_only: bool = False
) -> tuple[Bool[np.ndarray, "vertex"], Int64[np.ndarray, "kept_face 3"], int, int]:
    """Which vertices stay, the faces that stay (renumbered), how many connected pieces there were, how many went.

    A piece stays when it has at least `min_fraction` of the faces of the largest piece; with `largest_only`, only that.
    The wall of an inner hollow is a piece of its own, so that small hollows are filled by the same rule.
    """
    ends = np.concatenate([faces[:, :2], faces[:, 1:]])
    ones = np.ones(len(ends), dtype=np.int8)
    graph = coo_matrix((ones, (ends[:, 0], ends[:, 1])), shape=(num_vertices, num_vertices))
    num_pieces, piece_of_vertex = connected_components(graph, directed=False)
    piece_of_face = piece_of_vertex[faces[:, 0]]
    sizes = np.bincount(piece_of_face, minlength=num_pieces)
    stays = np.arange(num_pieces) == sizes.argmax() if largest_only else sizes >= min_fraction * sizes.max()
    kept_vertices = stays[piece_of_vertex]
    new_index = np.cumsum(kept_vertices) - 1
    return kept_vertices, new_index[faces[stays[piece_of_face]]], int(num_pieces), int(np.count_nonzero(~stays))


def normals_from_faces(
    vertices: Float32[np.ndarray, "vertex 3"], faces: Int64[np.ndarray, "face 3"]
) -> Float32[np.ndarray, "vertex 3"]:
    """Unit vertex normals: face normals of the adjacent faces, weighted by area."""
    corners = vertices.astype(np.float64)[faces]
    # The cross product is as long as twice the area.
    areas = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    repeated = np.repeat(areas, 3, axis=0)
    total = [np.bincount(faces.ravel(), weights=repeated[:, axis], minlength=len(vertices)) for axis in range(3)]
    up = np.tile(np.array([[0.0, 1.0, 0.0]], dtype=np.float32), (len(vertices), 1))
    return _normalised(np.stack(total, axis=-1), up)


def normals_of_field(
    positions: Float[Tensor, "vertex 3"],
    of_faces: Float32[np.ndarray, "vertex 3"],
    normal_fn: NormalFunction,
    chunk: int,
) -> Float32[np.ndarray, "vertex 3"]:
    """The field's normals at vertices; those of the faces where the field has none, or points to the other side.

    A vertex of a coarse mesh may lie beyond the middle of a thin part, where the field's normal is the far side's.
    """
    # Not under no_grad: normals of a field may be its own derivative.
    normals = _normalised(in_chunks(normal_fn, chunk, positions), of_faces)
    return np.where((normals * of_faces).sum(axis=1, keepdims=True) < 0.0, of_faces, normals)


def _normalised(
    vectors: Float[np.ndarray, "vertex 3"], fallback: Float32[np.ndarray, "vertex 3"]
) -> Float32[np.ndarray, "vertex 3"]:
    """Unit vectors; the fallback where a vector has no direction."""
    length = np.linalg.norm(vectors.astype(np.float64), axis=-1, keepdims=True)
    usable = np.isfinite(length) & (length > SHORTEST_NORMAL)
    return np.where(usable, vectors / np.where(usable, length, 1.0), fallback).astype(np.float32)


def in_chunks(
    function: Callable[..., Tensor], chunk: int, *inputs: Float[Tensor, "point 3"]
) -> Float32[np.ndarray, "point *channels"]:
    """The function's values at all points, on the CPU."""
    chunks = zip(*(points.split(chunk) for points in inputs), strict=True)
    return torch.cat([function(*part).detach().float().cpu() for part in chunks]).numpy()
