"""Reading .npz files that may be torn, or made to harm."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

LONGEST_REASON = 200
MOST_BYTES = 1 << 31
"""Of all arrays of a file together, unpacked."""


@contextmanager
def open_arrays(path: Path) -> Iterator[Mapping[str, Any]]:
    """The arrays in a file, each read when it is asked for; no pickles.

    Raises:
        OSError: it cannot be read.
        KeyError: an array that is asked for is missing.
        ValueError: it is no such file, or the body cannot use what it holds.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            total = sum(entry.file_size for entry in archive.infolist())
        if total > MOST_BYTES:
            raise ValueError(f"it unpacks to {total >> 20} MiB")
        with np.load(path, allow_pickle=False) as arrays:
            yield arrays
    except (
        *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError),
        *(ValueError, TypeError, AttributeError, IndexError, OverflowError, SyntaxError, MemoryError),
    ) as error:
        raise ValueError((str(error) or type(error).__name__)[:LONGEST_REASON]) from error
