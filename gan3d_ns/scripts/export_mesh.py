"""`gan3d export mesh`: coloured meshes of the objects of a run, on any machine."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Optional, Tuple

from gan3d_ns.errors import UserError

if TYPE_CHECKING:
    from gan3d_ns.exporter.mesh import Mesh, MeshExtractionConfig
    from gan3d_ns.models.gan_model import GanModel


@dataclass
class ExportMesh:
    """Write coloured meshes of a run's objects, one file for each seed: +y up, front at +z.

    The field itself is evaluated, near its surface only, so that no GPU is needed. What no training camera looked at is
    cut off.
    """

    load_config: Path
    """The run's config.yml."""
    seeds: Tuple[int, ...] = (0,)
    """Which objects."""
    truncation: float = 0.7
    """How far objects may lie from the average one: 0 is the average, 1 the full variety."""
    format: Literal["glb", "ply", "obj"] = "glb"
    """File format; all three carry vertex colours and normals."""
    resolution: int = 128
    """Cells on each axis of the box; time and faces grow with its square."""
    level: Optional[float] = None
    """Logit on the surface; lower it where an object has holes. Without it the level that training used."""
    largest_component: bool = False
    """Keep only the largest connected piece."""
    output_dir: Optional[Path] = None
    """Where the files go; without it the folder `meshes` of the run."""
    load_step: Optional[int] = None
    """Which checkpoint; without it the newest."""

    def main(self) -> None:
        """Writes the files and says where they are.

        Raises:
            UserError: the run cannot be opened, or an object has no surface at the level.
        """
        from nerfstudio.utils.rich_utils import CONSOLE

        from gan3d_ns.exporter.mesh import MeshExtractionConfig
        from gan3d_ns.exporter.writers import write_mesh
        from gan3d_ns.scripts.runs import load_run

        config, pipeline, step = load_run(self.load_config, self.load_step)
        model = pipeline.model
        folder = self.output_dir or self.load_config.parent / "meshes"
        extraction = MeshExtractionConfig(
            resolution=self.resolution,
            level=model.shown_generator.geometry.level if self.level is None else self.level,
            largest_only=self.largest_component,
        )
        metadata = {"method": config.method_name, "step": str(step), "truncation": f"{self.truncation:g}"}
        for seed in self.seeds:
            start = time.perf_counter()
            mesh = mesh_of_seed(model, seed, self.truncation, extraction)
            path = folder / f"mesh_seed{seed:04d}.{self.format}"
            write_mesh(mesh, path, {**metadata, "seed": str(seed)})
            CONSOLE.print(
                f"{path}: {len(mesh.vertices)} vertices, {len(mesh.faces)} faces, {time.perf_counter() - start:.1f} s",
                soft_wrap=True,
            )


def mesh_of_seed(model: "GanModel", seed: int, truncation: float, extraction: "MeshExtractionConfig") -> "Mesh":
    """The surface of one object of the averaged generator, with normals and colours.

    The box and what is cut off follow from the cameras of the pose prior, see `SeenObject`.

    Raises:
        UserError: there is no surface at the level; says between which values the logits lie.
    """
    from nerfstudio.utils.rich_utils import CONSOLE
    from rich.progress import Progress

    from gan3d_ns.cameras.view_coverage import ViewCoverage
    from gan3d_ns.exporter.mesh import extract_mesh
    from gan3d_ns.exporter.seen_object import SeenObject
    from gan3d_ns.model_components.latents import LatentSelection

    coverage = ViewCoverage(model.pose_prior, device=model.device)
    styles = model.styles_of(LatentSelection(seed=seed, truncation=truncation))
    surface = SeenObject(model.shown_generator.field, styles, coverage, extraction.level)
    with Progress(console=CONSOLE, transient=True, disable=not CONSOLE.is_terminal) as bar:
        task = bar.add_task(f"seed {seed}: looking for the surface", total=None)
        try:
            mesh = extract_mesh(
                extraction,
                surface.logits,
                *surface.bounds(),
                normal_fn=surface.normals,
                colour_fn=surface.colours,
                progress=lambda done, asked: bar.update(task, completed=done, total=asked),
            )
        except UserError:
            surface.require_surface()
            raise
    surface.require_surface()
    return mesh
