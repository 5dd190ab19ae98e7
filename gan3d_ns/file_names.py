"""Names for files that must not replace others."""

from __future__ import annotations

import re
from pathlib import Path

RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that are devices on Windows, with any suffix."""
LONGEST_STEM = 150
"""Bytes; file systems stop at 255, and files of several parts add to their names."""


def free_path(folder: Path, stem: str, suffix: str) -> Path:
    """A path in the folder at which there is no file yet; letters that file systems dislike become underscores."""
    letters = re.sub(r"[^\w.+-]", "_", stem).encode("utf-8", "replace")[:LONGEST_STEM]
    stem, number = letters.decode("utf-8", "ignore") or "object", 1
    if RESERVED.fullmatch(stem):
        stem = f"_{stem}"
    path = folder / f"{stem}{suffix}"
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}{suffix}"
    return path
