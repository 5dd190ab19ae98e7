"""A long training with everything on, watched: does memory grow, do threads and files stay, does it slow down?"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, field, fields
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gan3d_ns.errors import UserError

if TYPE_CHECKING:
    from gan3d_ns.engine.gan_trainer import GanTrainer

MB = 2**20
RESOLUTION, BATCH_SIZE = 16, 2
"""Of the small size."""
SMALL = {
    "fade_steps": 0,
    "panel_objects": 2,
    "keep_best.num_pictures": 32,
    "pipeline.datamanager.dataparser.num_virtual_views": 8,
    "pipeline.datamanager.dataparser.virtual_view_resolution": RESOLUTION,
    "pipeline.discriminator.resolution": RESOLUTION,
    "pipeline.discriminator.first_resolution": RESOLUTION,
    "pipeline.discriminator.base_channels": 8,
    "pipeline.discriminator.max_channels": 16,
    "pipeline.model.tri_plane.latent_dim": 8,
    "pipeline.model.tri_plane.generator_channels": (8, 8, 8),
    "pipeline.model.tri_plane.geometry_side": 16,
    "pipeline.model.tri_plane.plane_channels": 4,
    "pipeline.model.tri_plane.decoder_dim": 8,
    "pipeline.model.latent_grid.resolution": 24,
    "pipeline.model.sampler.num_coarse_samples": 8,
}
"""Dotted settings of the small size, for the methods that have them: the leaks of a large network are the same."""
NUM_PICTURES = 64
WARM_UP = 0.15
"""Share of the steps after which everything has happened at least once."""


@dataclass(frozen=True)
class Sample:
    """What the process held at one moment."""

    seconds: float
    """Since the first sample."""
    step: int
    memory_mb: float
    """Resident, as the operating system counts it."""
    threads: int
    """Of Python."""
    files: int
    """Open descriptors: files, sockets, pipes."""
    clients: int
    """Connected to the viewer."""
    render_threads: int
    """One for each client, while all is well."""
    blocks: int
    """Of memory that Python's objects hold. Walking over the objects themselves would disturb the other threads."""


@dataclass
class Bounds:
    """What a soak may show at most."""

    mb_per_1000_steps: float = 25.0
    """Slope of the memory over the second half. The allocator takes and returns 10 MB at a time: a few thousand steps
    cannot show less."""
    more_threads: int = 3
    """Threads at the end over those after the warm-up; clients that are there at the moment count."""
    more_files: int = 4
    """Open files at the end over those after the warm-up."""
    slowest: float = 0.6
    """Steps per second of the last third over those of the first, the warm-up left out; 0 on a machine that others use
    at the same time."""


