"""Tables and plot of several runs: nothing that cannot be compared stands in one column, and nothing gets lost."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace

import imageio.v3 as imageio
import numpy as np
import pytest

from gan3d_ns.errors import UserError
from gan3d_ns.metrics.comparison import as_csv, markdown, shown, shown_number
from gan3d_ns.metrics.quality_plot import chosen_heading, quality_plot
from gan3d_ns.metrics.records import Measured, Record, Subject


def fid(value: float, network: str = "small", generated: int = 100) -> Record:
    protocol = {"features": network, "features_sha256": network * 8, "resolution": 32, "generated": generated}
    return Record("fid", value, protocol, better="lower", floor=2.0, floor_between="real pictures", measure="pictures")


def relief(value: float) -> Record:
    return Record("relief", value, {"objects": 3}, unit="world units", deviation=0.5, deviation_over="objects")


def run(method: str, step: int, *records: Record, data: str = "cats", seconds: float | None = 60.0) -> Measured:
    return Measured(Subject(method, data, "r", step, seconds, seconds), records)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def table_of(text: str, title: str) -> list[list[str]]:
    section = text.split(f"## {title}\n")[1].split("\n## ")[0]
    return [cells(line) for line in section.splitlines() if line.startswith("|")]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1234.567, "1235"),
        (12.3456, "12.3"),
        (-0.0123456, "-0.0123"),
        (1e-12, "1.00e-12"),
        (math.nan, "-"),
        (None, "-"),
        (math.inf, "inf"),
    ],
)
def test_numbers_have_three_digits(value, text):
    assert shown_number(value) == text


def test_a_cell_shows_deviation_and_floor():
    assert shown(replace(fid(12.0), deviation=0.5)) == "12.0 ± 0.500 (2.00)"
    assert shown(None) == ""


def test_networks_have_columns_of_their_own():
    table = table_of(markdown([run("a", 1, fid(10.0)), run("b", 1, fid(20.0, "large"))]), "pictures")
    head, rows = table[0], table[2:]
    small, large = (next(i for i, title in enumerate(head) if name in title) for name in ("small", "large"))
    assert small != large
    assert rows[0][small].startswith("10.0") and rows[0][large] == ""
    assert rows[1][large].startswith("20.0") and rows[1][small] == ""


def test_protocols_that_differ_are_told_row_by_row():
    text = markdown([run("a", 1, fid(10.0)), run("b", 1, fid(20.0, generated=50))])
    assert "- cats a r 1: generated 100" in text and "- cats b r 1: generated 50" in text
    shared = next(line for line in text.splitlines() if line.startswith("Protocol:"))
    assert "resolution 32" in shared and "generated" not in shared
    alike = markdown([run("a", 1, fid(10.0)), run("b", 1, fid(20.0))])
    assert "generated 100" in next(line for line in alike.splitlines() if line.startswith("Protocol:"))


def test_every_measurement_has_its_table():
    text = markdown([run("a", 1, fid(1.0), replace(relief(2.0), measure="health"))])
    assert table_of(text, "pictures")[2][4] == "1.00"  # CPU minutes
    assert table_of(text, "health")[2][-1] == "2.00 ± 0.500"
    assert "- relief: ± over objects" in text and "- fid: in brackets the floor: real pictures" in text


def test_csv_has_a_line_for_each_record_with_its_protocol():
    measured = [run("b", 2, fid(1.5), relief(math.nan)), run("a", 1, fid(3.0), seconds=None)]
    rows = list(csv.DictReader(io.StringIO(as_csv(measured))))
    assert [(row["method"], row["metric"]) for row in rows] == [("a", "fid"), ("b", "fid"), ("b", "relief")]
    assert float(rows[1]["value"]) == 1.5 and float(rows[1]["floor"]) == 2.0
    assert rows[0]["cpu_seconds"] == "" and rows[2]["value"] == "nan"
    assert json.loads(rows[1]["protocol"])["features"] == "small"


def test_the_plot_draws_what_was_asked_for():
    measured = [run("a", step, fid(10.0 / step), relief(1.0), seconds=60.0 * step) for step in (1, 2, 3)]
    picture = imageio.imread(quality_plot(measured, "relief"))
    assert picture.ndim == 3 and np.ptp(picture[..., :3]) > 100
    assert chosen_heading(measured, None).startswith("fid")
    with pytest.raises(UserError, match=r"no kid to draw; measured were: fid .*, relief"):
        quality_plot(measured, "kid")


def test_the_plot_tells_values_apart():
    plots = [quality_plot([run("a", step, fid(value)) for step in (1, 2)]) for value in (5.0, 5.0, 9.0)]
    same, _, other = (imageio.imread(plot) for plot in plots)
    assert (same == imageio.imread(plots[1])).all()
    assert same.shape != other.shape or (same != other).any()
    wide = quality_plot([run("a", 1, fid(1.0)), run("a", 1, fid(1.0), data="cars")])
    assert imageio.imread(wide).shape[1] > 1.5 * same.shape[1]


def test_nothing_finite_is_said():
    with pytest.raises(UserError, match="no run has a finite fid"):
        quality_plot([run("a", 1, fid(math.nan))])
