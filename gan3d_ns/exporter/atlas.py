"""A mesh laid flat: charts in a texture (xatlas), and where on the surface each texel lies.

Without torch: the unwrapping runs in a process apart. Texture coordinates are glTF's: (0, 0) is the upper left
corner of the picture, v grows downwards, and of S x S texels the one in row i and column j has its centre at
((j + 1/2) / S, (i + 1/2) / S).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64

PADDING_TEXELS = 4
"""Texels between charts: two levels of mip-mapping see nothing of a neighbour."""


def unwrapped(
    vertices: Float32[np.ndarray, "vertex 3"], faces: Int64[np.ndarray, "face 3"], size: np.ndarray
) -> dict[str, np.ndarray]:
    """An atlas: `source` (for each new vertex the old one), `faces` of new vertices and their `uvs` in [0, 1].

    Vertices are doubled where charts meet.
    """
    import xatlas

    atlas = xatlas.Atlas()
    atlas.add_mesh(vertices.astype(np.float32), faces.astype(np.uint32))
    packing = xatlas.PackOptions()
    packing.resolution, packing.padding, packing.bilinear = int(size), PADDING_TEXELS, True
    atlas.generate(pack_options=packing)
    source, new_faces, uvs = atlas[0]
    return {"source": source.astype(np.int64), "faces": new_faces.astype(np.int64), "uvs": uvs.astype(np.float32)}


@dataclass(frozen=True)
class Texels:
    """The texels that lie on the surface."""

    covered: Bool[np.ndarray, "size size"]
    """Which texels' centres lie in a triangle, or which hold the corner of one without lying in any."""
    face: Int64[np.ndarray, "texel"]
    """Index of that triangle, for the covered texels row by row."""
    weights: Float64[np.ndarray, "texel 3"]
    """Barycentric coordinates in it."""

    def interpolated(
        self, faces: Int64[np.ndarray, "face 3"], values: Float[np.ndarray, "vertex channel"]
    ) -> Float64[np.ndarray, "texel channel"]:
        """What vertices carry, at the covered texels."""
        return np.einsum("tk,tkc->tc", self.weights, values[faces[self.face]].astype(np.float64))


def texels_of(faces: Int64[np.ndarray, "face 3"], uvs: Float32[np.ndarray, "vertex 2"], size: int) -> Texels:
    """Which texels of a square texture the triangles cover: rays through the texels' centres onto the flat charts.

    Charts that are thinner than a texel have none of these; the texels at their corners stand for them.
    """
    import open3d

    flat = np.concatenate([uvs * size, np.zeros((len(uvs), 1), dtype=np.float32)], axis=1)
    scene = open3d.t.geometry.RaycastingScene()
    scene.add_triangles(flat.astype(np.float32), faces.astype(np.uint32))
    centres = (np.arange(size, dtype=np.float32) + 0.5)[:, None]
    hits, found, weights = [], [], []
    for row in range(size):  # a row at a time: a viewer's threads get their turn in between
        rays = np.zeros((size, 6), dtype=np.float32)
        rays[:, 0:1], rays[:, 1], rays[:, 2], rays[:, 5] = centres, row + 0.5, 1.0, -1.0
        reply = scene.cast_rays(open3d.core.Tensor(rays))
        hit = np.isfinite(reply["t_hit"].numpy())
        second = reply["primitive_uvs"].numpy()[hit].astype(np.float64)
        hits.append(hit)
        found.append(reply["primitive_ids"].numpy()[hit].astype(np.int64))
        weights.append(np.concatenate([1.0 - second.sum(axis=1, keepdims=True), second], axis=1))
    covered, face, weight = np.stack(hits), np.concatenate(found), np.concatenate(weights)

    columns, rows = np.clip((uvs[faces].reshape(-1, 2) * size).astype(np.int64), 0, size - 1).T
    corners = np.flatnonzero(~covered[rows, columns])
    places, first = np.unique(rows[corners] * size + columns[corners], return_index=True)
    corners = corners[first]
    order = np.argsort(np.concatenate([np.flatnonzero(covered), places]), kind="stable")
    covered.flat[places] = True
    face = np.concatenate([face, corners // 3])[order]
    return Texels(covered, face, np.concatenate([weight, np.eye(3)[corners % 3]])[order])


def dilated(
    texture: Float32[np.ndarray, "size size 3"], covered: Bool[np.ndarray, "size size"]
) -> Float32[np.ndarray, "size size 3"]:
    """The texture with every empty texel in the colour of the nearest covered one.

    Bilinear reads and mip-maps look past the borders of charts; what they find there is the chart's own colour.
    """
    from scipy.ndimage import distance_transform_edt

    nearest = np.asarray(distance_transform_edt(~covered, return_distances=False, return_indices=True))
    return texture[nearest[0], nearest[1]]
