"""The command: `python -m benchmarks run | report | compare | distil | train | compactness`."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Tuple, Union

import tyro
from typing_extensions import Annotated

from benchmarks.compactness import CompactnessTable
from benchmarks.distil import Distil
from benchmarks.equal_time import Train
from benchmarks.frames import FramesPart
from benchmarks.growth import GrowthPart
from benchmarks.machine import machine
from benchmarks.meshes import MeshesPart
from benchmarks.methods import MethodsPart
from benchmarks.parts import Part, Request
from benchmarks.peer import PeerPart
from benchmarks.tables import read_results, results_page, save_results, table_head, table_line
from benchmarks.turns import TurnSettings
from gan3d_ns.errors import UserError

PARTS: Tuple[Part, ...] = (MethodsPart(), FramesPart(), MeshesPart(), PeerPart(), GrowthPart())
DEFAULT_RESULTS = Path("outputs/benchmarks.json")
RESULTS_PAGE, CLAIMS = (Path(__file__).parent / name for name in ("RESULTS.md", "claims.md"))
COMPARISON_HEADING = "## Methods at equal cost"


@dataclass
class Run:
    """Measure: prints a table for each part and keeps the numbers in a JSON file.

    Without --parts all parts whose inputs are given: `training` and `growth` need none, `frames` and `meshes` a
    trained run, `peer` a checkout of the original code.
    """

    parts: Tuple[str, ...] = ()
    """Which tables: training, frames, meshes, peer, growth."""
    run: Tuple[Path, ...] = ()
    """config.yml of trained runs, for `frames` and `meshes`."""
    seeds: Tuple[int, ...] = (0,)
    """Which of their objects."""
    peer_gof: Optional[Path] = None
    """Folder with the original GOF code, for `peer`. It is yours: nothing of it is part of this repository."""
    distilled: Optional[Path] = None
    """File of `python -m benchmarks distil`: weights that stand for a trained gof-gan-paper."""
    trained_step: int = 100_000
    """Training step at which distilled weights are used, which fixes the window and the weights of the losses."""
    methods: Tuple[str, ...] = ()
    """Which methods; without it the tiny ones and those of GOF."""
    fields: Tuple[str, ...] = ()
    """Which fields; without it each method's own and, at tiny size, all."""
    resolutions: Tuple[int, ...] = ()
    """Sides of the pictures; without it each method's first stage, or what a part says."""
    batch_size: Optional[int] = None
    """Pictures in a step; without it each method's own."""
    rounds: Optional[int] = None
    """Measured turns of each contender; without it 5, or 1 with --quick."""
    threads: int = 1
    """PyTorch's threads in each process."""
    device: str = "auto"
    """cpu, cuda or auto: CUDA where there is a device."""
    budget_minutes: float = 15.0
    """Rows that would take longer are skipped, with a word."""
    quick: bool = False
    """Small settings that end in seconds or minutes: to see that it works, not to quote."""
    output: Path = DEFAULT_RESULTS
    """JSON file; parts measured again replace the old ones."""
    report: bool = False
    """Also write the page of results (see the command report)."""

    def main(self) -> None:
        """Measures the parts one after the other.

        Raises:
            UserError: an unknown part, or something it needs is missing or wrong.
        """
        request_device = chosen_device(self.device)
        known = {part.name: part for part in PARTS}
        for name in self.parts:
            if name not in known:
                raise UserError(f"there is no part {name}; choose among {', '.join(known)}.")
        if self.output.exists():
            read_results(self.output)
        turns = TurnSettings(
            rounds=self.rounds or (1 if self.quick else 5),
            threads=self.threads,
            device=request_device,
            budget_seconds=60.0 * self.budget_minutes,
        )
        with tempfile.TemporaryDirectory(prefix="gan3d-benchmark-") as scratch:
            request = Request(
                turns=turns,
                scratch=Path(scratch),
                quick=self.quick,
                methods=self.methods,
                fields=self.fields,
                resolutions=self.resolutions,
                batch_size=self.batch_size,
                runs=self.run,
                seeds=self.seeds,
                peer_gof=self.peer_gof,
                distilled=self.distilled,
                trained_step=self.trained_step,
            )
            parts = [known[name] for name in self.parts] or [part for part in PARTS if part.wanted(request)]
            if not self.quick:
                minutes = sum(part.minutes for part in parts)
                print(f"{', '.join(part.name for part in parts)}: about {minutes:.0f} minutes on two CPU cores.")
            for part in parts:
                measure(part, request, self.output)
        if self.report:
            Report(self.output).main()


