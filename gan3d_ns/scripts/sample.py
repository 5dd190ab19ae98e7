"""`gan3d sample`: a sheet of a run's objects, seen from several sides."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Optional, Tuple

from gan3d_ns.errors import UserError


@dataclass
class Sample:
    """Write a sheet of pictures: a column for each seed, a row for each yaw.

    The yaws are spread over those of the training cameras.
    """

    load_config: Path
    """The run's config.yml."""
    seeds: Tuple[int, ...] = ()
    """Which objects; without it the first ones, see num."""
    num: int = 16
    """How many objects, from seed 0 on."""
    yaws: int = 5
    """From how many sides."""
    truncation: float = 0.7
    """How far objects may lie from the average one: 0 is the average, 1 the full variety."""
    resolution: int = 128
    """Side of each picture in pixels."""
    what: Literal["rgb", "depth", "normals"] = "rgb"
    """Colour, distance of the surface (near is white), or world normals as n / 2 + 1/2."""
    output: Path = Path("samples.png")
    """The picture file to write."""
    load_step: Optional[int] = None
    """Which checkpoint; without it the newest."""

    def main(self) -> None:
        """Writes the sheet and says where it is.

        Raises:
            UserError: the run cannot be opened, there is nothing to show, or the file cannot be written.
        """
        seeds = list(self.seeds) or list(range(self.num))
        if not seeds or self.yaws < 1 or self.resolution < 2:
            raise UserError(
                f"nothing to show: {len(seeds)} objects from {self.yaws} sides at {self.resolution} pixels; give at "
                "least 1, 1 and 2."
            )
        if self.output.suffix.lower() not in (".png", ".jpg", ".jpeg"):
            raise UserError(f"cannot write a picture as {self.output.name!r}: end the name in .png or .jpg")

        import imageio.v3 as imageio
        import torch
        from nerfstudio.utils.rich_utils import CONSOLE
        from rich.progress import track

        from gan3d_ns.engine.sample_panel import as_grid, panel_yaws_deg, picture, render_view
        from gan3d_ns.exporter.writers import write_atomically
        from gan3d_ns.scripts.runs import load_run

        _, pipeline, step = load_run(self.load_config, self.load_step)
        model, prior = pipeline.model, pipeline.model.config.pose_prior
        quiet = not CONSOLE.is_terminal
        rows = [
            picture(render_view(model, seeds, self.truncation, yaw, self.resolution), prior, self.what)
            for yaw in track(
                panel_yaws_deg(prior, self.yaws), "rendering", console=CONSOLE, transient=True, disable=quiet
            )
        ]
        pixels = (as_grid(rows).cpu() * 255.0).round().to(torch.uint8).numpy()
        write_atomically(self.output, imageio.imwrite("<bytes>", pixels, extension=self.output.suffix))
        CONSOLE.print(
            f"{self.output}: {len(seeds)} objects from {self.yaws} sides, {pixels.shape[1]}x{pixels.shape[0]} pixels, "
            f"step {step}",
            soft_wrap=True,
        )
