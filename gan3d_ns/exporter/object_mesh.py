"""The mesh of one object: what `gan3d export mesh`, the viewer's export and the tests share."""

from __future__ import annotations

from dataclasses import replace
from typing import Callable, Optional

import numpy as np
import torch

from gan3d_ns.cameras.view_coverage import ViewCoverage
from gan3d_ns.errors import UserError
from gan3d_ns.exporter.apart import run_apart
from gan3d_ns.exporter.atlas import dilated, texels_of
from gan3d_ns.exporter.mesh import Mesh, MeshExtractionConfig, extract_mesh, normals_from_faces, normals_of_field
from gan3d_ns.exporter.mesh_settings import TEXTURED_FACES, MeshExportConfig
from gan3d_ns.exporter.object_pictures import pictured_object
from gan3d_ns.exporter.seen_object import SeenObject
from gan3d_ns.exporter.simplification import FEWEST_FACES, target_faces
from gan3d_ns.exporter.view_colours import Occluder, ViewColours, prior_views
from gan3d_ns.model_components.latents import LatentSelection
from gan3d_ns.models.gan_model import GanModel

Progress = Callable[[str, int, int], None]
"""Called many times with the stage, how much of it is done, of how much (0: nobody knows). What it raises ends the work
within a fraction of a second."""


def object_mesh(
    model: GanModel, selection: LatentSelection, config: MeshExportConfig, progress: Optional[Progress] = None
) -> Mesh:
    """The surface of one object with normals and with colours or a texture.

    The box, what is cut off and where colours are looked at from follow from the cameras of the pose prior. Changes
    nothing of the model and may run in a thread beside others that render it; decimation and unwrapping, which would
    hold them up, run in processes of their own. `statistics` says what was done.

    Raises:
        UserError: an impossible setting, or there is no surface at the level; says between which values logits lie.
    """
    config.check()
    return _ObjectMesher(model, selection, config, progress or (lambda stage, done, total: None)).mesh()


def object_surface(model: GanModel, selection: LatentSelection, config: MeshExportConfig) -> Mesh:
    """The closed surface that `object_mesh` starts from: without normals and colours, with all its faces.

    Raises:
        UserError: see `object_mesh`.
    """
    config.check()
    return _ObjectMesher(model, selection, config, lambda stage, done, total: None).extracted()


class _ObjectMesher:
    """The steps from an object to its mesh, and what they share."""

    def __init__(
        self, model: GanModel, selection: LatentSelection, config: MeshExportConfig, progress: Progress
    ) -> None:
        self.model, self.selection, self.config, self.progress = model, selection, config, progress
        generator = model.generator_of(selection)
        styles = generator.field.cut_out(model.styles_of(selection))
        level = generator.geometry.level if config.level is None else config.level
        coverage = ViewCoverage(model.pose_prior, device=model.device)
        self.surface = SeenObject(generator, styles, coverage, level)
        self.extraction = MeshExtractionConfig(
            resolution=config.resolution, level=level, largest_only=config.largest_component
        )

    def mesh(self) -> Mesh:
        mesh = self.decimated(self.extracted())
        if not self.config.texture:
            mesh = self.with_normals(mesh)
            assert mesh.normals is not None
            count = lambda done, total: self.progress("colouring", done, total)  # noqa: E731
            return replace(mesh, colours=self.view_colours(mesh)(mesh.vertices, mesh.normals, count))
        return self.textured(mesh)

    def extracted(self) -> Mesh:
        """The closed surface, bare."""
        surface = self.surface
        try:
            mesh = extract_mesh(
                self.extraction,
                surface.logits,
                *surface.bounds(),
                progress=lambda done, asked: self.progress("looking for the surface", done, asked),
            )
        except UserError:
            surface.require_surface()
            raise
        surface.require_surface()
        return mesh

    def decimated(self, mesh: Mesh) -> Mesh:
        """The mesh with as many faces as were asked for; as it is where it has no more than that."""
        config, num_faces = self.config, len(mesh.faces)
        wanted = min(num_faces, TEXTURED_FACES) if config.texture else num_faces
        if config.decimate is not None:
            wanted = max(target_faces(config.decimate, num_faces), FEWEST_FACES)
        statistics = {**mesh.statistics, "faces_found": num_faces, "faces_wanted": wanted}
        if wanted >= num_faces:
            return replace(mesh, statistics=statistics)
        tick = lambda: self.progress("decimating", 0, 0)  # noqa: E731
        question = {"vertices": mesh.vertices, "faces": mesh.faces, "target": np.array(wanted)}
        fewer = run_apart("simplification:simplified", question, tick)
        if len(fewer["faces"]) == 0:
            raise UserError(f"nothing is left of {num_faces} faces when {wanted} are asked for; decimate less.")
        return Mesh(vertices=fewer["vertices"], faces=fewer["faces"], statistics=statistics)

    def with_normals(self, mesh: Mesh) -> Mesh:
        """The mesh with the field's normals."""
        self.progress("normals", 0, 0)
        positions = torch.from_numpy(mesh.vertices).to(self.model.device)
        of_faces = normals_from_faces(mesh.vertices, mesh.faces)
        chunk = self.extraction.chunk_size
        return replace(mesh, normals=normals_of_field(positions, of_faces, self.surface.normals, chunk))

    def view_colours(self, mesh: Mesh) -> ViewColours:
        """The colours of the mesh's points, from freshly rendered pictures."""
        count = lambda done, total: self.progress("rendering views", done, total)  # noqa: E731
        pictured = pictured_object(self.model, self.selection)
        views = prior_views(pictured, self.config.num_views, self.config.view_resolution, count)
        return ViewColours(views, Occluder(mesh.vertices, mesh.faces), self.surface.colours, self.model.device)

    def textured(self, mesh: Mesh) -> Mesh:
        """The mesh with a texture around it; vertices are doubled where its charts meet."""
        size = self.config.texture_size
        mesh = self.with_normals(mesh)
        tick = lambda: self.progress("unwrapping", 0, 0)  # noqa: E731
        question = {"vertices": mesh.vertices, "faces": mesh.faces, "size": np.array(size)}
        flat = run_apart("atlas:unwrapped", question, tick)
        source, faces, uvs = flat["source"], flat["faces"], flat["uvs"]
        colours_at = self.view_colours(mesh)
        assert mesh.normals is not None
        mesh = replace(mesh, vertices=mesh.vertices[source], normals=mesh.normals[source], faces=faces, uvs=uvs)
        texels = texels_of(faces, uvs, size)
        points = texels.interpolated(faces, mesh.vertices).astype(np.float32)
        normals = texels.interpolated(faces, mesh.normals)  # pyright: ignore[reportArgumentType]
        normals /= np.linalg.norm(normals, axis=1, keepdims=True).clip(min=1e-12)
        texture = np.zeros((size, size, 3), dtype=np.float32)
        count = lambda done, total: self.progress("texturing", done, total)  # noqa: E731
        texture[texels.covered] = colours_at(points, normals.astype(np.float32), count)
        texture = dilated(texture, texels.covered)
        return replace(mesh, texture=np.round(texture * 255.0).astype(np.uint8))
