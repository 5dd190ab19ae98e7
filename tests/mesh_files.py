"""Mesh files as others read them, and how well their pictures agree with the generator's own."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh

from gan3d_ns.exporter.mesh import Mesh
from gan3d_ns.exporter.preview import render_mesh_preview


def linear_to_srgb(linear: np.ndarray) -> np.ndarray:
    """The inverse of what glTF asks of vertex colours (IEC 61966-2-1)."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def read_with_trimesh(path: Path) -> Any:
    """The one mesh of a file, vertices in its order."""
    loaded = trimesh.load(path, process=False, maintain_order=True)
    return next(iter(loaded.geometry.values())) if isinstance(loaded, trimesh.Scene) else loaded


def read_mesh(path: Path) -> Mesh:
    """Our own mesh out of what trimesh makes of a file: colours in sRGB, texture coordinates downwards."""
    read = read_with_trimesh(path)
    mesh = Mesh(
        vertices=np.asarray(read.vertices, dtype=np.float32),
        faces=np.asarray(read.faces, dtype=np.int64),
        normals=np.asarray(read.vertex_normals, dtype=np.float32),
    )
    visual = read.visual
    if getattr(visual, "uv", None) is not None:
        material = visual.material
        picture = material.baseColorTexture if path.suffix == ".glb" else material.image
        uvs = np.asarray(visual.uv) * [1, -1] + [0, 1]  # trimesh's go upwards
        texture = np.asarray(picture.convert("RGB"))
        return dataclasses.replace(mesh, uvs=uvs.astype(np.float32), texture=texture)
    # With a material, trimesh keeps the colours of a glTF file as they are stored, as an attribute.
    stored = visual.vertex_attributes["color"] if path.suffix == ".glb" else visual.vertex_colors
    colours = stored[:, :3] / np.iinfo(stored.dtype).max
    colours = linear_to_srgb(colours) if path.suffix == ".glb" else colours
    return dataclasses.replace(mesh, colours=colours.astype(np.float32))


@dataclass(frozen=True)
class Agreement:
    """A mesh beside the generator, over pictures from several poses."""

    overlap: float
    """Smallest intersection over union of the silhouettes; the generator's is where accumulation exceeds one half."""
    colour_error: float
    """Mean absolute difference of sRGB in [0, 1], where both show the object."""
    pictures: tuple[tuple[np.ndarray, np.ndarray], ...]
    """Generator and mesh."""


def agreement(mesh: Mesh, model: Any, num_poses: int = 4, resolution: int = 48) -> Agreement:
    """Renders the mesh and the object that the model shows from poses of the prior that no exporter has drawn."""
    poses = model.pose_prior.sample(num_poses, torch.Generator().manual_seed(987))
    overlaps, errors, pictures = [], [], []
    for pose in poses:
        outputs = model.get_outputs_for_camera(model.pose_prior.cameras(pose[None], resolution))
        fov_deg = model.config.pose_prior.fov_deg
        preview = render_mesh_preview(mesh, model.pose_prior.camera_to_world(pose[None])[0], fov_deg, resolution)
        seen, meant = preview.coverage > 0.5, outputs["accumulation"][..., 0].numpy() > 0.5
        both, picture = seen & meant, outputs["rgb"].numpy()
        overlaps.append(both.sum() / max((seen | meant).sum(), 1))
        errors.append(np.abs(preview.rgb - picture)[both].mean() if both.any() else 1.0)
        pictures.append((picture, preview.rgb))
    return Agreement(float(min(overlaps)), float(np.mean(errors)), tuple(pictures))
