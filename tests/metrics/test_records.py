"""Records keep all that they depend on, and files of them say what is wrong."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from gan3d_ns.errors import UserError
from gan3d_ns.metrics.records import Measured, Record, Subject, as_json, from_json, read_measured

FID = Record(
    "fid",
    12.5,
    {"features": "small", "features_sha256": "abcdef0123456789", "resolution": 32, "generated": 100},
    better="lower",
    floor=3.25,
    floor_between="real, real",
)
VARIANCE = Record("depth_variance", math.nan, {"objects": 2, "weights": None}, unit="m2", deviation=None)
SUBJECT = Subject("gof-gan-tiny", "cats", "today", 100, 12.0, 24.0)


def test_values_of_other_networks_and_sizes_have_other_headings():
    headings = {
        FID.heading,
        replace(FID, protocol={**FID.protocol, "features": "large"}).heading,
        replace(FID, protocol={**FID.protocol, "features_sha256": "ffff"}).heading,
        replace(FID, protocol={**FID.protocol, "resolution": 64}).heading,
    }
    assert len(headings) == 4
    assert replace(FID, protocol={**FID.protocol, "generated": 50}).heading == FID.heading
    assert VARIANCE.heading == "depth_variance"
    assert replace(VARIANCE, protocol={"resolution": 64}).heading == "depth_variance [64 px]"


def test_what_is_written_is_read_again():
    written = [Measured(SUBJECT, [FID, VARIANCE], {"pictures": {"seed": 0}})]
    text = as_json(written)
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    (read,) = from_json(text, "the text")
    assert read.subject == SUBJECT and read.settings == {"pictures": {"seed": 0}}
    assert read.records[0] == FID
    assert math.isnan(read.records[1].value) and read.records[1].protocol == VARIANCE.protocol
    assert as_json([read]) == text


def test_a_measurement_replaces_its_older_results_alone():
    entry = Measured(SUBJECT, []).with_measure("pictures", [FID], {"seed": 0})
    entry = entry.with_measure("compactness", [VARIANCE], {})
    entry = entry.with_measure("compactness", [VARIANCE], {})
    entry = entry.with_measure("pictures", [replace(FID, value=7.0)], {"seed": 1})
    assert [(record.metric, record.measure) for record in entry.records] == [
        ("depth_variance", "compactness"),
        ("fid", "pictures"),
    ]
    assert entry.settings["pictures"] == {"seed": 1}
    found = entry.record("fid")
    assert found is not None and found.value == 7.0


def test_results_of_two_networks_stay_beside_each_other():
    other = replace(FID, protocol={**FID.protocol, "features": "large"})
    entry = Measured(SUBJECT, []).with_measure("pictures", [FID], {}, "pictures small")
    entry = entry.with_measure("pictures", [other], {}, "pictures large")
    assert [record.heading for record in entry.records] == [FID.heading, other.heading]
    assert set(entry.settings) == {"pictures small", "pictures large"}


def test_infinity_is_no_json():
    record = Record("fid", math.inf, {"offset": math.nan}, floor=math.inf)
    (read,) = from_json(as_json([Measured(SUBJECT, [record])]), "the text")
    assert math.isnan(read.records[0].value) and read.records[0].protocol == {"offset": None}


def test_a_metric_of_two_networks_is_asked_for_by_its_heading():
    other = replace(FID, value=1.0, protocol={**FID.protocol, "features": "large"})
    entry = Measured(SUBJECT, [FID, other])
    assert entry.record("fid") is None
    assert entry.record(other.heading) == other


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"results": [{"subject": {}}]}',
        '{"results": 3}',
        '{"format": 9, "results": []}',
        '{"format": 1, "results": [3]}',
    ],
)
def test_other_files_are_refused(content, tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text(content)
    with pytest.raises(UserError, match="holds no results"):
        read_measured(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.json cannot be read"):
        read_measured(tmp_path / "nowhere.json")
