"""`gan3d export mesh`: coloured or textured meshes of the objects of a run, on any machine."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Optional

from gan3d_ns.exporter.mesh_settings import MeshExportConfig
from gan3d_ns.scripts.objects import ChosenObjects


@dataclass
class ExportMesh(MeshExportConfig, ChosenObjects):
    """Write meshes of a run's objects, one for each seed and saved latent: +y up, front at +z.

    The field itself is evaluated, near its surface only, so that no GPU is needed. Colours are the mean of what the
    training cameras would see; what none of them looked at is cut off.
    """

    output_dir: Optional[Path] = None
    """Where the files go; without it the folder `meshes` of the run."""

    def main(self) -> None:
        """Writes the files and says where they are.

        Raises:
            UserError: an impossible setting, the run cannot be opened, or an object has no surface at the level.
        """
        self.check()

        from nerfstudio.utils.rich_utils import CONSOLE
        from rich.progress import Progress

        from gan3d_ns.exporter.object_mesh import object_mesh
        from gan3d_ns.exporter.writers import require_folder, write_mesh

        run = self.open()
        folder = require_folder(self.output_dir or run.folder / "meshes")
        with Progress(console=CONSOLE, transient=True, disable=not CONSOLE.is_terminal) as bar:
            task = bar.add_task("")
            for entry in run.objects:
                start = time.perf_counter()

                def show(stage: str, done: int, total: int, name: str = entry.name) -> None:
                    bar.update(task, description=f"{name}: {stage}", completed=done, total=total or None)

                mesh = object_mesh(run.model, entry.selection, self, show)
                metadata = entry.metadata if self.level is None else {**entry.metadata, "level": f"{self.level:g}"}
                path = folder / f"mesh_{entry.name}.{self.format}"
                replaced = " (in place of an earlier file)" if path.exists() else ""
                write_mesh(mesh, path, metadata)
                sizes = f"{len(mesh.vertices)} vertices, {len(mesh.faces)} faces{note(mesh.statistics)}"
                CONSOLE.print(
                    f"{path}{replaced}: {sizes}, {time.perf_counter() - start:.1f} s", soft_wrap=True, markup=False
                )


def note(statistics: Dict[str, int]) -> str:
    """What there is to say about the number of faces that was asked for."""
    found, wanted = statistics["faces_found"], statistics["faces_wanted"]
    return f" (all of them: fewer than the {wanted} asked for)" if wanted > found else ""
