"""`gan3d export splats`: objects of a run as 3D Gaussians that splat viewers open."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from gan3d_ns.errors import UserError
from gan3d_ns.scripts.objects import ChosenObjects, NamedObject

if TYPE_CHECKING:
    from rich.progress import Progress

    from gan3d_ns.exporter.object_pictures import ObjectPicture, PicturedObject
    from gan3d_ns.exporter.splat_refinement import Rasterizer
    from gan3d_ns.exporter.splats import Splats

GPU_STEPS = 1000
"""Steps of fitting without --refine-steps, where there is a CUDA device."""
CHECKED_VIEWS = 4
"""Pictures that the splats are compared with, from poses that nothing was fitted to."""


@dataclass
class ExportSplats(ChosenObjects):
    """Write objects of a run as 3D Gaussians, one .ply file each, as splat viewers and `ns-export gaussian-splat` know
    them.

    They lie on the surface that the training cameras see and are then fitted to the generator's own pictures, with
    gsplat where there is a CUDA device. The frame is this package's: +y up, front at +z, the training cameras at
    distance 1; nothing is turned or scaled.
    """

    num_splats: int = 30_000
    """About how many Gaussians."""
    resolution: int = 128
    """Side in pixels of the generator's pictures that they come from and are fitted to."""
    refine_steps: Optional[int] = None
    """Steps of fitting to the generator's pictures; 0: none. Without it 1000 on a CUDA device and none elsewhere: on a
    CPU 150 steps take minutes."""
    preview: bool = False
    """Also write a picture: above the generator's views, below those of the splats."""
    output_dir: Optional[Path] = None
    """Where the files go; without it the folder `splats` of the run."""

    def main(self) -> None:
        """Writes the files and says where they are, and how near their pictures come to the generator's.

        Raises:
            UserError: the run cannot be opened, or an object is not to be seen.
        """
        if self.num_splats < 1 or self.resolution < 16 or (self.refine_steps or 0) < 0:
            raise UserError(
                f"cannot make {self.num_splats} splats from pictures of {self.resolution} pixels in "
                f"{self.refine_steps or 0} steps; give at least 1, 16 and 0."
            )
        import torch
        from nerfstudio.utils.rich_utils import CONSOLE
        from rich.progress import Progress

        from gan3d_ns.exporter.object_pictures import pictured_object
        from gan3d_ns.exporter.splat_render import gsplat_problem, render_splats, render_with_gsplat
        from gan3d_ns.exporter.writers import require_folder

        run = self.open()
        folder = require_folder(self.output_dir or run.folder / "splats")
        on_gpu = run.model.device.type == "cuda" and torch.cuda.is_available()
        problem = gsplat_problem(run.model.device) if on_gpu else None
        if problem is not None:
            CONSOLE.print(f"gsplat does not work here ({problem}): doing without.", soft_wrap=True, markup=False)
            on_gpu = False
        rasterize = render_with_gsplat if on_gpu else render_splats
        steps = self.refine_steps if self.refine_steps is not None else GPU_STEPS if on_gpu else 0
        if self.refine_steps is None and not on_gpu:
            CONSOLE.print(
                "Without gsplat on a CUDA device the splats are not fitted to the generator's pictures; "
                "--refine-steps 150 does so all the same, in minutes.",
                soft_wrap=True,
                markup=False,
            )
        for chosen in run.objects:
            pictured = pictured_object(run.model, chosen.selection)
            with Progress(console=CONSOLE, transient=True, disable=not CONSOLE.is_terminal) as bar:
                self.export(chosen, pictured, folder, steps, rasterize, bar)

    def export(
        self,
        chosen: NamedObject,
        pictured: "PicturedObject",
        folder: Path,
        steps: int,
        rasterize: "Rasterizer",
        bar: "Progress",
    ) -> None:
        """Writes the files of one object."""
        from gan3d_ns.exporter.splat_file import write_splats
        from gan3d_ns.exporter.splat_refinement import (
            SplatRefinementConfig,
            held_out_pictures,
            mean_psnr,
            refine_splats,
        )
        from gan3d_ns.exporter.splat_seeding import SplatSeedingConfig, seed_splats
        from gan3d_ns.exporter.surface_points import SurfaceSamplingConfig

        start = time.perf_counter()
        looking = bar.add_task(f"{chosen.name}: looking at it", total=None)
        seeding = SplatSeedingConfig(self.num_splats, SurfaceSamplingConfig(resolution=self.resolution))
        splats = seed_splats(
            pictured, seeding, rasterize, lambda done, total: bar.update(looking, completed=done, total=total)
        )
        pictures = held_out_pictures(pictured, CHECKED_VIEWS, self.resolution)
        likeness = f"{mean_psnr(splats, pictures, rasterize):.1f} dB"
        if steps > 0:
            fitting = bar.add_task(f"{chosen.name}: fitting", total=steps)
            splats = refine_splats(
                splats,
                pictured,
                rasterize,
                SplatRefinementConfig(steps, self.resolution),
                lambda done, total: bar.update(fitting, completed=done, total=total),
            )
            likeness += f" before and {mean_psnr(splats, pictures, rasterize):.1f} dB after {steps} steps"
        metadata = {**chosen.metadata, "refine steps": str(steps), "PSNR to the generator": likeness}
        path = folder / f"splats_{chosen.name}.ply"
        replaced = " (in place of an earlier file)" if path.exists() else ""
        write_splats(splats, path, metadata)
        if self.preview:
            write_preview(splats, pictures, rasterize, path.with_suffix(".png"))
        from nerfstudio.utils.rich_utils import CONSOLE

        CONSOLE.print(
            f"{path}{replaced}: {len(splats)} splats, PSNR to the generator's pictures {likeness}, "
            f"{time.perf_counter() - start:.1f} s",
            soft_wrap=True,
            markup=False,
        )


def write_preview(splats: "Splats", pictures: "list[ObjectPicture]", rasterize: "Rasterizer", path: Path) -> None:
    """A picture file: the generator's views in a row, below them those of the splats."""
    import imageio.v3 as imageio
    import torch

    from gan3d_ns.exporter.writers import write_atomically

    with torch.no_grad():
        copies = [
            rasterize(splats, picture.camera, torch.full((3,), picture.background).to(picture.rgb)).rgb
            for picture in pictures
        ]
    rows = [torch.cat([picture.rgb for picture in pictures], dim=1), torch.cat(copies, dim=1)]
    pixels = (torch.cat(rows).clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).cpu().numpy()
    write_atomically(path, imageio.imwrite("<bytes>", pixels, extension=".png"))
