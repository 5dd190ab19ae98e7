"""Ctrl-C and SIGTERM end a training between two steps, with all that was learnt; a second Ctrl-C ends it at once."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Literal

PATIENCE_SECONDS = 10.0
"""How long a stop waits for the end of a step; steps of full sizes on a CPU can take minutes."""
RETRY_SECONDS = 0.05
SHOW_CURSOR = b"\x1b[?25h"
"""Progress bars hide it."""


class StopRequest:
    """What Ctrl-C and SIGTERM do while a training runs.

    As a context manager it takes the two signals over, in the main thread; elsewhere it changes nothing. A signal
    raises KeyboardInterrupt where no step is being computed. In a step it waits for the end, see `whole_step`, and
    after ten seconds it raises in the middle of the step, but never while weights are being changed, see `changing`.

    Args:
        may_leave: whether a process may stop by itself. Processes that wait for each other in every step must not:
            they agree at the end of one.
        noted: called when a signal waits.
    """

    def __init__(self, may_leave: Callable[[], bool] = lambda: True, noted: Callable[[], None] = lambda: None) -> None:
        self.may_leave, self.noted = may_leave, noted
        self.interrupts = 0
        """How often Ctrl-C was pressed, or the process that started this one has died."""
        self.by: signal.Signals | None = None
        """The first signal that asked for the end."""
        self.state: Literal["between", "computing", "changing", "ending"] = "between"
        self._overdue = False
        self._timer: threading.Timer | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) != signal.SIG_IGN:  # as of jobs in the background
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        self.ending()
        for number, handler in self._previous.items():
            # None: a handler that Python did not install, which it cannot put back either.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._previous.clear()

    @contextmanager
    def whole_step(self) -> Iterator[None]:
        """A signal that comes inside is noted, for the caller to look at `by` afterwards."""
        self.state = "computing"
        try:
            yield
        finally:
            self._cancel()
            self.state = "between"

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Weights inside are changed together: not even the end of the patience comes between them."""
        before, self.state = self.state, "changing"
        try:
            yield
        finally:
            self.state = before

    def ending(self) -> None:
        """What is left is saving and saying goodbye, which only a second Ctrl-C cuts short."""
        self._cancel()
        self.state = "ending"

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._run_out)
        self._timer.daemon = True
        self._timer.start()

    def _run_out(self) -> None:
        if self.by is not None:
            self._overdue = True
            _thread.interrupt_main(self.by)  # `_handle` in the main thread, on every platform

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        overdue, self._overdue = self._overdue, False
        if overdue:
            if self.state == "changing":
                self._wait(RETRY_SECONDS)
            elif self.state == "computing":
                raise KeyboardInterrupt
            return
        self.interrupts += number == signal.SIGINT
        if self.interrupts > 1:
            _leave_at_once(128 + number)
        if self.by is not None:
            return
        self.by = signal.Signals(number)
        if self.state == "ending":
            return
        leaving = self.may_leave()
        if leaving and self.state == "between":
            raise KeyboardInterrupt
        if leaving:
            self._wait(PATIENCE_SECONDS)
        self.noted()
        again = " Ctrl-C again ends it at once, without saving." if number == signal.SIGINT else ""
        _say(f"\n{self.by.name}: stopping after this step.{again}\n")


def _say(text: str) -> None:
    """Writes without the buffers of Python and the locks of the console, which the signal may have interrupted."""
    with suppress(OSError, ValueError):
        os.write(sys.__stderr__.fileno() if sys.__stderr__ is not None else 2, text.encode())


def _leave_at_once(status: int) -> None:
    if sys.__stderr__ is not None and sys.__stderr__.isatty():
        os.write(2, SHOW_CURSOR)
    os._exit(status)
