"""One run for all tests of the commands."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_runs import make_tiny_run


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """config.yml of a run of two steps, whose pictures are gone; not to be changed."""
    folder = tmp_path_factory.mktemp("tiny")
    config = make_tiny_run("gof-gan-tiny", folder)
    shutil.rmtree(folder / "pictures")
    return config


@pytest.fixture
def copied_run(tiny_run: Path, tmp_path: Path) -> Path:
    """config.yml of a copy of the run that a test may damage."""
    shutil.copytree(tiny_run.parent, tmp_path / "moved")
    return tmp_path / "moved" / "config.yml"
