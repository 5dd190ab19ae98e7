"""The files that can be made of the object that a model shows, by the names that the viewer offers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gan3d_ns.models.gan_model import GanModel

Progress = Callable[[float, str], None]
"""Takes the share that is done, in [0, 1], and what is being done."""

FILE_KINDS: dict[str, tuple[str, bool]] = {
    "mesh (.glb)": ("glb", False),
    "textured mesh (.glb)": ("glb", True),
    "textured mesh (.obj)": ("obj", True),
    "mesh (.ply)": ("ply", False),
}
"""File format, and whether it has a texture."""


def write_object(model: GanModel, kind: str, resolution: int, folder: Path, progress: Progress) -> Path:
    """Writes the object that the model shows below the folder and returns the path.

    Raises:
        UserError: there is no surface at the level, or the file cannot be written.
    """
    from gan3d_ns.cameras.view_coverage import ViewCoverage
    from gan3d_ns.exporter.mesh import MeshExtractionConfig, extract_mesh
    from gan3d_ns.exporter.seen_object import SeenObject
    from gan3d_ns.exporter.writers import write_mesh

    suffix, _ = FILE_KINDS[kind]
    selection = model.selection()
    level = model.generator_of(selection).geometry.level if model.level is None else model.level
    surface = SeenObject(
        model.generator_of(selection).field,
        model.styles_of(selection),
        ViewCoverage(model.pose_prior, device=model.device),
        level,
    )
    mesh = extract_mesh(
        MeshExtractionConfig(resolution=resolution, level=level),
        surface.logits,
        *surface.bounds(),
        normal_fn=surface.normals,
        colour_fn=surface.colours,
        progress=lambda done, asked: progress(done / max(asked, 1), "Looking for the surface"),
    )
    return write_mesh(mesh, folder / "meshes" / f"object.{suffix}", model.provenance(selection))
