"""Names for files that must not replace others."""

from __future__ import annotations

import re
from pathlib import Path


def free_path(folder: Path, stem: str, suffix: str) -> Path:
    """A path in the folder at which there is no file yet; letters that file systems dislike become underscores."""
    stem, number = re.sub(r"[^\w.+-]", "_", stem) or "object", 1
    path = folder / f"{stem}{suffix}"
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}{suffix}"
    return path
