"""`python -m benchmarks.reliability kills`: a training that is killed again and again ends as one that never was."""

import copy
import functools
import json
import os
import random
import signal
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator, List, Literal, Optional, Tuple

from gan3d_ns.errors import UserError

RESOLUTION, NUM_PICTURES = 16, 8
LONGEST_WAIT_SECONDS = 300.0
"""For the first checkpoint of a process, on a busy machine."""
POLL_SECONDS = 0.0005
MOST_STEPS = 3
"""That a process does before it is killed while it writes a checkpoint."""
EVERY = 5
"""Steps between the other files that a training writes: sample panels, health, scores and the best checkpoint."""

Moment = Literal["at random", "while a checkpoint was written"]


@dataclass(frozen=True)
class Kill:
    """What was found after a kill."""

    moment: Moment
    partial: bool
    """Whether a half-written checkpoint was left."""
    step: int
    """Of the newest checkpoint, this process's or an earlier one's; -1 before the first."""
    faults: Tuple[str, ...]
    """Files that cannot be read."""


@dataclass
class Kills:
    """Kill a training (SIGKILL) at random moments, go on from its newest checkpoint each time, and compare its end with
    that of the same training left alone. A checkpoint is saved after every step; half of the kills wait for one that is
    being written.
    """

    method: str = "gof-gan-tiny"
    """Which method: its own networks, with pictures of 16 x 16."""
    times: int = 20
    """How often it is killed."""
    steps: int = 60
    """Length of the training."""
    seed: int = 0
    """Of the random moments."""

    def main(self) -> None:
        """Prints a line for each kill; exits with 1 where anything was lost.

        Raises:
            UserError: the system cannot fork, or the training ended before it was killed often enough.
        """
        if not hasattr(os, "fork"):
            raise UserError(
                "this experiment forks and kills processes, which Windows cannot; run it on Linux or macOS."
            )
        import torch

        torch.set_num_threads(1)
        with tempfile.TemporaryDirectory() as folder:
            kills, difference = self.run(Path(folder))
        faults = [fault for kill in kills for fault in kill.faults]
        for number, kill in enumerate(kills, start=1):
            left = ", a half-written checkpoint left beside it" if kill.partial else ""
            print(f"kill {number:2d} {kill.moment}: newest checkpoint of step {kill.step}{left}")
        print("\n".join(faults))
        print(
            f"{len(kills)} kills, {sum(kill.partial for kill in kills)} of them in the middle of writing a checkpoint; "
            f"{len(faults)} unreadable files; largest difference of a weight or a moment at the end: {difference:g}"
        )
        if faults or difference > 0.0:
            sys.exit(1)

    def run(self, folder: Path) -> Tuple[List[Kill], float]:
        """The kills, and how far the end is from that of the training left alone."""
        from gan3d_ns.engine.checkpoint_files import checkpoint_in, read_checkpoint

        self.write_pictures(folder / "pictures")
        alone = self.config(folder, "alone", None, self.steps)
        start = time.monotonic()
        log = folder / "alone.log"
        with training(alone, log) as process:
            wait_for(lambda: any(alone.get_checkpoint_dir().glob("*.ckpt")), process, log)
            startup = time.monotonic() - start
            finish(process, log)

        randomness, kills, newest = random.Random(self.seed), [], None
        while True:
            done = -1 if newest is None else step_of(newest)
            config = self.config(folder, f"part{len(kills)}", newest, self.steps - 1 - done)
            log = folder / f"part{len(kills)}.log"
            with training(config, log) as process:
                if len(kills) == self.times:
                    finish(process, log)
                    break
                moment: Moment = "at random" if len(kills) % 2 else "while a checkpoint was written"
                if moment == "at random":
                    time.sleep(randomness.uniform(0.0, 2.0 * startup))
                else:
                    wanted = done + randomness.randint(0, MOST_STEPS)
                    wait_for(functools.partial(being_written, config.get_base_dir(), done, wanted), process, log)
                if os.waitpid(process, os.WNOHANG)[0]:
                    raise UserError(
                        f"the training of {self.steps} steps ended after {len(kills)} kills; give more --steps: "
                        f"{tail(log)}"
                    )
            found = sorted(config.get_checkpoint_dir().glob("step-*.ckpt"))
            newest = found[-1] if found else newest
            kills.append(
                Kill(
                    moment,
                    (config.get_base_dir() / "checkpoint.partial").exists(),
                    -1 if newest is None else step_of(newest),
                    tuple(unreadable_files(config.get_base_dir())),
                )
            )
        ends = [read_checkpoint(checkpoint_in(each.get_checkpoint_dir())) for each in (alone, config)]
        return kills, largest_difference(
            *({key: end[key] for key in ("step", "pipeline", "optimizers")} for end in ends)
        )

    def config(self, folder: Path, name: str, checkpoint: Optional[Path], steps: int) -> Any:
        """The settings of one process of the training."""
        from nerfstudio.configs.method_configs import all_methods

        from gan3d_ns.engine.schedules import CurriculumStage

        if self.method not in all_methods:
            raise UserError(f"there is no method {self.method}; `ns-train --help` lists them.")
        config: Any = copy.deepcopy(all_methods[self.method])
        config.data, config.output_dir, config.timestamp = folder / "pictures", folder / "outputs", name
        config.experiment_name = "killed"
        config.vis, config.machine.device_type = "tensorboard", "cpu"
        config.curriculum = (CurriculumStage(0, RESOLUTION, 2),)
        config.hollow_check_step, config.panel_objects = 0, 2
        config.max_num_iterations, config.load_checkpoint = steps, checkpoint
        config.steps_per_save = 1
        config.steps_per_panel = config.keep_best.interval = EVERY
        config.keep_best.num_pictures = NUM_PICTURES
        config.viewer.quit_on_train_completion = True
        return config

    def write_pictures(self, folder: Path) -> None:
        """A few pictures of noise."""
        import imageio.v3 as imageio
        import numpy as np

        folder.mkdir()
        randomness = np.random.default_rng(self.seed)
        for index in range(NUM_PICTURES):
            pixels = randomness.integers(0, 256, (RESOLUTION, RESOLUTION, 3), dtype=np.uint8)
            imageio.imwrite(folder / f"{index}.png", pixels)


