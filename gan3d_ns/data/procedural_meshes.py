"""Meshes of signed distance scenes."""

from __future__ import annotations

import numpy as np
import torch

from gan3d_ns.data.procedural_rendering import Scene, surface_normals
from gan3d_ns.data.true_collection import TrueMesh

MESH_CELLS = 96
"""Cells of the lattice along each side of a mesh's cube."""


def surface_mesh(scene: Scene, num_cells: int = MESH_CELLS) -> TrueMesh:
    """The surface, by marching cubes (Lewiner et al. 2003): closed, faces counter-clockwise seen from outside.

    Args:
        scene: within its bounding radius around the origin.
        num_cells: of the lattice along each side of the cube around it.
    """
    # Here, because registering a method imports this file.
    from skimage.measure import marching_cubes

    axis = torch.linspace(-scene.bounding_radius, scene.bounding_radius, num_cells + 1)
    lattice = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
    distances = torch.cat([scene.sdf(layer.reshape(-1, 3)) for layer in lattice]).view(lattice.shape[:3])
    vertices, faces, _, _ = marching_cubes(distances.numpy(), 0.0)
    # A distance is known also between lattice points: a step of its length lands on the surface.
    points = torch.from_numpy(vertices.astype(np.float32)) * (axis[1] - axis[0]) + axis[0]
    for _ in range(2):
        points = points - scene.sdf(points)[:, None] * surface_normals(scene, points)
    return TrueMesh(points, torch.from_numpy(faces.astype(np.int64)))
