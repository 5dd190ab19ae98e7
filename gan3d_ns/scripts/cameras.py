"""`gan3d cameras`: where a run's cameras stand, learned or not, beside those of the pictures where they are known."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Optional

from gan3d_ns.errors import UserError

if TYPE_CHECKING:
    from gan3d_ns.data.true_collection import TrueCollection
    from gan3d_ns.metrics.camera_law import CameraLaws

FILE_NAME = "cameras"


@dataclass
class Cameras:
    """Compare the cameras of a run's prior with its learned ones, and with those of the pictures where known.

    Writes a histogram of yaw, elevation, field of view and radius, and a JSON with their moments and with the
    Kolmogorov-Smirnov distances to the truth (0: the same law, 1: far apart). Nothing is rendered.
    """

    load_config: Path
    """config.yml of the run, or its folder."""
    load_step: Optional[int] = None
    """Which checkpoint; without it the newest."""
    truth: Optional[Path] = None
    """Collection with truth (see `gan3d collection`); without it the training's own where its truth is known."""
    num: int = 20_000
    """How many cameras of the prior are drawn."""
    seed: int = 0
    """Of that draw."""
    raw_weights: bool = False
    """The camera generator in training in place of its moving average."""
    output: Optional[Path] = None
    """The picture to write, a .png; the numbers stand beside it in a .json. Without it cameras.png in the run's folder.
    """

    def main(self) -> None:
        """Writes picture and numbers, and prints them.

        Raises:
            UserError: the run cannot be opened, or nothing is known of the cameras of the given pictures.
        """
        if self.num < 2:
            raise UserError(f"--num is {self.num}; a law needs 2 cameras at least, 20000 show it well.")
        if self.output is not None and self.output.suffix != ".png":
            raise UserError(f"--output is {self.output}; give the name of a .png file.")

        import json

        from nerfstudio.utils.rich_utils import CONSOLE

        from gan3d_ns.exporter.writers import require_target, write_files_atomically
        from gan3d_ns.metrics.camera_law import camera_histogram, camera_laws
        from gan3d_ns.scripts.runs import config_of, load_run

        picture = self.output or config_of(self.load_config).parent / f"{FILE_NAME}.png"
        config, pipeline, step = load_run(self.load_config, self.load_step)
        require_target(picture)
        truth = self.true_collection(config)
        model = pipeline.model
        generator = model.generator if self.raw_weights else model.generator_ema
        cameras = generator.camera_generator
        found = camera_laws(model.config.pose_prior, cameras, truth, self.num, self.seed)
        method = config.method_name
        report: Dict[str, Any] = {"method": method, "step": step, **found.report()}
        report["truth"] = None if truth is None else truth.folder.name
        title = f"{method}, step {step}: {'learned' if cameras is not None else 'fixed'} cameras"
        files = {
            picture: camera_histogram(found, title),
            picture.with_suffix(".json"): (json.dumps(report, indent=2) + "\n").encode(),
        }
        write_files_atomically(files)
        print_laws(found)
        if cameras is None:
            CONSOLE.print("This run's cameras are those of its prior; --pipeline.model.pose-prior learned learns them.")
        for file in files:
            CONSOLE.print(f"{file}", soft_wrap=True, markup=False, highlight=False)

    def true_collection(self, config: Any) -> "Optional[TrueCollection]":
        """The collection whose cameras are known: the given one, or the training's own.

        Raises:
            UserError: nothing is known of the given one.
        """
        from gan3d_ns.data.truth_folders import open_truth

        if self.truth is not None:
            return open_truth(self.truth)
        if not config.pipeline.knows_pictures:
            return None
        try:
            return open_truth(config.pictures, config.pipeline.datamanager.built_in)
        except UserError:
            return None


def print_laws(found: "CameraLaws") -> None:
    """A table: moments of each quantity and law, and distances to the truth."""
    from nerfstudio.utils.rich_utils import CONSOLE
    from rich.table import Table

    report = found.report()
    table = Table(title="Cameras")
    for heading in ("", "law", "mean", "std", "min", "max", "KS to the truth"):
        table.add_column(heading, justify="left" if heading in ("", "law") else "right")
    for quantity, laws in report["laws"].items():
        for kind, moments in laws.items():
            distance = report["kolmogorov_smirnov"].get(quantity, {}).get(kind)
            numbers = [f"{moments[name]:.4g}" for name in ("mean", "std", "minimum", "maximum")]
            table.add_row(quantity, kind, *numbers, "" if distance is None else f"{distance:.3f}")
    CONSOLE.print(table)
    turns = ", ".join(f"{kind} by {turn:g} degrees" for kind, turn in found.turns_deg.items())
    if turns:
        CONSOLE.print(f"Yaws are compared after turning {turns}: a generator may choose any front.", soft_wrap=True)
