"""Pictures of a mesh by ray casting on the CPU: for README pictures, silhouette tests, a check without a viewer."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, UInt8
from torch import Tensor

from gan3d_ns.exporter.mesh import Mesh, normals_from_faces

_LIGHT_IN_CAMERA = np.array([-0.45, 0.55, 0.7])
"""Direction towards the light (right, up, backward): over the viewer's left shoulder."""

_AMBIENT = 0.25
"""Brightness of the shaded picture where the light does not reach."""

_CLAY = 0.85
"""Grey of the shaded picture in full light."""


@dataclass(frozen=True)
class MeshPreview:
    """What a camera sees of a mesh; row 0 on top."""

    rgb: Float32[np.ndarray, "height width 3"]
    """Texture or vertex colours without shading, sRGB in [0, 1]; equals `shaded` for a mesh without either."""
    shaded: Float32[np.ndarray, "height width 3"]
    """Grey clay lit from the upper left of the camera, sRGB in [0, 1]."""
    normals: Float32[np.ndarray, "height width 3"]
    """World normals, zero where nothing is seen."""
    depth: Float32[np.ndarray, "height width"]
    """Euclidean distance from the camera in world units, infinite where nothing is seen."""
    coverage: Float32[np.ndarray, "height width"]
    """Share of the pixel's sub-samples that meet the mesh: the silhouette."""


