"""The table of compactness, from a run on disk."""

from __future__ import annotations

import math

import pytest
from tiny_runs import make_tiny_run

from benchmarks.compactness import COLUMNS, CompactnessTable
from gan3d_ns.errors import UserError


def test_one_row_for_each_run(tmp_path, capsys):
    run = make_tiny_run("gof-gan-tiny", tmp_path)
    table = CompactnessTable((run, run.parent), num_seeds=2, resolution=8)
    first, second = table.rows()
    assert first == second
    assert math.isfinite(first["published"]) and 0.0 < first["published_counted"] <= 1.0
    table.main()
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[-1].count("|") == len(COLUMNS) + 1
    assert "gof-gan-tiny" in lines[-1]


def test_nothing_to_measure_is_said():
    with pytest.raises(UserError, match="at least one run"):
        CompactnessTable(()).main()
