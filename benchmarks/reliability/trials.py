"""Feeding hostile input to the package and counting what came of it."""

import hashlib
import time
import traceback
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, List, Tuple, Type

import numpy as np

from gan3d_ns.errors import UserError

Trial = Tuple[str, Callable[[], Any]]
"""What the input is, and what reads it."""
CLEAR_REFERENCES, PROCESS_STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@dataclass
class Tally:
    """What came of one kind of input."""

    kind: str
    tried: int = 0
    used: int = 0
    refused: int = 0
    tracebacks: List[str] = field(default_factory=list)
    """The input and where the error came from."""
    changed: List[str] = field(default_factory=list)
    """Files that were there before and are not as they were, or that hostile code has made."""
    seconds: float = 0.0
    peak_mb: float = float("nan")
    """Most memory above that of the start; NaN where the system does not tell."""
    sentences: List[str] = field(default_factory=list)
    """What the refusals said."""

    @property
    def good(self) -> bool:
        """Whether nothing went wrong."""
        return not self.tracebacks and not self.changed


def contents(folder: Path) -> dict[str, str]:
    """A hash of every regular file below a folder, by its path."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            found[ascii(str(path.relative_to(folder)))] = hashlib.blake2b(path.read_bytes()).hexdigest()
    return found


def feed(
    kind: str, trials: Iterable[Trial], watched: Path, refusals: Tuple[Type[BaseException], ...] = (UserError,)
) -> Tally:
    """Runs every trial: it may use its input, or refuse it with a sentence; anything else counts against it.

    Args:
        kind: for the table.
        trials: what to feed, made one by one.
        watched: a folder whose files must stay as they are; what appears in it was made by hostile code.
        refusals: errors that say what is wrong with the input.
    """
    tally, before = Tally(kind), contents(watched)
    with measured(tally):
        for name, read in trials:
            tally.tried += 1
            try:
                read()
                tally.used += 1
            except refusals as refusal:
                tally.refused += 1
                tally.sentences.append(str(refusal))
                if not str(refusal).strip() or len(str(refusal)) > 2000:
                    tally.tracebacks.append(f"{name}: refused with {len(str(refusal))} letters")
            except Exception as error:
                place = traceback.extract_tb(error.__traceback__)[-1]
                tally.tracebacks.append(
                    f"{name}: {type(error).__name__}: {str(error)[:200]} ({Path(place.filename).name}:{place.lineno})"
                )
    after = contents(watched)
    tally.changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return tally


@contextmanager
def measured(tally: Tally) -> Iterator[None]:
    """Time and peak memory of the block."""
    start, base = time.perf_counter(), memory_mb("VmRSS")
    try:
        CLEAR_REFERENCES.write_text("5", encoding="utf-8")  # from here on Linux counts the peak anew
    except OSError:
        base = float("nan")
    yield
    tally.seconds = time.perf_counter() - start
    tally.peak_mb = memory_mb("VmHWM") - base


def memory_mb(entry: str) -> float:
    """Memory of this process now (VmRSS) or at most (VmHWM), in MB; NaN where the system does not tell."""
    try:
        lines = PROCESS_STATUS.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{entry}:"))
    except (OSError, StopIteration):
        return float("nan")


def damaged(content: bytes, randomness: np.random.Generator) -> Tuple[str, bytes]:
    """A damaged copy of a file's content, and what was done to it."""
    data, size = bytearray(content), len(content)
    place = int(randomness.integers(size))
    length = int(randomness.integers(1, 1 + min(64, size)))
    kind = randomness.choice(["cut", "bits", "bytes", "number", "removed", "repeated", "swapped"])
    if kind == "cut":
        del data[place:]
    elif kind == "bits":
        for spot in randomness.integers(0, size, length):
            data[spot] ^= 1 << int(randomness.integers(8))
    elif kind == "bytes":
        data[place : place + length] = randomness.bytes(length)
    elif kind == "number":
        data[place : place + 4] = randomness.choice([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"])
    elif kind == "removed":
        del data[place : place + length]
    elif kind == "repeated":
        data[place:place] = data[max(0, place - length) : place] * 3
    else:
        other = int(randomness.integers(size))
        data[place : place + length] = content[other : other + length]
    return f"{kind} at {place} of {size}", bytes(data)
