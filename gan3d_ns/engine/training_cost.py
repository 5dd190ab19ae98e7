"""What a training has cost so far: it stands in every checkpoint, so that quality can be drawn against time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class TrainingCost:
    """Time spent in training steps, with the sample panels and checks that come with them."""

    wall_seconds: float = 0.0
    """By the clock on the wall."""
    cpu_seconds: float = 0.0
    """By the process's CPU clock, all threads together."""

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Adds the time that the block takes, also where it fails."""
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.wall_seconds += time.perf_counter() - wall
            self.cpu_seconds += time.process_time() - cpu
