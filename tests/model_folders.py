"""Folders of tiny 3D models whose pictures are known beforehand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh
from PIL import Image
from trimesh.visual.material import PBRMaterial

HALF_SIDES = np.array([0.5, 0.3, 0.4])
"""Of the two-coloured box."""


def coloured_box(extents: tuple[float, float, float], colour: tuple[int, int, int]) -> trimesh.Trimesh:
    box = trimesh.creation.box(extents)
    box.visual = trimesh.visual.TextureVisuals(material=PBRMaterial(baseColorFactor=(*colour, 255)))
    return box


def two_coloured() -> trimesh.Scene:
    """A box, red in its half at +x, blue at -x, off the origin, its halves placed by the scene's transforms."""
    scene = trimesh.Scene()
    for sign, colour in ((1, (255, 0, 0)), (-1, (0, 0, 255))):
        place = trimesh.transformations.translation_matrix([7 + sign * HALF_SIDES[0] / 2, 3, -2])
        extents = (HALF_SIDES[0], 2 * HALF_SIDES[1], 2 * HALF_SIDES[2])
        scene.add_geometry(coloured_box(extents, colour), transform=place)
    return scene


def textured() -> trimesh.Scene:
    """A square that faces +z, green in its upper left quarter, else white; black matter behind it, and within that."""
    square = trimesh.Trimesh(
        [[-1, -1, 0.3], [1, -1, 0.3], [1, 1, 0.3], [-1, 1, 0.3]], [[0, 1, 2], [0, 2, 3]], process=False
    )
    pixels = np.full((64, 64, 3), 255, dtype=np.uint8)
    pixels[:32, :32] = (0, 255, 0)
    square.visual = trimesh.visual.TextureVisuals(
        uv=[[0, 0], [1, 0], [1, 1], [0, 1]], material=PBRMaterial(baseColorTexture=Image.fromarray(pixels))
    )
    behind = coloured_box((2.0, 2.0, 0.5), (0, 0, 0))
    return trimesh.Scene([square, behind, coloured_box((0.5, 0.5, 0.2), (255, 255, 0))])


def wedge(paint: int) -> trimesh.Scene:
    """A light body with a dark nose in front and a dark post on top: no two views of it are alike."""
    body = coloured_box((0.8, 0.5, 1.6), (255, paint, paint))
    nose = coloured_box((0.8, 0.3, 0.5), (20, 20, 20)).apply_translation([0, -0.1, 1.0])
    post = coloured_box((0.3, 0.5, 0.3), (0, 0, 60)).apply_translation([0, 0.5, -0.5])
    return trimesh.Scene([body, nose, post])


def write_two_models(folder: Path) -> Path:
    """The two-coloured box and, in a folder below, the textured one."""
    (folder / "more").mkdir(parents=True)
    two_coloured().export(folder / "a_box.glb")
    textured().export(folder / "more" / "b_square.glb")
    return folder


def write_wedges(folder: Path) -> Path:
    """Two things whose pose can be seen."""
    folder.mkdir(parents=True)
    for paint in (255, 160):
        wedge(paint).export(folder / f"wedge{paint}.glb")
    return folder
