"""Contenders that take turns: each prepared once in a process of its own, then timed A B A B.

A drifting machine is seen by all contenders of a row, and ratios are formed turn by turn. In a process of its own the
peak memory is the contender's; while one works, the others wait.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import statistics
import sys
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Protocol

from benchmarks.machine import peak_memory_gb, present_memory_gb
from gan3d_ns.errors import UserError, user_sentence

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
CLOSING_SECONDS = 30.0
SMALLEST_SECONDS = 1e-9
LARGE_MEMORY_GB = 2.0


@dataclass(frozen=True)
class TurnSettings:
    """How often and on what the turns are taken."""

    rounds: int = 5
    """Measured turns of each contender."""
    warm_up: int = 1
    """Turns of each before them, which do not count."""
    threads: int = 1
    """PyTorch's threads in each process."""
    device: str = "cpu"
    """cpu or cuda."""
    budget_seconds: float = 900.0
    """A row whose measured turns would take longer, judged by its warm-up, is skipped."""
    isolated: bool = True
    """Each contender in its own process; else all in this one, whose peak memory is then that of all."""


class Running(Protocol):
    """A prepared contender."""

    def turn(self) -> None:
        """The work that is timed."""
        ...

    def facts(self) -> dict[str, Any]:
        """What else there is to say after the turns; must survive pickling.

        `upkeep_seconds`, elapsed and of the processor, is work that the turns left out, for one unit.
        """
        ...


@dataclass(frozen=True)
class Contender(ABC):
    """Something to be timed: a small description that a new process can receive and prepare."""

    @property
    @abstractmethod
    def name(self) -> str:
        """How tables call it."""

    @property
    def units(self) -> float:
        """Units of work in a turn (steps, frames): times are given for one unit."""
        return 1.0

    @abstractmethod
    def prepare(self, device: str) -> Running:
        """Everything that a turn needs and that is not timed."""


