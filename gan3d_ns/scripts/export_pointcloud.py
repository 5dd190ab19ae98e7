"""`gan3d export pointcloud`: coloured points with normals on objects of a run."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from gan3d_ns.errors import UserError
from gan3d_ns.scripts.objects import ChosenObjects


@dataclass
class ExportPointcloud(ChosenObjects):
    """Write coloured points with normals on the surface of a run's objects, one .ply file each: +y up, front at +z.

    They are spread evenly over all that the training cameras see.
    """

    num_points: int = 50_000
    """About how many."""
    resolution: int = 128
    """Side in pixels of the generator's pictures, whose pixels become points; raise it for very many."""
    output_dir: Optional[Path] = None
    """Where the files go; without it the folder `pointclouds` of the run."""

    def main(self) -> None:
        """Writes the files and says where they are.

        Raises:
            UserError: the run cannot be opened, or an object is not to be seen.
        """
        if self.num_points < 1 or self.resolution < 16:
            raise UserError(
                f"cannot take {self.num_points} points from pictures of {self.resolution} pixels; give at least 1 and "
                "16."
            )
        from nerfstudio.utils.rich_utils import CONSOLE
        from rich.progress import Progress

        from gan3d_ns.exporter.object_pictures import pictured_object
        from gan3d_ns.exporter.splat_file import write_points
        from gan3d_ns.exporter.surface_points import SurfaceSamplingConfig, sample_surface
        from gan3d_ns.exporter.writers import require_folder

        run = self.open()
        folder = require_folder(self.output_dir or run.folder / "pointclouds")
        sampling = SurfaceSamplingConfig(resolution=self.resolution)
        for chosen in run.objects:
            start = time.perf_counter()
            pictured = pictured_object(run.model, chosen.selection)
            with Progress(console=CONSOLE, transient=True, disable=not CONSOLE.is_terminal) as bar:
                looking = bar.add_task(f"{chosen.name}: looking at it", total=None)
                points, spacing = sample_surface(
                    pictured,
                    self.num_points,
                    sampling,
                    lambda done, total, looking=looking: bar.update(looking, completed=done, total=total),
                )
            path = folder / f"points_{chosen.name}.ply"
            replaced = " (in place of an earlier file)" if path.exists() else ""
            write_points(points, path, chosen.metadata)
            CONSOLE.print(
                f"{path}{replaced}: {len(points)} points, at least {spacing:.2g} apart, "
                f"{time.perf_counter() - start:.1f} s",
                soft_wrap=True,
                markup=False,
            )
