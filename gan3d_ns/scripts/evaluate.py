"""`gan3d eval`: numbers about runs, with all that they depend on, and tables of several runs."""

import hashlib
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Literal, Optional, Tuple

import tyro
from typing_extensions import Annotated

from gan3d_ns.errors import UserError
from gan3d_ns.metrics.settings import WITH_TRUTH, EvaluationConfig

if TYPE_CHECKING:
    from gan3d_ns.metrics.evaluation import Evaluation
    from gan3d_ns.metrics.records import Measured, Subject

RESULTS_NAME = "metrics.json"
Measure = Literal["pictures", "health", "compactness", "reprojection", "pose", "shapes", "surface"]


@dataclass
class Evaluate:
    """Measure runs: quality of pictures, health and compactness of shapes, errors against the truth.

    Results stand in metrics.json in each run's folder, and what was measured earlier with the same settings is not
    measured again. With --table runs are laid side by side.
    """

    load_config: Tuple[Path, ...]
    """config.yml of one run or of several, or their folders; best.yml for the best checkpoint."""
    measures: Optional[Tuple[Measure, ...]] = None
    """What to measure; without it all that the run allows. pose, shapes and surface need a collection with truth."""
    features: Optional[str] = None
    """Feature network of the pictures: inception, efficientnet-lite0 (without network, from the extra eval-offline),
    another name of torch-fidelity, or a TorchScript file; short for --pictures.features."""
    load_step: Optional[int] = None
    """Which checkpoint; without it the newest."""
    all_checkpoints: bool = False
    """Measure every checkpoint that the runs have kept, for quality against time."""
    again: bool = False
    """Measure again what stands in metrics.json already."""
    data: Optional[Path] = None
    """Real pictures to compare with; without it those that each run was trained on."""
    truth: Optional[Path] = None
    """Collection with truth (see `gan3d collection`); without it the training's own where its truth is known."""
    held_out: Optional[Path] = None
    """Collection with truth that the training has not seen, for shapes and surface; built-in ones have their own."""
    table: bool = False
    """Write a comparison of all that is known of these checkpoints: comparison.md, .csv, .json and quality.png."""
    output: Path = Path("outputs/comparison")
    """Folder of the comparison."""
    plot_metric: Optional[str] = None
    """What quality.png shows over time; without it fid."""
    settings: Annotated[EvaluationConfig, tyro.conf.arg(name="")] = field(default_factory=EvaluationConfig)
    """What each measurement is asked for."""

    def main(self) -> None:
        """Measures, prints and keeps the results.

        Raises:
            UserError: a run cannot be opened or measured; what was measured before is kept.
        """
        if not self.load_config:
            raise UserError("give at least one run: --load-config RUN/config.yml.")
        if self.load_step is not None and self.all_checkpoints:
            raise UserError("--load-step chooses one checkpoint and --all-checkpoints all; leave one of them out.")

        if self.features is not None:
            self.settings = replace(self.settings, pictures=replace(self.settings.pictures, features=self.features))

        from nerfstudio.utils.rich_utils import CONSOLE

        if self.table:
            from gan3d_ns.exporter.writers import require_folder

            require_folder(self.output)
        measured: Dict[Subject, Measured] = {}
        failures: List[str] = []
        for path in self.load_config:
            for step in self.steps(path):
                entry = self.measured_checkpoint(path, step, failures)
                measured[entry.subject] = entry
        if self.table:
            for file in write_comparison(list(measured.values()), self.output, self.plot_metric):
                CONSOLE.print(f"{file}", soft_wrap=True, markup=False, highlight=False)
        if failures:
            raise UserError(f"{len(failures)} measurement(s) could not be made, as said above; the others are kept.")

    def measured_checkpoint(self, path: Path, step: Optional[int], failures: List[str]) -> "Measured":
        """A checkpoint with all that was asked for, kept in the run's folder and printed.

        What cannot be measured is told in ``failures``; the rest is measured all the same.
        """
        from nerfstudio.utils.rich_utils import CONSOLE

        from gan3d_ns.scripts.runs import config_of

        results = config_of(path).parent / RESULTS_NAME
        subject, evaluation = self.opened(path, step)
        entry = kept_entry(results, subject)
        CONSOLE.rule(f"{subject.data} {subject.method} {subject.run}, step {subject.step}")
        for measure in self.wanted(evaluation):
            key, asked = self.question(measure, evaluation)
            if self.again or entry.settings.get(key) != asked:
                try:
                    with progress_bar(measure) as report:
                        records = evaluation.measure(measure, report)
                except UserError as error:
                    if len(self.wanted(evaluation)) == 1 and len(self.load_config) == 1:
                        raise
                    failures.append(f"{measure} could not be measured: {error}")
                    CONSOLE.print(failures[-1], style="yellow", soft_wrap=True, markup=False, highlight=False)
                    continue
                # Read again: another process may have measured something meanwhile.
                entry = kept_entry(results, subject).with_measure(measure, records, asked, key)
                keep_entry(results, entry)
            print_records([record for record in entry.records if record.measure == measure], measure)
        if results.is_file():
            CONSOLE.print(f"{results}", soft_wrap=True, markup=False, highlight=False)
        return entry

    def steps(self, path: Path) -> List[Optional[int]]:
        """The checkpoints to measure; None is the newest."""
        if not self.all_checkpoints:
            return [self.load_step]
        from gan3d_ns.engine.checkpoint_files import steps_in
        from gan3d_ns.scripts.runs import checkpoint_folder, read_run_config

        return list(steps_in(checkpoint_folder(path, read_run_config(path))))

    def opened(self, path: Path, step: Optional[int]) -> "Tuple[Subject, Evaluation]":
        """The run with its weights."""
        import torch

        from gan3d_ns.engine.checkpoint_files import checkpoint_in, read_checkpoint
        from gan3d_ns.metrics.evaluation import Evaluation
        from gan3d_ns.metrics.records import Subject
        from gan3d_ns.scripts.runs import checkpoint_folder, load_run

        torch.set_flush_denormal(True)
        config, pipeline, step = load_run(path, step)
        cost = read_checkpoint(checkpoint_in(checkpoint_folder(path, config), step)).get("cost", {})
        name, method, run = config.experiment_name or "", config.method_name or "", config.timestamp
        subject = Subject(method, name, run, step, cost.get("wall_seconds"), cost.get("cpu_seconds"))
        real = pipeline.real_pictures(self.data)
        return subject, Evaluation(pipeline.model, real, self.settings, self.truth, self.held_out)

    def wanted(self, evaluation: "Evaluation") -> Tuple[str, ...]:
        """The measurements to make; those that need a truth only where there is one, unless they were asked for."""
        if self.measures is not None:
            return tuple(dict.fromkeys(self.measures))
        return evaluation.available()

    def question(self, measure: str, evaluation: "Evaluation") -> Tuple[str, Dict[str, Any]]:
        """A key, and all that decides whether an earlier result under it answers the same question; as in JSON."""
        import json

        from gan3d_ns.data.true_collection import TRUTH_FILE
        from gan3d_ns.metrics.feature_networks import default_features
        from gan3d_ns.model_components.latents import fingerprint

        key, asked = measure, asdict(getattr(self.settings, measure))
        asked["weights"] = fingerprint(evaluation.model)
        if measure == "pictures":
            asked["features"] = asked["features"] or default_features()
            asked["features_file"] = stamp(Path(asked["features"]))
            asked["data"] = stamp(evaluation.real.path) if evaluation.real.known else ""
            key = f"{measure} {asked['features']} {asked['resolution'] or ''}".strip()
        elif measure in ("reprojection", *WITH_TRUTH):
            folders = self.truth or evaluation.real.trained, self.held_out
            asked["truth"] = [str(folder) + stamp(folder / TRUTH_FILE) if folder else "" for folder in folders]
            asked["pose"] = asdict(self.settings.pose) if measure != "reprojection" else None
        return key, json.loads(json.dumps(asked, default=str))


