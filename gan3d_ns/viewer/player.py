"""Something that moves by itself until it is stopped, such as the slider between two objects."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

FRAME_S = 0.1
"""Seconds between two steps: about as often as a CPU shows a small picture."""
ONE_WAY_S = 5.0
"""Seconds from one end to the other."""


def there_and_back(seconds: float, one_way: float = ONE_WAY_S) -> float:
    """Where something is after some seconds that moves evenly from 0 to 1 and back, for ever."""
    phase = (seconds / one_way) % 2.0
    return phase if phase <= 1.0 else 2.0 - phase


class Player:
    """Calls ``show`` with an amount in [0, 1] that goes there and back, in a thread of its own.

    Args:
        show: takes the amount.
    """

    def __init__(self, show: Callable[[float], None]) -> None:
        self.show = show
        self.stopping = threading.Event()
        self.thread: threading.Thread | None = None

    @property
    def playing(self) -> bool:
        """Whether it moves."""
        return self.thread is not None and self.thread.is_alive() and not self.stopping.is_set()

    def play(self, start: float = 0.0) -> None:
        """Starts at an amount, towards 1; nothing happens while it plays."""
        if not self.playing:
            self.stopping = threading.Event()
            self.thread = threading.Thread(target=self.run, args=(start, self.stopping), daemon=True)
            self.thread.start()

    def pause(self) -> None:
        """Stops where it is."""
        self.stopping.set()

    def run(self, start: float, stopping: threading.Event) -> None:
        """The thread: one step at a time."""
        began = time.monotonic() - start * ONE_WAY_S
        while not stopping.wait(FRAME_S):
            self.show(there_and_back(time.monotonic() - began))