@dataclass
class Report:
    """Write the page of results from measurements."""

    results: Path = DEFAULT_RESULTS
    """JSON file of the command run."""
    page: Path = RESULTS_PAGE
    """The page to write."""

    def main(self) -> None:
        """Writes the page.

        Raises:
            UserError: there are no measurements.
        """
        parts = read_results(self.results)
        speed = results_page(
            parts,
            {part.name: part.title for part in PARTS},
            {part.name: part.columns for part in PARTS},
            {part.name: part.note for part in PARTS},
        )
        self.page.write_text(f"{speed}\n{comparison_on(self.page)}".rstrip() + "\n", encoding="utf-8")
        print(f"{self.page}: {', '.join(parts)}")


@dataclass
class Compare:
    """Write the comparison of methods into the page of results: what is claimed, then the tables.

    Trainings of equal cost are made by the command train and measured by `gan3d eval --table`.
    """

    results: Path = Path("outputs/comparison/comparison.json")
    """What `gan3d eval --table` has written."""
    claims: Path = CLAIMS
    """What the numbers say, written by hand."""
    page: Path = RESULTS_PAGE
    """The page; its other part stays."""

    def main(self) -> None:
        """Writes the page.

        Raises:
            UserError: there are no results, or a file cannot be read.
        """
        from gan3d_ns.metrics.comparison import markdown
        from gan3d_ns.metrics.records import read_measured

        measured = read_measured(self.results)
        before = self.page.read_text(encoding="utf-8").partition(COMPARISON_HEADING)[0] if self.page.exists() else ""
        try:
            said = self.claims.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise UserError(f"what the numbers say cannot be read ({error}); give --claims FILE.") from error
        text = f"{before.rstrip()}\n\n{COMPARISON_HEADING}\n\n{said}\n\n{markdown(measured, level=3).rstrip()}\n"
        self.page.write_text(text.lstrip(), encoding="utf-8")
        print(f"{self.page}: {len(measured)} checkpoints")


def comparison_on(page: Path) -> str:
    """The comparison that stands on a page; empty where there is none."""
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    return "".join(text.partition(COMPARISON_HEADING)[1:])


def chosen_device(device: str) -> str:
    """cpu or cuda.

    Raises:
        UserError: another word, or no CUDA device here.
    """
    import torch

    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f"there is no device {device}; choose cpu, cuda or auto.")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("there is no CUDA device here; take --device cpu.")
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def measure(part: Part, request: Request, output: Path) -> None:
    """Measures one part, printing each row as it comes, and saves it."""
    start, facts = time.perf_counter(), machine(request.turns.threads, request.turns.device)
    print(f"\n## {part.title}\n\n{table_head(part.columns)}", flush=True)
    rows = []
    for row in part.rows(request):
        rows.append(row)
        print(table_line(part.columns, row), flush=True)
    protocol = f"{request.turns.rounds} turn(s) after {request.turns.warm_up} of warm-up" + ", quick" * request.quick
    save_results(
        output,
        f"{part.name}, {facts['machine']['gpu'] or 'CPU'}",
        {
            "part": part.name,
            **facts,
            "protocol": protocol,
            "elapsed_seconds": time.perf_counter() - start,
            "rows": rows,
        },
    )


Command = Union[
    Annotated[Run, tyro.conf.subcommand("run")],
    Annotated[Report, tyro.conf.subcommand("report")],
    Annotated[Compare, tyro.conf.subcommand("compare")],
    Annotated[Distil, tyro.conf.subcommand("distil")],
    Annotated[CompactnessTable, tyro.conf.subcommand("compactness")],
    Annotated[Train, tyro.conf.subcommand("train")],
]


def main() -> None:
    """Reads the command line and runs the command."""
    tyro.cli(Command, prog="python -m benchmarks", description=__doc__).main()


if __name__ == "__main__":
    main()