def stamp(path: Path) -> str:
    """Changes when a file, or any file in a folder, changes; empty where there is none."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path] if path.is_file() else []
    digest = hashlib.sha256()
    for file in files:
        about = file.stat()
        digest.update(f"{file.relative_to(path)} {about.st_size} {about.st_mtime_ns}\n".encode())
    return digest.hexdigest() if files else ""


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[float], None]]:
    """A bar on a terminal; what it gives takes the fraction that is done."""
    from nerfstudio.utils.rich_utils import CONSOLE
    from rich.progress import Progress

    with Progress(console=CONSOLE, transient=True, disable=not CONSOLE.is_terminal) as bar:
        task = bar.add_task(title, total=1.0)
        yield lambda done: bar.update(task, completed=done)


def kept_results(path: Path) -> "List[Measured]":
    """The results of earlier calls; none where there is no file.

    Raises:
        UserError: the file holds something else.
    """
    from gan3d_ns.metrics.records import read_measured

    return read_measured(path) if path.is_file() else []


def kept_entry(path: Path, subject: "Subject") -> "Measured":
    """What is known of a checkpoint."""
    from gan3d_ns.metrics.records import Measured

    earlier = next((entry for entry in kept_results(path) if entry.subject.step == subject.step), None)
    return Measured(subject, earlier.records, earlier.settings) if earlier else Measured(subject, [])


def keep_entry(path: Path, measured: "Measured") -> None:
    """Puts what is known of a checkpoint among that of others, whole or not at all."""
    from gan3d_ns.exporter.writers import write_atomically
    from gan3d_ns.metrics.records import as_json

    others = [entry for entry in kept_results(path) if entry.subject.step != measured.subject.step]
    ordered = sorted([*others, measured], key=lambda entry: entry.subject.step)
    write_atomically(path, as_json(ordered).encode())


def print_records(records: List[Any], measure: str) -> None:
    """A table of one measurement on the terminal."""
    from nerfstudio.utils.rich_utils import CONSOLE
    from rich.table import Table

    from gan3d_ns.metrics.comparison import arrow, shown_number

    table = Table(title=measure, title_justify="left")
    for name in ("", "value", "±", "floor"):
        table.add_column(name, justify="left" if not name else "right", no_wrap=bool(name))
    for record in records:
        numbers = (record.value, record.deviation, record.floor)
        cells = ["" if number is None else shown_number(number) for number in numbers]
        unit = f", {record.unit}" if record.unit else ""
        table.add_row(f"{record.heading}{unit}{arrow(record)}".replace("[", "\\["), *cells)
    CONSOLE.print(table)


def write_comparison(measured: "List[Measured]", folder: Path, plot_metric: Optional[str]) -> List[Path]:
    """Table and plot of several runs in a folder; returns the files.

    Raises:
        UserError: there is nothing to compare, no such metric, or the folder cannot be written.
    """
    from gan3d_ns.exporter.writers import write_atomically
    from gan3d_ns.metrics.comparison import as_csv, markdown
    from gan3d_ns.metrics.quality_plot import quality_plot
    from gan3d_ns.metrics.records import as_json

    contents = {
        "comparison.md": markdown(measured).encode(),
        "comparison.csv": as_csv(measured).encode(),
        "comparison.json": as_json(measured).encode(),
    }
    for name, content in contents.items():
        write_atomically(folder / name, content)
    # Last, because it may refuse: the tables are there then.
    write_atomically(folder / "quality.png", quality_plot(measured, plot_metric))
    return [folder / name for name in (*contents, "quality.png")]