def render_mesh_preview(
    mesh: Mesh,
    camera_to_world: Float[Tensor, "3 4"],
    fov_deg: float,
    resolution: int,
    *,
    samples_per_axis: int = 1,
    background: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> MeshPreview:
    """A square picture of the mesh from an OpenGL camera (columns right, up, backward, position).

    The pixel grid is GOF's: pixel centres at `linspace(-1, 1, resolution)` times `tan(fov / 2)`, end points included.
    `samples_per_axis` squared rays a pixel are averaged (in sRGB) against jagged edges.
    """
    pose = camera_to_world.detach().cpu().double().numpy()
    directions = _ray_directions(pose[:, :3], fov_deg, resolution, samples_per_axis)
    hit, distance, corners, weights = _cast(mesh, pose[:, 3], directions)

    def interpolate(attribute: Float32[np.ndarray, "vertex channel"]) -> Float64[np.ndarray, "hit channel"]:
        return np.einsum("hk,hkc->hc", weights, attribute[corners].astype(np.float64))

    seen_normals = interpolate(
        mesh.normals if mesh.normals is not None else normals_from_faces(mesh.vertices, mesh.faces)
    )
    seen_normals /= np.linalg.norm(seen_normals, axis=-1, keepdims=True).clip(min=1e-12)
    light = pose[:, :3] @ (_LIGHT_IN_CAMERA / np.linalg.norm(_LIGHT_IN_CAMERA))
    brightness = _CLAY * (_AMBIENT + (1.0 - _AMBIENT) * np.clip(seen_normals @ light, 0.0, 1.0))
    seen_clay = np.repeat(brightness[:, None], 3, axis=1)
    seen_colours = interpolate(mesh.colours) if mesh.colours is not None else seen_clay
    if mesh.uvs is not None and mesh.texture is not None:
        seen_colours = read_texture(mesh.texture, interpolate(mesh.uvs))

    fine = resolution * samples_per_axis
    block = (resolution, samples_per_axis, resolution, samples_per_axis)
    hits_in_pixel = hit.reshape(block).sum(axis=(1, 3))

    def picture(seen: Float64[np.ndarray, "hit 3"], empty: tuple[float, ...]) -> Float32[np.ndarray, "height width 3"]:
        canvas = np.tile(np.array(empty, dtype=np.float64), (fine * fine, 1))
        canvas[hit] = seen
        return canvas.reshape(*block, 3).mean(axis=(1, 3)).astype(np.float32)

    normals = picture(seen_normals, (0.0, 0.0, 0.0))
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    total_distance = np.where(hit, distance, 0.0).reshape(block).sum(axis=(1, 3))
    depth = np.where(hits_in_pixel > 0, total_distance / hits_in_pixel.clip(min=1), np.inf)
    return MeshPreview(
        rgb=picture(seen_colours, background),
        shaded=picture(seen_clay, background),
        normals=np.where(length > 0, normals / np.where(length > 0, length, 1.0), 0.0).astype(np.float32),
        depth=depth.astype(np.float32),
        coverage=(hits_in_pixel / samples_per_axis**2).astype(np.float32),
    )


def cast_distances(
    mesh: Mesh, origins: Float[Tensor, "*ray 3"], directions: Float[Tensor, "*ray 3"]
) -> Float[Tensor, "*ray"]:
    """Distance along unit rays to the mesh, on the CPU; infinite where they miss it."""
    import open3d

    rays = torch.cat((origins, directions), dim=-1).detach().float().cpu().numpy()
    answer = _scene(mesh).cast_rays(open3d.core.Tensor(np.ascontiguousarray(rays)))
    return torch.from_numpy(answer["t_hit"].numpy())


def read_texture(
    texture: UInt8[np.ndarray, "row column 3"], uvs: Float64[np.ndarray, "point 2"]
) -> Float64[np.ndarray, "point 3"]:
    """Bilinear reads, sRGB in [0, 1], at places in [0, 1] to the right and down; the border goes on beyond."""
    sides = np.array([texture.shape[1], texture.shape[0]])
    places = np.clip(uvs * sides - 0.5, 0.0, sides - 1.0)
    first = np.minimum(places.astype(np.int64), sides - 2).clip(min=0)
    share = places - first
    total = np.zeros((len(uvs), 3))
    for right, down in itertools.product((0, 1), repeat=2):
        columns, rows = np.minimum(first + np.array([right, down]), sides - 1).T
        weight = np.abs(1 - right - share[:, 0]) * np.abs(1 - down - share[:, 1])
        total += weight[:, None] * texture[rows, columns]
    return total / 255.0


def _ray_directions(
    rotation: Float64[np.ndarray, "3 3"], fov_deg: float, resolution: int, samples_per_axis: int
) -> Float64[np.ndarray, "ray 3"]:
    """Unit directions in the world, row by row of the sub-sampled pixel grid."""
    step = 2.0 / max(resolution - 1, 1)
    offsets = ((np.arange(samples_per_axis) + 0.5) / samples_per_axis - 0.5) * step
    axis = (np.linspace(-1.0, 1.0, resolution)[:, None] + offsets).ravel() * math.tan(math.radians(fov_deg) / 2)
    right, up = np.meshgrid(axis, -axis, indexing="xy")
    directions = np.stack([right, up, -np.ones_like(right)], axis=-1).reshape(-1, 3)
    return directions / np.linalg.norm(directions, axis=-1, keepdims=True) @ rotation.T


def _cast(
    mesh: Mesh, origin: Float64[np.ndarray, "3"], directions: Float64[np.ndarray, "ray 3"]
) -> tuple[
    Bool[np.ndarray, "ray"],
    Float32[np.ndarray, "ray"],
    np.ndarray,
    Float64[np.ndarray, "hit 3"],
]:
    """Which rays hit, all distances, and for those that hit the corner indices and barycentric weights."""
    import open3d

    rays = np.concatenate([np.tile(origin, (len(directions), 1)), directions], axis=1).astype(np.float32)
    answer = _scene(mesh).cast_rays(open3d.core.Tensor(rays))
    distance = answer["t_hit"].numpy()
    hit = np.isfinite(distance)
    uv = answer["primitive_uvs"].numpy()[hit].astype(np.float64)
    weights = np.concatenate([1.0 - uv.sum(axis=1, keepdims=True), uv], axis=1)
    return hit, distance, mesh.faces[answer["primitive_ids"].numpy()[hit].astype(np.int64)], weights


def _scene(mesh: Mesh) -> Any:
    """What Open3D casts rays at."""
    import open3d  # takes seconds to import; only pictures need it

    scene = open3d.t.geometry.RaycastingScene()
    scene.add_triangles(mesh.vertices.astype(np.float32), mesh.faces.astype(np.uint32))
    return scene
