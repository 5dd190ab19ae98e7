"""`gan3d sample`: a sheet of a run's objects, seen from several sides."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import List, Literal, Optional, Tuple

from gan3d_ns.errors import UserError

NUM_OBJECTS, NUM_MIXED = 16, 5


@dataclass
class Sample:
    """Write a sheet of pictures: a column for each seed, a row for each yaw.

    The yaws are spread over those of the training cameras. With --mix: a row for each shape, a column for each
    appearance.
    """

    load_config: Path
    """The run's config.yml."""
    seeds: Tuple[int, ...] = ()
    """Which objects; without it the first ones, see num."""
    num: Optional[int] = None
    """How many objects, from seed 0 on: 16 without it, 5 with --mix."""
    mix: bool = False
    """Every seed's shape (rows) in every seed's appearance (columns), seen from the middle of the training cameras: for
    methods whose latent separates the two, such as graf."""
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
        num = self.num if self.num is not None else NUM_MIXED if self.mix else NUM_OBJECTS
        seeds = list(self.seeds) or list(range(num))
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

        from gan3d_ns.engine.sample_panel import as_grid, panel_yaws_deg, picture, render_selections
        from gan3d_ns.exporter.writers import write_atomically
        from gan3d_ns.model_components.latents import LatentSelection
        from gan3d_ns.scripts.runs import load_run

        config, pipeline, step = load_run(self.load_config, self.load_step)
        model, prior = pipeline.model, pipeline.model.config.pose_prior
        if self.mix and not {"shape", "appearance"} <= model.shown_generator.field.latent_parts.keys():
            raise UserError(
                f"the latent of {config.method_name} does not separate shape and appearance, so there is nothing to "
                "mix; leave out --mix, or take a run of graf."
            )
        sides: List[Tuple[Optional[int], float]] = [(None, yaw) for yaw in panel_yaws_deg(prior, self.yaws)]
        if self.mix:
            sides = [(shape, prior.yaw_mean_deg) for shape in seeds]
        rows = []
        for shape, yaw in track(sides, "rendering", console=CONSOLE, transient=True, disable=not CONSOLE.is_terminal):
            selections = [LatentSelection(seed=seed, truncation=self.truncation) for seed in seeds]
            if shape is not None:
                selections = [replace(entry, seed=shape, appearance_seed=entry.seed) for entry in selections]
            view = render_selections(model, selections, yaw, self.resolution)
            rows.append(picture(view, prior, self.what))
        pixels = (as_grid(rows).cpu() * 255.0).round().to(torch.uint8).numpy()
        write_atomically(self.output, imageio.imwrite("<bytes>", pixels, extension=self.output.suffix))
        shown = f"{len(seeds)} objects from {self.yaws} sides"
        if self.mix:
            shown = f"{len(seeds)} shapes (rows) in {len(seeds)} appearances (columns)"
        CONSOLE.print(
            f"{self.output}: {shown}, {pixels.shape[1]}x{pixels.shape[0]} pixels, step {step}",
            soft_wrap=True,
        )
