"""The files that can be made of the object that a model shows, by the names that the viewer offers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gan3d_ns.exporter.mesh_settings import MeshExportConfig
from gan3d_ns.file_names import free_path

if TYPE_CHECKING:
    from gan3d_ns.models.gan_model import GanModel

Progress = Callable[[float, str], None]
"""Takes the share that is done, in [0, 1], and what is being done."""

MESHES: dict[str, MeshExportConfig] = {
    "mesh (.glb)": MeshExportConfig(format="glb"),
    "textured mesh (.glb)": MeshExportConfig(format="glb", texture=True),
    "textured mesh (.obj)": MeshExportConfig(format="obj", texture=True),
    "mesh (.ply)": MeshExportConfig(format="ply"),
}
SPLATS, POINTS = "splats (.ply)", "point cloud (.ply)"
NUM_POINTS = 30_000
"""Of splats and of point clouds."""
FILE_KINDS = (*MESHES, SPLATS, POINTS)


def write_object(model: GanModel, kind: str, resolution: int, folder: Path, progress: Progress) -> Path:
    """Writes the object that the model shows below the folder, beside what is there, and returns the path.

    Args:
        model: nothing else may change it meanwhile, see `GanModel.still_copy`.
        kind: one of `FILE_KINDS`.
        resolution: cells of a mesh on each axis.
        folder: the run's.
        progress: told what is being done.

    Raises:
        UserError: there is no surface, or the file cannot be written.
    """
    selection = model.selection()
    metadata = model.provenance(selection)

    def counted(done: int, total: int, doing: str = "Looking at it") -> None:
        progress(done / total if total else 0.0, doing)

    if kind in MESHES:
        from dataclasses import replace

        from gan3d_ns.exporter.object_mesh import object_mesh
        from gan3d_ns.exporter.writers import write_mesh

        config = replace(MESHES[kind], resolution=resolution, level=model.level)
        mesh = object_mesh(
            model, selection, config, lambda stage, done, total: counted(done, total, stage.capitalize())
        )
        if model.level is not None:
            metadata["level"] = f"{model.level:g}"
        # An .obj comes with two other files: the three get a folder of their own.
        alone = config.format != "obj"
        path = free_path(folder / "meshes", f"mesh_{selection.name}", f".{config.format}" if alone else "")
        return write_mesh(mesh, path if alone else path / f"{path.name}.obj", metadata)

    from gan3d_ns.exporter.object_pictures import pictured_object
    from gan3d_ns.exporter.splat_file import write_points, write_splats
    from gan3d_ns.exporter.surface_points import SurfaceSamplingConfig, sample_surface

    pictured = pictured_object(model, selection)
    if kind == POINTS:
        points, _ = sample_surface(pictured, NUM_POINTS, SurfaceSamplingConfig(), counted)
        return write_points(points, free_path(folder / "pointclouds", f"points_{selection.name}", ".ply"), metadata)

    from gan3d_ns.exporter.splat_render import render_splats
    from gan3d_ns.exporter.splat_seeding import SplatSeedingConfig, seed_splats

    splats = seed_splats(pictured, SplatSeedingConfig(NUM_POINTS), render_splats, counted)
    return write_splats(splats, free_path(folder / "splats", f"splats_{selection.name}", ".ply"), metadata)
