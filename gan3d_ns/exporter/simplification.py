"""Fewer faces for the same shape, by Open3D's quadric edge collapse. Without torch: it runs in a process apart."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int64

FEWEST_FACES = 4
"""A tetrahedron."""


def target_faces(decimate: int | float, num_faces: int) -> int:
    """How many faces are asked for: a number of them above 1, a share of what there is up to 1."""
    return round(decimate) if decimate > 1.0 else round(decimate * num_faces)


def simplified(
    vertices: Float32[np.ndarray, "vertex 3"], faces: Int64[np.ndarray, "face 3"], target: np.ndarray
) -> dict[str, np.ndarray]:
    """A mesh of at most about `target` faces, as `vertices` and `faces` (Garland and Heckbert's quadric error).

    Faces without area and vertices without faces are gone. A shape may need more faces than were asked for.
    """
    import open3d

    mesh = open3d.geometry.TriangleMesh(
        open3d.utility.Vector3dVector(vertices.astype(np.float64)),
        open3d.utility.Vector3iVector(faces.astype(np.int32)),
    )
    mesh = mesh.simplify_quadric_decimation(int(target))
    mesh.remove_degenerate_triangles()
    mesh.remove_unreferenced_vertices()
    return {
        "vertices": np.asarray(mesh.vertices, dtype=np.float32),
        "faces": np.asarray(mesh.triangles, dtype=np.int64),
    }
