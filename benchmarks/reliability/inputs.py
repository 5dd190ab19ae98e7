"""`python -m benchmarks.reliability inputs`: hostile files and paths, each used or refused with a sentence."""

import os
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Tuple

from benchmarks.reliability.trials import Tally, feed

SLOWEST = 12
"""Of tracebacks, how many are printed for each kind."""


@dataclass
class Inputs:
    """Make hostile pictures, settings, reports, checkpoints, weights, latents and paths, and feed them to the package.

    Each must be used or refused with a sentence; no code in them may run, and no file may change.
    """

    seed: int = 0
    """Of the damage."""
    variants: int = 2000
    """Damaged files of each kind."""
    many_files: int = 100_000
    """Files of the largest collection."""
    largest_side: int = 9_900
    """Side of the largest pictures that are decoded; small ones spare memory."""
    large: bool = True
    """All of what was made by hand, with files that unpack to gigabytes and a checkpoint of a million entries; else a
    part of it, which saves some minutes."""
    kinds: Tuple[str, ...] = ()
    """Which kinds; without it all: pictures, bombs, names, no-files, changing, many, settings, reports, checkpoints,
    releases, latents, targets."""

    def main(self) -> None:
        """Prints a table; exits with 1 where anything ended in a traceback or changed a file."""
        import torch

        torch.set_num_threads(1)
        warnings.filterwarnings("ignore")
        with tempfile.TemporaryDirectory() as folder:
            tallies = []
            print(f"{'kind':12} {'tried':>7} {'used':>6} {'refused':>8} {'tracebacks':>11} {'changed':>8}  time, peak")
            for tally in self.run(Path(folder)):
                tallies.append(tally)
                print(line(tally), flush=True)
        for tally in tallies:
            print("\n".join(ascii(entry) for entry in [*tally.tracebacks[:SLOWEST], *tally.changed[:SLOWEST]]))
        if not all(tally.good for tally in tallies):
            sys.exit(1)

    def run(self, folder: Path) -> Iterator[Tally]:
        """Feeds one kind after the other."""
        import numpy as np
        from nerfstudio.configs.method_configs import all_methods  # first: nerfstudio's circular imports work so

        from benchmarks.reliability import hostile_pictures, hostile_settings, hostile_targets, hostile_weights
        from gan3d_ns.data.image_files import UnusableImage
        from gan3d_ns.errors import UserError

        assert all_methods
        watched, randomness = folder / "watched", np.random.default_rng(self.seed)
        mark = watched / "mark"
        hostile_targets.keep_files(watched)
        os.environ["GAN3D_CACHE"] = str(folder / "cache")
        count = self.variants
        kinds = {
            "pictures": lambda: hostile_pictures.damaged_pictures(folder / "pictures", count, randomness),
            "bombs": lambda: hostile_pictures.picture_bombs(
                folder / "bombs", self.largest_side, (200 if self.large else 20) << 20
            ),
            "names": lambda: hostile_pictures.odd_names(folder / "names"),
            "no-files": lambda: hostile_pictures.no_files(folder / "no-files"),
            "changing": lambda: hostile_pictures.changing_files(folder / "changing", max(1, count // 100)),
            "many": lambda: hostile_pictures.many_files(folder / "many", self.many_files),
            "settings": lambda: hostile_settings.hostile_configs(
                folder / "settings", count // 4, randomness, mark, self.large
            ),
            "reports": lambda: hostile_settings.hostile_reports(
                folder / "reports", count, randomness, mark, self.large
            ),
            "checkpoints": lambda: hostile_weights.hostile_checkpoints(
                folder / "weights", count, randomness, mark, 1_000_000 if self.large else 1000
            ),
            "releases": lambda: hostile_weights.hostile_releases(folder / "releases", count, randomness, mark),
            "latents": lambda: hostile_weights.hostile_latents(folder / "latents", count, randomness),
            "targets": lambda: hostile_targets.hostile_targets(folder / "targets", watched),
        }
        unknown = sorted(set(self.kinds) - kinds.keys())
        if unknown:
            raise UserError(f"there is no kind {unknown[0]}; there are: {', '.join(kinds)}.")
        for kind in self.kinds or kinds:
            yield feed(kind, kinds[kind](), watched, (UserError, UnusableImage))


def line(tally: Tally) -> str:
    """A row of the table."""
    return (
        f"{tally.kind:12} {tally.tried:7} {tally.used:6} {tally.refused:8} {len(tally.tracebacks):11} "
        f"{len(tally.changed):8}  {tally.seconds:.1f} s, {tally.peak_mb:.0f} MB"
    )