def open_files() -> int:
    """Descriptors that this process has open; 0 where the system does not say."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            return len(os.listdir(folder))
        except OSError:
            continue
    return 0


def sample(trainer: GanTrainer, began: float) -> Sample:
    """What there is now."""
    from benchmarks.machine import present_memory_gb

    viewer: Any = trainer.viewer_state
    render_threads = sum("RenderStateMachine" in type(thread).__name__ for thread in threading.enumerate())
    return Sample(
        seconds=time.monotonic() - began,
        step=trainer.last_completed,
        memory_mb=1024.0 * present_memory_gb(),
        threads=threading.active_count(),
        files=open_files(),
        clients=0 if viewer is None else len(viewer.viser_server.get_clients()),
        render_threads=render_threads,
        blocks=sys.getallocatedblocks(),
    )


@contextmanager
def sampling(trainer: GanTrainer, interval: float) -> Iterator[list[Sample]]:
    """Takes samples in a thread."""
    samples: list[Sample] = []
    done, began = threading.Event(), time.monotonic()

    def take() -> None:
        while not done.wait(interval):
            samples.append(sample(trainer, began))

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()
        samples.append(sample(trainer, began))


@contextmanager
def visited(port: int, pause: float, at_once: int, log: Path) -> Iterator[None]:
    """Browsers come and go meanwhile, in a process of their own; a pause of 0 keeps them away."""
    if pause <= 0:
        yield
        return
    with log.open("w", encoding="utf-8") as file:
        command = [sys.executable, "-m", "benchmarks.reliability.visitors", str(port), str(pause), str(at_once)]
        child = subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL)
        try:
            yield
        finally:
            child.terminate()
            child.wait()


def slope(samples: Sequence[Sample], name: str) -> float:
    """Growth of a number over 1,000 steps: a straight line through the second half of the steps."""
    import numpy as np

    half = [entry for entry in samples if entry.step >= samples[-1].step / 2]
    steps = np.array([entry.step for entry in half], dtype=float)
    if len(half) < 3 or np.ptp(steps) == 0:
        return 0.0
    return 1000.0 * float(np.polyfit(steps, [float(getattr(entry, name)) for entry in half], 1)[0])


def speed(samples: Sequence[Sample], start: float, end: float) -> float:
    """Steps per second between two shares of the steps."""
    last = samples[-1].step
    part = [entry for entry in samples if start * last <= entry.step <= end * last]
    if len(part) < 2 or part[-1].seconds == part[0].seconds:
        return 0.0
    return (part[-1].step - part[0].step) / (part[-1].seconds - part[0].seconds)


def lowest(samples: Sequence[Sample], name: str, start: float, end: float) -> int:
    """The smallest value of a number between two shares of the steps: clients that just look in do not count."""
    last = samples[-1].step
    return min(int(getattr(entry, name)) for entry in samples if start * last <= entry.step <= end * last)


def summary(samples: Sequence[Sample]) -> dict[str, float]:
    """The figures of a soak.

    Raises:
        UserError: too few samples to say anything.
    """
    if len(samples) < 8:
        raise UserError(f"{len(samples)} samples say nothing; give more --steps or a smaller --sample-every.")
    middle = 0.5 * (1.0 + WARM_UP)
    warm = next(entry for entry in samples if entry.step >= WARM_UP * samples[-1].step)
    return {
        "steps": samples[-1].step + 1,
        "minutes": samples[-1].seconds / 60.0,
        "memory_mb_warm": warm.memory_mb,
        "memory_mb_end": samples[-1].memory_mb,
        "mb_per_1000_steps": slope(samples, "memory_mb"),
        "blocks_per_1000_steps": slope(samples, "blocks"),
        "threads_warm": lowest(samples, "threads", WARM_UP, middle),
        "threads_end": lowest(samples, "threads", middle, 1.0),
        "files_warm": lowest(samples, "files", WARM_UP, middle),
        "files_end": lowest(samples, "files", middle, 1.0),
        "steps_per_second_first": speed(samples, WARM_UP, WARM_UP + (1.0 - WARM_UP) / 3),
        "steps_per_second_last": speed(samples, 1.0 - (1.0 - WARM_UP) / 3, 1.0),
    }


def complaints(figures: dict[str, float], bounds: Bounds) -> list[str]:
    """What is beyond the bounds, in words."""
    found = []
    if figures["mb_per_1000_steps"] > bounds.mb_per_1000_steps:
        found.append(f"memory grows by {figures['mb_per_1000_steps']:.1f} MB per 1,000 steps")
    for name, most in (("threads", bounds.more_threads), ("files", bounds.more_files)):
        more = figures[f"{name}_end"] - figures[f"{name}_warm"]
        if more > most:
            found.append(f"{more:.0f} more {name} are open at the end")
    if figures["steps_per_second_last"] < bounds.slowest * figures["steps_per_second_first"]:
        found.append("steps have become slower")
    return found


def write_table(samples: Sequence[Sample], path: Path) -> None:
    """All samples as CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow([entry.name for entry in fields(Sample)])
        table.writerows([round(value, 3) for value in astuple(entry)] for entry in samples)


