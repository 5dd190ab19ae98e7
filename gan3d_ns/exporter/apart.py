"""Slow compiled functions in a process of their own.

Open3D's decimation and xatlas hold Python's lock from their first second to their last: a viewer that exports in a
thread would stand still, and nobody could interrupt them. The start of the process costs a few seconds, and the main
thread, which holds up nobody, does without.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Optional

import numpy as np

POLL_SECONDS = 0.1
# The child finds modules where this process does, and never in the folder that the user happens to be in.
_START = (
    "import sys; sys.path[:] = sys.argv[1].split(sys.argv[2]); from gan3d_ns.exporter.apart import answer; answer()"
)


class WorkerError(RuntimeError):
    """The other process failed; the message is the end of what it said."""


def run_apart(
    function: str, arrays: dict[str, np.ndarray], tick: Optional[Callable[[], None]] = None
) -> dict[str, np.ndarray]:
    """What a function of this package makes of named arrays: in another process, unless this is the main thread.

    Args:
        function: "module:name" below `gan3d_ns.exporter`; it takes the arrays by name and returns a dictionary of
            arrays. Its module must not import torch, or the start takes seconds.
        arrays: keyword arguments.
        tick: called at the start, and several times a second while another process runs; what it raises ends that.

    Raises:
        WorkerError: the function failed in the other process.
    """
    if tick is not None:
        tick()
    if threading.current_thread() is threading.main_thread():
        return _function(function)(**arrays)
    with tempfile.TemporaryDirectory(prefix="gan3d_") as folder:
        question, reply, errors = (Path(folder) / name for name in ("question.npz", "reply.npz", "errors.txt"))
        np.savez(question, **arrays)  # pyright: ignore[reportArgumentType]
        places = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        command = [sys.executable, "-c", _START, places, os.pathsep, function, str(question), str(reply)]
        with errors.open("wb") as log:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            try:
                while True:
                    try:
                        child.wait(POLL_SECONDS)
                        break
                    except subprocess.TimeoutExpired:
                        if tick is not None:
                            tick()
            finally:
                if child.poll() is None:
                    child.kill()
                    child.wait()
        if child.returncode != 0 or not reply.is_file():
            said = errors.read_text(encoding="utf-8", errors="replace")
            raise WorkerError(f"{function} ended with {child.returncode}: {said[-400:]}")
        with np.load(reply) as results:
            return {name: results[name] for name in results.files}


def answer() -> None:
    """What the other process runs: reads the question named on its command line and writes the reply."""
    with np.load(sys.argv[4]) as question:
        arguments = {key: question[key] for key in question.files}
    np.savez(sys.argv[5], **_function(sys.argv[3])(**arguments))  # pyright: ignore[reportArgumentType]


def _function(name: str) -> Callable[..., dict[str, np.ndarray]]:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(f"gan3d_ns.exporter.{module}"), attribute)
