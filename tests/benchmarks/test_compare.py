"""The comparison of methods on the page of results: its part is replaced, the other part stays."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import COMPARISON_HEADING, Compare, comparison_on
from gan3d_ns.errors import UserError
from gan3d_ns.metrics.records import Measured, Record, Subject, as_json


def results_file(folder, value):
    record = Record("relief", value, {"objects": 2}, measure="health")
    file = folder / "comparison.json"
    file.write_text(as_json([Measured(Subject("gof-gan-tiny", "cats", "s1", 3, cpu_seconds=900.0), [record])]))
    return file


def test_the_comparison_is_replaced_and_the_rest_stays(tmp_path):
    page, claims = tmp_path / "RESULTS.md", tmp_path / "claims.md"
    page.write_text("# Measurements\n\n## Speed\n\nfast\n")
    claims.write_text("GOF is compact.\n")
    for value in (0.125, 0.25):
        Compare(results_file(tmp_path, value), claims, page).main()
    text = page.read_text()
    assert text.startswith("# Measurements\n\n## Speed\n\nfast\n")
    assert text.count(COMPARISON_HEADING) == 1
    assert "GOF is compact." in text and "### health" in text
    assert "| cats | gof-gan-tiny | s1 | 3 | 15.0 | 0.250 |" in text and "0.125" not in text
    assert comparison_on(page).startswith(COMPARISON_HEADING)


def test_a_page_without_comparison_has_none(tmp_path):
    page = tmp_path / "RESULTS.md"
    assert comparison_on(page) == ""
    page.write_text("# Measurements\n")
    assert comparison_on(page) == ""


def test_missing_results_are_said(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        Compare(tmp_path / "nothing.json", tmp_path / "claims.md", tmp_path / "page.md").main()
