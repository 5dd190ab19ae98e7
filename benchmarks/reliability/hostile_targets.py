"""Places where nothing can be written, for everything that writes: refused, and what is there stays."""

import contextlib
import os
import signal
from pathlib import Path
from typing import Any, Callable, Iterator, Tuple

import numpy as np

from benchmarks.reliability.hostile_settings import quietly
from benchmarks.reliability.trials import Trial

KEPT = b"an earlier file"
SMALL_FILES = 2000
"""Bytes to which files are limited where writing is to fail half-way."""


def writers() -> dict[str, Tuple[str, Callable[[Path], Any]]]:
    """What writes: the suffix of its file ("" for folders), and the function that does it."""
    from gan3d_ns.exporter.mesh import Mesh
    from gan3d_ns.exporter.video_file import require_video_path, write_video
    from gan3d_ns.exporter.writers import require_folder, require_target, write_atomically, write_mesh
    from gan3d_ns.scripts.collection import Scenes, ToyCars
    from gan3d_ns.scripts.evaluate import write_comparison

    mesh = Mesh(np.random.default_rng(0).random((900, 3), dtype=np.float32), np.arange(900).reshape(300, 3))
    frames = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3), dtype=np.uint8)
    return {
        "a mesh (.glb)": (".glb", lambda path: write_mesh(mesh, path)),
        "a mesh (.ply)": (".ply", lambda path: write_mesh(mesh, path)),
        "a mesh (.obj)": (".obj", lambda path: write_mesh(mesh, path)),
        "a file": (".png", lambda path: write_atomically(path, bytes(10_000))),
        "the look before a picture": (".png", require_target),
        "the look before a film": (".mp4", lambda path: require_video_path(path, 30)),
        "a film (.gif)": (".gif", lambda path: write_video(path, frames, 30)),
        "the look before meshes": ("", require_folder),
        "a comparison": ("", lambda path: write_comparison([], path, None)),
        "toy cars": ("", lambda path: quietly(ToyCars(output=path, num_images=2, resolution=8).main)),
        "scenes": ("", lambda path: quietly(Scenes(output=path, num_images=2, resolution=8).main)),
    }


def hostile_targets(folder: Path, kept: Path) -> Iterator[Trial]:
    """Every writer at every place.

    Args:
        folder: to make, for what is written all the same.
        kept: a folder with files that must stay as they are.
    """
    folder.mkdir()
    for name, (suffix, write) in writers().items():
        for what, path in places(folder / name.replace(" ", "-").strip(".()"), kept, suffix):
            yield f"{name}: {what}", lambda path=path, write=write: write(path)
    for name, (suffix, write) in writers().items():
        if suffix and "look" not in name:
            path = kept / f"earlier{suffix}"
            yield f"{name}: the disk is full half-way", lambda path=path, write=write: with_small_files(write, path)


def places(folder: Path, kept: Path, suffix: str) -> Iterator[tuple[str, Path]]:
    """Paths at which nothing can be written."""
    folder.mkdir()
    (folder / "folder").mkdir()
    (folder / f"folder{suffix}").mkdir(exist_ok=True)
    (folder / f"folder{suffix}" / "file").write_bytes(KEPT)
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("nowhere/at/all")
    yield "below a file", kept / "file" / f"a{suffix}"
    yield "deep below a file", kept / "file" / "b" / "c" / f"a{suffix}"
    if suffix:
        yield "a folder", folder / f"folder{suffix}"
    else:
        yield "a file", kept / "file"
    yield "below a link to itself", folder / "loop" / f"a{suffix}"
    yield "a path of 5,000 letters", folder / ("x" * 5000 + suffix)
    yield "5,000 letters in folders", folder.joinpath(*["x" * 100] * 50) / f"a{suffix}"
    yield "a zero byte", folder / f"a\0b{suffix}"
    yield "a zero byte in a folder", folder / "a\0b" / f"c{suffix}"
    for system in ("/proc", "/sys"):
        if Path(system).is_dir():
            yield f"in {system}", Path(system) / f"gan3d{suffix}"
            yield f"a folder in {system}", Path(system) / "gan3d" / f"a{suffix}"
    yield "below a device", Path(os.devnull) / f"a{suffix}"
    if suffix and hasattr(os, "mkfifo"):
        os.mkfifo(folder / f"pipe{suffix}")
        yield "a pipe", folder / f"pipe{suffix}"
        (folder / f"device{suffix}").symlink_to("/dev/full")
        yield "a full device", folder / f"device{suffix}"


def with_small_files(write: Callable[[Path], Any], path: Path) -> None:
    """Writes while the system refuses larger files, as a full disk does."""
    try:
        import resource
    except ImportError:
        return
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL_FILES, limits[1]))
    try:
        write(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def keep_files(kept: Path) -> None:
    """Earlier files that every writer could meet."""
    kept.mkdir(parents=True, exist_ok=True)
    for name in ("file", *(f"earlier{suffix}" for suffix in (".glb", ".ply", ".obj", ".png", ".gif"))):
        with contextlib.suppress(FileExistsError), (kept / name).open("xb") as stream:
            stream.write(KEPT)