@contextmanager
def training(config: Any, log: Path) -> Iterator[int]:
    """A process that trains; it is killed at the end, whatever it does then."""
    process = fork(config, log)
    try:
        yield process
    finally:
        with suppress(ChildProcessError):  # it has been waited for already
            if not os.waitpid(process, os.WNOHANG)[0]:
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)


def fork(config: Any, log: Path) -> int:
    """Trains in a copy of this process, which saves the seconds that imports take; returns its number."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        with log.open("wb") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        from nerfstudio.scripts.train import main

        main(config)
        status = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", flush=True)
    finally:
        os._exit(status)


def step_of(checkpoint: Path) -> int:
    """The last step that a checkpoint holds, counted from 0."""
    return int(checkpoint.stem.partition("-")[2])


def being_written(run: Path, done: int, wanted: int) -> bool:
    """Whether a checkpoint is being written by a process that began after one step and has saved another."""
    if not (run / "checkpoint.partial").exists():
        return False
    return max(map(step_of, run.glob("nerfstudio_models/step-*.ckpt")), default=done) >= wanted


def wait_for(condition: Callable[[], bool], process: int, log: Path) -> None:
    """Waits for something that a process does.

    Raises:
        UserError: it ends or takes minutes without doing it.
    """
    end = time.monotonic() + LONGEST_WAIT_SECONDS
    while not condition():
        if os.waitpid(process, os.WNOHANG)[0] or time.monotonic() > end:
            raise UserError(f"a training ended, or took minutes, before it saved a checkpoint: {tail(log)}")
        time.sleep(POLL_SECONDS)


def finish(process: int, log: Path) -> None:
    """Waits for the good end of a process.

    Raises:
        UserError: it ends otherwise; shows what it wrote.
    """
    _, status = os.waitpid(process, 0)
    if status:
        raise UserError(f"a training failed: {tail(log)}")


def tail(log: Path) -> str:
    """The end of what a process wrote."""
    return log.read_text(encoding="utf-8", errors="replace")[-2000:]


def unreadable_files(run: Path) -> List[str]:
    """What of a run's folder cannot be read, with the reason; half-written files under their own names do not count."""
    import imageio.v3 as imageio

    from gan3d_ns.engine.checkpoint_files import read_checkpoint
    from gan3d_ns.scripts.runs import read_run_config

    readers: dict[str, Callable[[Path], Any]] = {
        "step-*.ckpt": lambda path: finite(read_checkpoint(path)["pipeline"]),
        "config.yml": read_run_config,
        "best.yml": read_run_config,
        "*.json": lambda path: json.loads(path.read_text(encoding="utf-8")),
        "samples.png": imageio.imread,
    }
    faults = []
    for pattern, read in readers.items():
        for path in run.rglob(pattern):
            try:
                read(path)
            except Exception as error:
                faults.append(f"{path.relative_to(run)}: {error}")
    return faults


def finite(weights: dict[str, Any]) -> None:
    """Raises a ValueError for weights that are not."""
    spoilt = [name for name, tensor in weights.items() if not bool(tensor.isfinite().all())]
    if spoilt:
        raise ValueError(f"{spoilt[0]} is not finite")


def largest_difference(first: Any, second: Any) -> float:
    """Of two checkpoints' numbers; infinite where they do not hold the same things."""
    import torch

    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        if first.shape != second.shape:
            return float("inf")
        return float((first.double() - second.double()).abs().max()) if first.numel() else 0.0
    if isinstance(first, dict) and isinstance(second, dict) and first.keys() == second.keys():
        return max((largest_difference(first[key], second[key]) for key in first), default=0.0)
    if isinstance(first, (list, tuple)) and len(first) == len(second):
        return max((largest_difference(*pair) for pair in zip(first, second, strict=True)), default=0.0)
    return 0.0 if first == second else float("inf")
