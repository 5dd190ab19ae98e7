"""`gan3d sample`: a sheet of a run's objects, seen from several sides."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Optional, Tuple

from gan3d_ns.errors import UserError
from gan3d_ns.scripts.objects import ChosenObjects, open_objects

NUM_OBJECTS, NUM_MIXED = 16, 5


@dataclass
class Sample(ChosenObjects):
    """Write a sheet of pictures: a column for each object, a row for each yaw.

    The yaws are spread over those of the training cameras. With --grid: many objects from one side. With --mix: a row
    for each shape, a column for each appearance.
    """

    num: Optional[int] = None
    """How many objects, from seed 0 on: 16 without it, 5 with --mix."""
    grid: Optional[Tuple[int, int]] = None
    """ROWS COLUMNS: a contact sheet of so many objects, from seed 0 on or those that are chosen, all from one side."""
    mix: bool = False
    """Every seed's shape (rows) in every seed's appearance (columns), seen from the middle of the training cameras: for
    methods that separate the two, such as graf and volumegan."""
    yaws: int = 5
    """From how many sides."""
    yaw_deg: Tuple[float, ...] = ()
    """From just these sides, in degrees (0 is the front)."""
    resolution: int = 128
    """Side of each picture in pixels."""
    what: Literal["rgb", "depth", "normals", "descriptors"] = "rgb"
    """Colour, distance of the surface (near is white), world normals as n / 2 + 1/2, or the three principal components
    of the feature volume's coordinate descriptors, over all objects and sides that are shown: for volumegan."""
    output: Path = Path("samples.png")
    """The picture file to write."""

    def main(self) -> None:
        """Writes the sheet and says where it is.

        Raises:
            UserError: the run cannot be opened, there is nothing to show, or the file cannot be written.
        """
        self.require_something_to_show()

        import imageio.v3 as imageio
        import torch
        from nerfstudio.utils.rich_utils import CONSOLE
        from rich.progress import track

        from gan3d_ns.engine.descriptor_pictures import principal_pictures, render_descriptors
        from gan3d_ns.engine.sample_panel import as_grid, panel_yaws_deg, picture, render_selections
        from gan3d_ns.exporter.writers import require_target, write_atomically

        require_target(self.output)
        run = open_objects(self, default_seeds=tuple(range(self.num_seeds)))
        model, prior = run.model, run.model.pose_prior.config
        if self.mix and not model.shown_generator.field.separates_appearance:
            raise UserError(
                f"{run.config.method_name} does not separate shape and appearance, so there is nothing to mix; leave "
                "out --mix, or take a run of graf or volumegan."
            )
        selections = [entry.selection for entry in run.objects]
        middle = prior.yaw_mean_deg
        yaws = list(self.yaw_deg) or ([middle] if self.grid or self.mix else panel_yaws_deg(prior, self.yaws))
        rows = [(selections, yaw) for yaw in yaws]
        shown = f"{len(selections)} objects from {len(yaws)} sides"
        if self.grid is not None:
            count, columns = self.grid
            rows = [(selections[columns * row : columns * (row + 1)], yaws[0]) for row in range(count)]
            shown = f"{len(selections)} objects in {count} rows of {columns}"
        elif self.mix:
            # One row for each shape, in which every other's appearance is worn.
            wear = [entry.seed for entry in selections]
            rows = [([replace(shape, appearance_seed=seed) for seed in wear], yaws[0]) for shape in selections]
            shown = f"{len(selections)} shapes (rows) in {len(selections)} appearances (columns)"
        columns = max(len(row) for row, _ in rows)
        empty = model.generator_ema.background_grey if self.what == "rgb" else 0.0
        pictures = []
        for row, yaw in track(rows, "rendering", console=CONSOLE, transient=True, disable=not CONSOLE.is_terminal):
            if self.what == "descriptors":
                pictures.append(render_descriptors(model, row, yaw, self.resolution))
            elif row:
                pictures.append(picture(render_selections(model, row, yaw, self.resolution), prior, self.what).cpu())
            else:
                pictures.append(torch.zeros(0, self.resolution, self.resolution, 3))
        if self.what == "descriptors":
            pictures = principal_pictures(pictures)
        cells = []
        for shown_pictures in pictures:
            cell = torch.full((columns, self.resolution, self.resolution, 3), empty)
            cell[: len(shown_pictures)] = shown_pictures
            cells.append(cell)
        pixels = (as_grid(cells) * 255.0).round().to(torch.uint8).numpy()
        write_atomically(self.output, imageio.imwrite("<bytes>", pixels, extension=self.output.suffix))
        CONSOLE.print(
            f"{self.output}: {shown}, {pixels.shape[1]}x{pixels.shape[0]} pixels, step {run.step}",
            soft_wrap=True,
            markup=False,
        )

    @property
    def num_seeds(self) -> int:
        """How many objects are shown where none are named."""
        if self.grid is not None:
            return self.grid[0] * self.grid[1]
        return self.num if self.num is not None else NUM_MIXED if self.mix else NUM_OBJECTS

    def require_something_to_show(self) -> None:
        """Refuses what contradicts itself, before the run is opened.

        Raises:
            UserError: with the settings to change.
        """
        seeds = len(self.seeds or ()) + len(self.latents) or self.num_seeds
        sides = len(self.yaw_deg) or self.yaws
        if seeds < 1 or sides < 1 or self.resolution < 2:
            raise UserError(
                f"nothing to show: {seeds} objects from {sides} sides at {self.resolution} pixels; give at least 1, 1 "
                "and 2."
            )
        if self.grid is not None:
            rows, columns = self.grid
            if min(rows, columns) < 1 or seeds > rows * columns:
                raise UserError(f"{seeds} objects do not fit into {rows} rows of {columns}; give a larger --grid.")
        one_side = "--grid" if self.grid is not None else "--mix" if self.mix else None
        if one_side is not None and len(self.yaw_deg) > 1:
            raise UserError(f"{one_side} shows objects from one side and got {len(self.yaw_deg)}; give one --yaw-deg.")
        if self.mix and (self.grid is not None or self.latents):
            other = "--grid" if self.grid is not None else "--latents"
            raise UserError(f"--mix lays out shapes and appearances of seeds; leave out {other}.")
        if self.output.suffix.lower() not in (".png", ".jpg", ".jpeg"):
            raise UserError(f"cannot write a picture as {self.output.name!r}: end the name in .png or .jpg")
