"""Files of 3D models as one coloured mesh each: parts put in place, textures and material colours kept."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import trimesh
from jaxtyping import Float32, Int64, UInt8
from PIL import Image
from trimesh.visual.material import PBRMaterial

from gan3d_ns.data.procedural_cars import FIT_RADIUS

MODEL_SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off")
"""What trimesh reads without further packages."""
LINEAR_SUFFIXES = (".glb", ".gltf")
"""Their material and vertex colours are linear light (glTF 2.0, section 3.9); pictures and textures are sRGB."""
MAX_TEXTURE_SIDE = 1024
"""Larger textures are reduced: a picture shows less."""


class UnusableModel(Exception):
    """A file that cannot serve as a model; the message is the reason."""


class ColouredMesh(NamedTuple):
    """Triangles whose colour is texture times corner colour, sRGB."""

    vertices: Float32[np.ndarray, "vertex 3"]
    faces: Int64[np.ndarray, "face 3"]
    uv: Float32[np.ndarray, "face 3 2"]
    """Texture coordinates of each face's corners, (0, 0) at the lower left."""
    colours: Float32[np.ndarray, "face 3 3"]
    """Of each face's corners, in [0, 1]."""
    texture_of: Int64[np.ndarray, "face"]
    textures: tuple[UInt8[np.ndarray, "row column 3"], ...]


def list_model_files(folder: Path) -> list[Path]:
    """All files under a folder with a model's suffix, in any depth, sorted; hidden names are left out."""
    files = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(parent) / name for name in names if not name.startswith(".")]
    return sorted(file for file in files if file.suffix.lower() in MODEL_SUFFIXES)


def read_model(path: Path) -> ColouredMesh:
    """The parts of a model file in one mesh, in the file's own frame and units. Transparency is ignored.

    Raises:
        UnusableModel: it cannot be read, has no triangles, or only such as are shrunk to a point.
    """
    try:
        loaded: Any = trimesh.load(path, process=False)
        parts = loaded.dump() if isinstance(loaded, trimesh.Scene) else [loaded]
        meshes = [part for part in parts if isinstance(part, trimesh.Trimesh) and len(part.faces)]
        if not meshes:
            raise UnusableModel("it has no triangles")
        model = join([coloured(mesh, path.suffix.lower() in LINEAR_SUFFIXES) for mesh in meshes])
    except UnusableModel:
        raise
    except Exception as error:  # A reader of many formats meets broken files with errors of any kind.
        raise UnusableModel(f"it cannot be read ({type(error).__name__}: {error})") from error
    if not np.isfinite(model.vertices).all():
        raise UnusableModel("it has vertices that are not numbers")
    if np.ptp(model.vertices[np.unique(model.faces)], axis=0).max() <= 0:
        raise UnusableModel("its faces have no extent")
    return model


def coloured(mesh: trimesh.Trimesh, linear: bool) -> ColouredMesh:
    """One part of a model; ``linear`` says how its factors and vertex colours are meant."""
    faces = np.asarray(mesh.faces, dtype=np.int64)
    uv = np.zeros((len(faces), 3, 2), dtype=np.float32)
    colours = np.ones((len(faces), 3, 3), dtype=np.float32)
    texture = np.full((1, 1, 3), 255, dtype=np.uint8)
    visual: Any = mesh.visual
    if visual.kind == "texture":
        material = visual.material
        if isinstance(material, PBRMaterial):
            image, factor = material.baseColorTexture, material.baseColorFactor
        else:
            image = getattr(material, "image", None)
            # OBJ: the texture replaces the diffuse colour in most writers, whatever they leave there.
            factor = None if image is not None else material.main_color
        if image is not None and visual.uv is not None and len(visual.uv) == len(mesh.vertices):
            uv = np.asarray(visual.uv, dtype=np.float32)[faces]
            texture = texture_pixels(image)
        if factor is not None:
            colours = colours * from_bytes(np.asarray(factor), linear)[:3]
    elif visual.kind == "face":
        colours = np.repeat(from_bytes(visual.face_colors, linear)[:, None, :3], 3, axis=1)
    elif visual.kind == "vertex":
        colours = from_bytes(visual.vertex_colors, linear)[:, :3][faces]
    return ColouredMesh(
        vertices=np.asarray(mesh.vertices, dtype=np.float32),
        faces=faces,
        uv=uv,
        colours=colours.astype(np.float32),
        texture_of=np.zeros(len(faces), dtype=np.int64),
        textures=(texture,),
    )


def from_bytes(colours: np.ndarray, linear: bool) -> np.ndarray:
    """Colours in [0, 1], sRGB, of bytes or fractions."""
    values = colours / 255.0 if np.issubdtype(colours.dtype, np.integer) else np.asarray(colours, dtype=np.float64)
    if not linear:
        return values
    return np.where(values <= 0.0031308, 12.92 * values, 1.055 * np.maximum(values, 1e-9) ** (1 / 2.4) - 0.055)


def texture_pixels(image: Image.Image) -> UInt8[np.ndarray, "row column 3"]:
    """A texture as RGB of a bounded size."""
    image = image.convert("RGB")
    image.thumbnail((MAX_TEXTURE_SIDE, MAX_TEXTURE_SIDE), Image.Resampling.LANCZOS)
    return np.array(image)


def join(parts: list[ColouredMesh]) -> ColouredMesh:
    """Several parts as one mesh; textures that are the same are kept once."""
    textures: dict[bytes, int] = {}
    kept, texture_of = [], []
    for part in parts:
        for texture in part.textures:
            key = str(texture.shape).encode() + texture.tobytes()
            if key not in textures:
                textures[key] = len(kept)
                kept.append(texture)
        numbers = np.array([textures[str(each.shape).encode() + each.tobytes()] for each in part.textures])
        texture_of.append(numbers[part.texture_of])
    starts = np.cumsum([0] + [len(part.vertices) for part in parts[:-1]])
    return ColouredMesh(
        vertices=np.concatenate([part.vertices for part in parts]),
        faces=np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=True)]),
        uv=np.concatenate([part.uv for part in parts]),
        colours=np.concatenate([part.colours for part in parts]),
        texture_of=np.concatenate(texture_of),
        textures=tuple(kept),
    )


def placed(model: ColouredMesh, yaw_deg: float = 0.0, z_up: bool = False) -> ColouredMesh:
    """The model where toy cars stand: its bounding box centred at the origin, its farthest corner at FIT_RADIUS.

    Args:
        model: in its file's frame.
        yaw_deg: turned counter-clockwise seen from above, from +z towards +x, after it is upright.
        z_up: its +z is up, as in many CAD programs; +y then looks away and -y becomes the front.
    """
    vertices = model.vertices.astype(np.float64)
    if z_up:
        vertices = np.stack([vertices[:, 0], vertices[:, 2], -vertices[:, 1]], axis=1)
    cos, sin = np.cos(np.radians(yaw_deg)), np.sin(np.radians(yaw_deg))
    x, y, z = vertices.T
    vertices = np.stack([cos * x + sin * z, y, cos * z - sin * x], axis=1)
    used = vertices[np.unique(model.faces)]
    vertices = vertices - (used.min(axis=0) + used.max(axis=0)) / 2
    reach = np.linalg.norm(vertices[np.unique(model.faces)], axis=1).max()
    return model._replace(vertices=(vertices * (FIT_RADIUS / reach)).astype(np.float32))
