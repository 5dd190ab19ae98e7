"""The soak: what it makes of samples, and a short one with browsers that come and go."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.reliability.soak import Bounds, Sample, Soak, complaints, draw, summary, write_table
from gan3d_ns.errors import UserError
from gan3d_ns.viewer import camera_home

FLAT = [
    Sample(seconds=index, step=10 * index, memory_mb=500.0, threads=9, files=12, clients=0, render_threads=0, blocks=7)
    for index in range(101)
]


def growing(name: str, per_step: float) -> list[Sample]:
    return [replace(entry, **{name: getattr(entry, name) + per_step * entry.step}) for entry in FLAT]


def test_a_flat_training_is_within_the_bounds():
    figures = summary(FLAT)
    assert figures["mb_per_1000_steps"] == pytest.approx(0.0, abs=1e-9)
    assert figures["steps_per_second_first"] == pytest.approx(10.0)
    assert figures["steps_per_second_last"] == pytest.approx(10.0)
    assert complaints(figures, Bounds()) == []


def test_growth_is_found_and_its_amount():
    figures = summary(growing("memory_mb", 0.05))
    assert figures["mb_per_1000_steps"] == pytest.approx(50.0)
    assert complaints(figures, Bounds()) == ["memory grows by 50.0 MB per 1,000 steps"]


@pytest.mark.parametrize("name", ["threads", "files"])
def test_threads_and_files_that_stay_are_found_and_visitors_are_not(name: str):
    visitors = [
        replace(entry, **{name: getattr(entry, name) + 30 * (index % 3 > 0)}) for index, entry in enumerate(FLAT)
    ]
    assert complaints(summary(visitors), Bounds()) == []
    left = [replace(entry, **{name: getattr(entry, name) + entry.step // 50}) for entry in FLAT]
    (sentence,) = complaints(summary(left), Bounds())
    assert name in sentence


def test_a_slowdown_is_found():
    slower = [replace(entry, seconds=entry.seconds + 0.02 * index**2) for index, entry in enumerate(FLAT)]
    assert complaints(summary(slower), Bounds()) == ["steps have become slower"]
    assert complaints(summary(slower), Bounds(slowest=0.0)) == []


def test_too_few_samples_say_nothing(tmp_path: Path):
    with pytest.raises(UserError, match="--sample-every"):
        summary(FLAT[:5])
    with pytest.raises(UserError, match="--steps"):
        Soak(steps=3, output=tmp_path).main()


def test_the_samples_are_kept_as_a_table_and_curves(tmp_path: Path):
    write_table(FLAT, tmp_path / "table.csv")
    lines = (tmp_path / "table.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("seconds,step,memory_mb,threads,files")
    assert len(lines) == len(FLAT) + 1
    draw(FLAT, tmp_path / "curves.png", "title")
    assert (tmp_path / "curves.png").stat().st_size > 5000


def test_a_short_soak_leaves_no_threads_and_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Memory has a wide bound: the first evaluations load what later ones use again."""
    importlib.import_module("nerfstudio.engine.trainer")  # first: its modules import each other in a circle
    from nerfstudio.utils import writer

    monkeypatch.setattr(camera_home, "CPU_MAX_RES", 48)
    writer.EVENT_WRITERS.clear()
    soak = Soak(
        steps=120, save_every=40, evaluate_every=20, visit_every=1.0, sample_every=0.1, output=tmp_path, threads=1
    )
    try:
        samples = soak.watch()
    finally:
        writer.EVENT_WRITERS.clear()
    visits = [json.loads(line) for line in (tmp_path / "visits.jsonl").read_text("utf-8").splitlines()]
    assert len(visits) >= 2
    assert all(visit["pictures"] for visit in visits), visits
    figures = summary(samples)
    assert figures["steps"] == 120
    assert complaints(figures, Bounds(mb_per_1000_steps=float("inf"), slowest=0.0)) == []
    late = [entry.memory_mb for entry in samples if entry.step > 90]
    assert late[-1] - late[0] < 60.0
    assert max(entry.render_threads for entry in samples) >= 1
