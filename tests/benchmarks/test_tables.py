"""Tables, the file of measurements, and the page that is made from it."""

from __future__ import annotations

import json
import math

import pytest
import torch

from benchmarks.__main__ import PARTS, Report, Run, chosen_device
from benchmarks.machine import machine
from benchmarks.parts import skipped
from benchmarks.pictures import psnr
from benchmarks.tables import read_results, save_results, table_head, table_line
from gan3d_ns.errors import UserError


def measured(**row):
    return {"part": "frames", **machine(1, "cpu"), "protocol": "1 turn", "elapsed_seconds": 60.0, "rows": [row]}


def test_measurements_say_what_they_were_taken_with():
    facts = machine(1, "cpu")
    assert facts["machine"]["processor"]
    assert facts["machine"]["threads"] == 1
    assert facts["machine"]["memory_gb"] > 0
    assert {"python", "torch", "nerfstudio", "nerfacc", "tinycudann"} <= facts["versions"].keys()
    assert facts["versions"]["torch"] == torch.__version__
    assert facts["code"].keys() == {"commit", "dirty"}
    json.dumps(facts)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_every_line_of_a_table_has_all_columns(part):
    bars = table_head(part.columns).splitlines()[0].count("|")
    for row in ({}, {"name": "x", "seconds": 1.0, "seconds_range": [0.5, 2.0]}, skipped("x", "too slow")):
        assert table_line(part.columns, row).count("|") == bars


def test_a_part_measured_again_replaces_the_old_one(tmp_path):
    file = tmp_path / "deep" / "results.json"
    save_results(file, "frames, CPU", measured(name="old"))
    save_results(file, "growth, CPU", measured(name="other"))
    save_results(file, "frames, CPU", measured(name="new"))
    parts = read_results(file)
    assert {key: part["rows"][0]["name"] for key, part in parts.items()} == {
        "frames, CPU": "new",
        "growth, CPU": "other",
    }


def test_the_page_holds_the_numbers_and_their_origin(tmp_path):
    file, page = tmp_path / "results.json", tmp_path / "RESULTS.md"
    part = measured(name="latent grid", seconds=0.1234, seconds_range=[0.1, 0.2], psnr=41.26, run="a run")
    save_results(file, "frames, CPU", part)
    Report(file, page).main()
    text = page.read_text()
    assert "0.123 (0.100-0.200)" in text
    assert "| 41.3 |" in text
    assert part["machine"]["processor"] in text
    assert (part["code"]["commit"] or "unknown")[:10] in text
    Report(file, page).main()
    assert page.read_text() == text


def test_bad_files_of_measurements_are_refused(tmp_path):
    with pytest.raises(UserError, match="python -m benchmarks run"):
        read_results(tmp_path / "none.json")
    for content in ("{", "[]", '{"parts": {"x": {"rows": []}}}'):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(UserError, match="does not hold measurements"):
            read_results(tmp_path / "bad.json")


def test_psnr():
    picture = torch.rand(4, 4, 3)
    assert psnr(picture, picture.clone()) == math.inf
    assert psnr(picture, picture + 0.1) == pytest.approx(20.0, abs=1e-4)


def test_the_command_refuses_what_it_does_not_know(tmp_path):
    with pytest.raises(UserError, match="no part speed; choose among training"):
        Run(parts=("speed",)).main()
    with pytest.raises(UserError, match="no device tpu"):
        chosen_device("tpu")
    with pytest.raises(UserError, match="no run at"):
        Run(parts=("frames",), run=(tmp_path / "nothing",), quick=True, output=tmp_path / "out.json").main()
    with pytest.raises(UserError, match="needs --run"):
        Run(parts=("meshes",), output=tmp_path / "out.json").main()
