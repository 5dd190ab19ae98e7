"""How compact the surfaces of trained runs are: one row for each run."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Tuple

from benchmarks.tables import Column, number, table_head, table_line, text
from gan3d_ns.errors import UserError

COLUMNS = (
    Column("run", text("name")),
    Column("pictures", text("data")),
    Column("geometry", text("geometry")),
    Column("step", text("step")),
    Column("variance", number("published")),
    Column("opaque rays", number("published_counted")),
    Column("nothing freed", number("untouched")),
    Column("own samples", number("own")),
    Column("opaque rays", number("own_counted")),
)


@dataclass
class CompactnessTable:
    """Print how compact the surfaces of trained runs are: the weighted variance of the depth, in 1e-4 squared units.

    The third last column leaves occupancies before the surface in place; the last two are of the samples that a method
    composites in its own pictures. Only opaque rays count, whose share stands beside.
    """

    runs: Tuple[Path, ...]
    """config.yml of the runs, or their folders."""
    num_seeds: int = 16
    """Objects of each run; seed, latent and pose are the same for all runs of a latent size."""
    resolution: int = 64
    """Side of the pictures in pixels."""
    truncation: float = 0.7
    """As published."""

    def main(self) -> None:
        """Prints the table, row by row.

        Raises:
            UserError: a run cannot be opened, or there are no runs or seeds.
        """
        if not self.runs or self.num_seeds < 1:
            raise UserError("give at least one run, `--runs CONFIG_YML`, and one seed.")
        print(table_head(COLUMNS))
        for row in self.rows():
            print(table_line(COLUMNS, row), flush=True)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Measured rows, one for each run."""
        import torch

        from gan3d_ns.metrics.compactness import compactness
        from gan3d_ns.scripts.runs import load_run

        torch.set_flush_denormal(True)
        for path in self.runs:
            config, pipeline, step = load_run(path)
            model = pipeline.model
            measured = compactness(
                model.shown_generator,
                model.pose_prior,
                range(self.num_seeds),
                truncation=self.truncation,
                resolution=self.resolution,
            )
            yield {
                "name": f"{config.method_name} {config.timestamp}",
                "data": config.experiment_name,
                "geometry": model.shown_generator.geometry.kind,
                "step": step,
                "published": measured.published.variance,
                "published_counted": measured.published.counted,
                "untouched": measured.untouched.variance,
                "own": measured.own.variance,
                "own_counted": measured.own.counted,
            }
