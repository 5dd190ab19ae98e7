"""Where rays meet a mesh, by Open3D alone."""

from __future__ import annotations

import open3d as o3d
import torch

from gan3d_ns.data.true_collection import TrueMesh


def first_hits(mesh: TrueMesh, origins: torch.Tensor, directions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Distances (infinite where there is none) and normals where rays meet a mesh."""
    scene = o3d.t.geometry.RaycastingScene()
    vertices, faces = mesh.vertices.numpy(), mesh.faces.numpy().astype("uint32")
    scene.add_triangles(o3d.core.Tensor(vertices), o3d.core.Tensor(faces))
    hits = scene.cast_rays(o3d.core.Tensor(torch.cat([origins, directions], dim=-1).numpy()))
    return torch.from_numpy(hits["t_hit"].numpy()), torch.from_numpy(hits["primitive_normals"].numpy())