@dataclass(frozen=True)
class Timing:
    """What the turns of a contender took."""

    name: str
    seconds: tuple[float, ...]
    """Elapsed, for one unit of work, one entry a round."""
    processor_seconds: tuple[float, ...]
    """The same in processor time, which other programs disturb less; on one thread the two agree if none run."""
    peak_memory_gb: float
    """Peak of the contender's process, or of its GPU memory."""
    memory_prepared_gb: float
    """Its memory before the first turn: libraries, networks and pictures."""
    prepare_seconds: float
    facts: dict[str, Any]

    @property
    def median(self) -> float:
        """Median seconds for a unit."""
        return statistics.median(self.seconds)

    def row(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        return {
            "name": self.name,
            "seconds": self.median,
            "seconds_range": [min(self.seconds), max(self.seconds)],
            "processor_seconds": statistics.median(self.processor_seconds),
            "turns": list(self.seconds),
            "peak_memory_gb": self.peak_memory_gb,
            "memory_prepared_gb": self.memory_prepared_gb,
            "prepare_seconds": self.prepare_seconds,
        }


class SkippedError(Exception):
    """A row that is not measured; the message says why."""


def ratio(slow: Timing, fast: Timing) -> dict[str, Any]:
    """How many times longer a unit of ``slow`` takes than one of ``fast``: median over the rounds and range."""

    def turn_by_turn(ours: tuple[float, ...], theirs: tuple[float, ...]) -> list[float]:
        return [a / max(b, SMALLEST_SECONDS) for a, b in zip(ours, theirs, strict=True)]

    ratios = turn_by_turn(slow.seconds, fast.seconds)
    work = turn_by_turn(slow.processor_seconds, fast.processor_seconds)
    return {
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "processor_ratio": statistics.median(work),
    }


def take_turns(contenders: Sequence[Contender], settings: TurnSettings) -> list[Timing]:
    """Times the contenders in turns.

    Raises:
        UserError: a contender cannot be prepared, with its sentence.
        SkippedError: the turns would take longer than the budget, or a contender failed in its process.
    """
    opener = _Worker if settings.isolated else _Local
    with ExitStack() as stack:
        workers = [stack.enter_context(closing(opener(contender, settings))) for contender in contenders]
        estimate = 0.0
        for _ in range(settings.warm_up):
            estimate = sum(worker.turn()[0] for worker in workers) * settings.rounds
        if estimate > settings.budget_seconds:
            raise SkippedError(f"would take {estimate:.0f} s, more than the budget of {settings.budget_seconds:.0f} s")
        turns = [[worker.turn() for worker in workers] for _ in range(settings.rounds)]
        results = [worker.finish() for worker in workers]
    timings = []
    for index, (contender, result) in enumerate(zip(contenders, results, strict=True)):
        peak, prepared, prepare_seconds, facts = result
        upkeep = facts.get("upkeep_seconds", (0.0, 0.0))
        elapsed, work = (tuple(turn[index][kind] / contender.units + upkeep[kind] for turn in turns) for kind in (0, 1))
        timings.append(Timing(contender.name, elapsed, work, peak, prepared, prepare_seconds, facts))
    return timings


class _Local:
    """A contender in this process."""

    def __init__(self, contender: Contender, settings: TurnSettings) -> None:
        self.device = settings.device
        start = time.perf_counter()
        self.running = contender.prepare(settings.device)
        self.prepare_seconds = time.perf_counter() - start
        self.memory_prepared = present_memory_gb()

    def turn(self) -> tuple[float, float]:
        """Elapsed seconds, and those that processors worked for this process."""
        self.wait_for_device()
        start, work = time.perf_counter(), time.process_time()
        self.running.turn()
        self.wait_for_device()
        return time.perf_counter() - start, time.process_time() - work

    def wait_for_device(self) -> None:
        if self.device == "cuda":
            import torch

            torch.cuda.synchronize()

    def finish(self) -> tuple[float, float, float, dict[str, Any]]:
        return peak_memory_gb(), self.memory_prepared, self.prepare_seconds, self.running.facts()

    def close(self) -> None:
        """Nothing to stop."""


class _Worker:
    """A contender in a process of its own, which answers one command at a time."""

    def __init__(self, contender: Contender, settings: TurnSettings) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, contender, settings), daemon=True)
        before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
        try:
            # Thread pools read these while libraries load, before any code of ours could set them.
            os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(settings.threads)))
            self.process.start()
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
        theirs.close()
        try:
            self.receive(f"the preparation of {contender.name}")
        except BaseException:
            self.close()
            raise

    def receive(self, doing: str) -> Any:
        try:
            kind, value = self.connection.recv()
        except EOFError as error:
            raise SkippedError(f"its process died (out of memory?) in {doing}") from error
        if kind == "user error":
            raise UserError(value)
        if kind == "error":
            # The other rows of a long run are still wanted; the whole story goes to the log.
            print(value, file=sys.stderr)
            raise SkippedError(f"it failed in {doing}: {value.strip().splitlines()[-1]}")
        return value

    def turn(self) -> tuple[float, float]:
        self.connection.send("turn")
        return self.receive("a turn")

    def finish(self) -> tuple[float, float, float, dict[str, Any]]:
        self.connection.send("finish")
        return self.receive("its report")

    def close(self) -> None:
        self.connection.close()
        self.process.join(CLOSING_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _serve(connection: Connection, contender: Contender, settings: TurnSettings) -> None:
    """The life of a worker: prepare, then turns until the other end closes."""
    import torch

    torch.set_num_threads(settings.threads)
    # What nerfstudio prints while it prepares would fall between the lines of the tables.
    sys.stdout = sys.stderr

    def answer(work: Callable[[], Any]) -> None:
        try:
            connection.send(("value", work()))
        except Exception as error:
            sentence = user_sentence(error)
            connection.send(("error", traceback.format_exc()) if sentence is None else ("user error", sentence))

    local: list[_Local] = []
    answer(lambda: local.append(_Local(contender, settings)))
    while True:
        try:
            command = connection.recv()
        except (EOFError, OSError):
            return
        answer(getattr(local[0], command))
        release_memory()


def release_memory() -> None:
    """Hands freed memory back to the system, so that the other contenders have it in their turns."""
    if present_memory_gb() < LARGE_MEMORY_GB:
        return
    # Systems without this function of glibc keep it.
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