def draw(samples: Sequence[Sample], path: Path, title: str) -> None:
    """Memory, threads and files over the steps."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(8.0, 2.6), dpi=100, constrained_layout=True)
    steps = [entry.step for entry in samples]
    axes[0].plot(steps, [entry.memory_mb for entry in samples], linewidth=1.2)
    axes[0].set(title=title, xlabel="step", ylabel="resident memory, MB", ylim=(0, None))
    for name, label in (("threads", "Python threads"), ("files", "open files"), ("clients", "clients")):
        axes[1].plot(steps, [getattr(entry, name) for entry in samples], linewidth=0.8, label=label)
    axes[1].set(xlabel="step", ylim=(0, None))
    axes[1].legend(fontsize=8)
    figure.savefig(path)
    pyplot.close(figure)


def write_discs(folder: Path, num: int = NUM_PICTURES, side: int = 2 * RESOLUTION) -> Path:
    """Pictures to train on: a disc of some colour each."""
    import imageio.v3 as imageio
    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)
    randomness = np.random.default_rng(0)
    row, column = np.mgrid[:side, :side] / (side - 1) * 2 - 1
    for index in range(num):
        centre, colour = randomness.uniform(-0.3, 0.3, 2), randomness.uniform(80, 255, 3)
        inside = (row - centre[0]) ** 2 + (column - centre[1]) ** 2 < 0.4
        imageio.imwrite(folder / f"disc{index:02d}.png", (inside[..., None] * colour).astype(np.uint8))
    return folder


@dataclass
class Soak:
    """Train for long with viewer, browsers that come and go, evaluations, panels and checkpoints; watch the process."""

    method: str = "gof-gan-tiny"
    """Registered name."""
    steps: int = 3000
    """Steps of the training; 3,000 of the small size take some 10 minutes on one core."""
    size: Literal["small", "own"] = "small"
    """small: 16 pixels, 2 pictures a step, little networks. own: what the method trains on by itself."""
    data: Path | None = None
    """Folder of pictures; without it, discs are drawn."""
    visit_every: float = 3.0
    """Seconds that a browser stays away before it comes again; 0: nobody looks."""
    visitors: int = 1
    """Browsers at the same time."""
    save_every: int = 250
    """Steps between checkpoints, and between panels of samples and measurements of the best checkpoint."""
    evaluate_every: int = 100
    """Steps between evaluations of a batch and a picture; of all pictures every tenth time."""
    sample_every: float = 2.0
    """Seconds between two looks at the process."""
    threads: int = 1
    """PyTorch's threads."""
    output: Path = Path("outputs/reliability/soak")
    """Folder of the run, the samples (soak.csv), the curves (soak.png) and the figures (soak.json)."""
    bounds: Bounds = field(default_factory=Bounds)
    """Beyond these the command fails."""

    def config(self) -> Any:
        """The method's config, with everything on that a training can have.

        Raises:
            UserError: there is no such method.
        """
        from benchmarks.training import method_config
        from gan3d_ns.engine.schedules import CurriculumStage

        config: Any = method_config(self.method)
        if self.size == "small":
            config.curriculum = (CurriculumStage(0, RESOLUTION, BATCH_SIZE),)
            for path, value in SMALL.items():
                *parents, name = path.split(".")
                with suppress(AttributeError):
                    part = attrgetter(".".join(parents))(config) if parents else config
                    if hasattr(part, name):
                        setattr(part, name, value)
        config.machine.device_type = "cpu"
        config.hollow_check_step = 0
        config.vis = "viewer+tensorboard"
        config.viewer.websocket_host, config.viewer.quit_on_train_completion = "127.0.0.1", True
        config.steps_per_save = config.steps_per_panel = config.keep_best.interval = self.save_every
        config.steps_per_eval_batch = config.steps_per_eval_image = self.evaluate_every
        config.steps_per_eval_all_images = 10 * self.evaluate_every
        config.data = self.data or write_discs(self.output / "pictures")
        config.output_dir, config.timestamp = self.output, time.strftime("%Y-%m-%d_%H%M%S")
        config.max_num_iterations = self.steps
        return config

    def watch(self) -> list[Sample]:
        """Trains, and returns what was seen."""
        import torch

        torch.set_num_threads(self.threads)
        config = self.config()
        config.save_config()
        torch.manual_seed(config.machine.seed)
        trainer: GanTrainer = config.setup(local_rank=0, world_size=1)
        trainer.setup()
        viewer: Any = trainer.viewer_state
        port = viewer.viser_server.get_port()
        try:
            with (
                visited(port, self.visit_every, self.visitors, self.output / "visits.jsonl"),
                sampling(trainer, self.sample_every) as samples,
            ):
                trainer.train()
        finally:
            if viewer.viser_server._websock_server._ws_server is not None:  # else it was stopped on the way
                trainer.shutdown()
        return samples

    def main(self) -> None:
        """Trains, writes the figures and says what is beyond the bounds; then the exit status is 1.

        Raises:
            UserError: there is no such method, or there were too few steps to say anything.
        """
        if self.steps < 20:
            raise UserError(f"--steps {self.steps} show nothing; give 500 at least.")
        self.output.mkdir(parents=True, exist_ok=True)
        samples = self.watch()
        write_table(samples, self.output / "soak.csv")
        figures = summary(samples)
        draw(samples, self.output / "soak.png", f"{self.method}, {self.size} size")
        if self.visit_every > 0:
            visits = [json.loads(line) for line in (self.output / "visits.jsonl").read_text("utf-8").splitlines()]
            figures["visits"] = len(visits)
            figures["visits_without_picture"] = sum(visit["pictures"] == 0 for visit in visits)
        (self.output / "soak.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        for name, value in figures.items():
            print(f"{name.replace('_', ' '):28s} {value:10.2f}")
        found = complaints(figures, self.bounds)
        for sentence in found:
            print(f"Beyond the bounds: {sentence}.")
        if found:
            sys.exit(1)
