"""The user's cache folder: what this package computes once and may compute again."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import platformdirs

CACHE_VARIABLE = "GAN3D_CACHE"
"""Environment variable that moves the cache folder."""
ABANDONED_AFTER_SECONDS = 24 * 3600
"""Age at which an unfinished build of another process counts as killed."""


def cache_root() -> Path:
    """Return the cache folder: $GAN3D_CACHE where set, else the user's cache folder of the platform."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("gan3d_ns", appauthor=False))


def publish_folder(target: Path, build: Callable[[Path], None], is_complete: Callable[[Path], bool]) -> Path:
    """Return `target`, built by `build` unless it is complete already.

    `build` fills a hidden folder beside the target, which is renamed at the end: a killed build leaves no half target,
    and of two processes that build at the same time one wins and both find a complete folder.

    Args:
        target: the folder to have.
        build: fills the empty folder that it is given.
        is_complete: whether a folder holds all that it should; an incomplete target is replaced.

    Raises:
        OSError: where the folder cannot be written.
    """
    if is_complete(target):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned_builds(target)
    partial = target.parent / f".{target.name}.partial-{uuid.uuid4().hex}"
    partial.mkdir()
    try:
        build(partial)
        if target.exists() and not is_complete(target):
            # Renamed before it is deleted, so that nobody meets it half deleted.
            damaged = target.parent / f".{target.name}.partial-{uuid.uuid4().hex}"
            target.rename(damaged)
            shutil.rmtree(damaged, ignore_errors=True)
        try:
            partial.rename(target)
        except OSError:
            if not is_complete(target):
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _remove_abandoned_builds(target: Path) -> None:
    for partial in target.parent.glob(f".{target.name}.partial-*"):
        try:
            age = time.time() - partial.stat().st_mtime
        except OSError:
            # Its own process has just finished with it.
            continue
        if age > ABANDONED_AFTER_SECONDS:
            shutil.rmtree(partial, ignore_errors=True)
