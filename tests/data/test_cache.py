"""Folders appear whole or not at all."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gan3d_ns.data.cache import ABANDONED_AFTER_SECONDS, cache_root, publish_folder


def is_complete(folder: Path) -> bool:
    return (folder / "b").is_file()


def build(folder: Path) -> None:
    (folder / "a").write_text("1")
    (folder / "b").write_text("2")


def test_the_variable_moves_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GAN3D_CACHE", str(tmp_path))
    assert cache_root() == tmp_path
    monkeypatch.delenv("GAN3D_CACHE")
    assert cache_root().name.startswith("gan3d_ns") or cache_root().parent.name == "gan3d_ns"


def test_a_build_that_dies_leaves_nothing(tmp_path: Path) -> None:
    def dies(folder: Path) -> None:
        (folder / "a").write_text("1")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish_folder(tmp_path / "target", dies, is_complete)
    assert not list(tmp_path.iterdir())


def test_a_complete_folder_is_not_built_again(tmp_path: Path) -> None:
    publish_folder(tmp_path / "target", build, is_complete)

    def fails(folder: Path) -> None:
        raise AssertionError

    assert is_complete(publish_folder(tmp_path / "target", fails, is_complete))


def test_a_damaged_folder_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "stale").touch()
    publish_folder(tmp_path / "target", build, is_complete)
    assert sorted(file.name for file in (tmp_path / "target").iterdir()) == ["a", "b"]


def test_racing_builds_all_find_a_complete_folder(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        targets = list(pool.map(lambda _: publish_folder(tmp_path / "target", build, is_complete), range(32)))
    assert all(is_complete(target) for target in targets)
    assert [entry.name for entry in tmp_path.iterdir()] == ["target"]


def test_killed_builds_are_swept_away_after_a_day(tmp_path: Path) -> None:
    old, young = tmp_path / ".target.partial-1", tmp_path / ".target.partial-2"
    old.mkdir()
    young.mkdir()
    long_ago = os.stat(old).st_mtime - 2 * ABANDONED_AFTER_SECONDS
    os.utime(old, (long_ago, long_ago))
    publish_folder(tmp_path / "target", build, is_complete)
    assert not old.exists()
    assert young.exists()
