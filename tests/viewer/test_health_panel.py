"""The training's health in the viewer, from made-up reports: what is shown, kept, and read again."""

from __future__ import annotations

import base64
import io
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import viser
from opened_viewer import Client, connected, free_port
from PIL import Image

from gan3d_ns.viewer.health_panel import (
    FOLDER,
    PANEL_NAME,
    REPORT_NAME,
    HealthPanel,
    HealthReport,
    duration,
    overview,
    read_report,
    write_report,
)
from gan3d_ns.viewer.panel_text import as_text, table, with_flags

REPORT = HealthReport(
    step=1250,
    end=6000,
    steps_per_second=5.0,
    measures={
        "g_adversarial": 1.25,
        "d_adversarial": 0.75,
        "d_r1": 0.125,
        "logit_gap": 0.875,
        "told_apart": 0.91,
        "hit_rate": 0.98,
        "occupied_fraction": 0.44,
        "relief": 0.0213,
        "hollow_fraction": 0.0,
        "depth_spread": 0.0321,
        "variety": 0.17,
    },
    looked_at=1000,
    alarms=("Hollow surfaces: {all} <of> them. Set --hollow-reseeds 2.",),
)
YAWS, OBJECTS, SIDE = 5, 3, 8


def panel_rows() -> np.ndarray:
    """A panel in which the value of a pixel is its row."""
    rows = np.arange(3 * YAWS, dtype=np.uint8).repeat(SIDE)
    return np.broadcast_to(rows[:, None, None], (3 * YAWS * SIDE, OBJECTS * SIDE, 3)).copy()


@pytest.mark.parametrize(("front", "expected"), [(2, [0, 2, 4, 7, 12]), (0, [0, 2, 4, 5, 10])])
def test_the_overview_has_three_sides_and_the_frontal_shape(front: int, expected: list[int]) -> None:
    small = overview(panel_rows(), YAWS, front)
    assert small[::SIDE, 0, 0].tolist() == expected
    assert small.shape == (5 * SIDE, OBJECTS * SIDE, 3)


def test_the_overview_of_one_yaw() -> None:
    assert overview(panel_rows()[: 3 * SIDE], 1, 0)[::SIDE, 0, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (59.0, "59 s"), (780.0, "13 min"), (7300.0, "2 h 2 min"), (432e3, "5 days")]
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_markup_in_messages_is_shown_as_it_is() -> None:
    for letter in "<{}|*_`":
        assert letter not in as_text(f"a{letter}b")
    content = with_flags("Set --pipeline.loss.r1-weight 3 or {x}. See --aa, --lr 0.5. And --b-c.")
    assert content.count("<code") == 4
    assert ">--lr 0.5</code>." in content
    assert ">--b-c</code>." in content
    assert ">--pipeline.loss.r1-weight 3<" in content
    assert "{x}" not in content
    assert "|" not in table([("a|b", "1")]).splitlines()[-1].strip("| ").replace(" | ", "")


def test_a_report_comes_back_from_the_run(tmp_path: Path) -> None:
    write_report(tmp_path, REPORT, YAWS, 2)
    assert read_report(tmp_path) == (REPORT, {"num_yaws": YAWS, "front": 2})
    assert [file.name for file in tmp_path.iterdir()] == [REPORT_NAME]


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"step": 1}', '{"panel": {"a": "x"}, "alarms": []}'])
def test_a_report_that_cannot_be_read_is_none(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / REPORT_NAME).write_text(content)
    assert read_report(tmp_path) is None


@pytest.fixture
def viewer(tmp_path: Path) -> Iterator[types.SimpleNamespace]:
    """As much of nerfstudio's viewer as the panel touches, around a real viser server."""
    port = free_port()
    server = viser.ViserServer(host="127.0.0.1", port=port, verbose=False)
    yield types.SimpleNamespace(
        port=port,
        viser_server=server,
        trainer=object(),
        log_filename=tmp_path / "viewer_log.txt",
        stats_markdown=types.SimpleNamespace(order=1.0),
    )
    server.stop()


def texts(client: Client) -> list[str]:
    entries = sorted(client.panel.values(), key=lambda entry: entry.get("order", 0.0))
    return [entry["markdown"] for entry in entries if entry.get("markdown") and entry.get("visible", True)]


def picture_in(text: str) -> np.ndarray:
    content = text.split("base64,")[1].split('"')[0]
    assert len(content) < 60_000
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


def test_a_report_fills_the_folder(viewer: types.SimpleNamespace) -> None:
    panel = HealthPanel()
    panel._setup(viewer)
    panel.show(REPORT)
    panel.show_samples(panel_rows() * 10, YAWS, 2, 1000)
    with connected(viewer.port) as client:
        client.receive(1.0)
        folder = client.entry(FOLDER)
        assert folder["expand_by_default"]
        everything = "\n".join(texts(client))
        for words in ("**Step 1,250** of 6,000", "5 steps/s, 16 min left", "1.250 / 0.750", "91%", "+0.0213", "44%"):
            assert words in everything
        (alarm,) = [text for text in texts(client) if "Hollow surfaces" in text]
        assert "{all}" not in alarm, "brackets would be read as code"
        (sample,) = [text for text in texts(client) if "base64" in text]
        picture = picture_in(sample)
        assert picture.shape[1] == OBJECTS * SIDE
        assert np.abs(picture[SIDE // 2 :: SIDE, 0, 0] / 10.0 - [0, 2, 4, 7, 12]).max() < 0.5
        bars = [entry for entry in client.panel.values() if entry.get("type") == "GuiAddProgressBarMessage"]
        assert bars[0]["value"] == pytest.approx(100.0 * 1251 / 6000)
        panel.show(replace(REPORT, alarms=()))
        client.receive(0.5)
        assert "Hollow surfaces" not in "\n".join(texts(client))
        panel.show(replace(REPORT, step=5999))
        client.receive(0.5)
        assert "All **6,000** steps are done" in "\n".join(texts(client))


def test_a_large_panel_is_made_smaller(viewer: types.SimpleNamespace) -> None:
    panel = HealthPanel()
    panel._setup(viewer)
    noise = np.random.default_rng(0).integers(0, 255, (3 * 5 * 64, 16 * 64, 3), dtype=np.uint8)
    panel.show_samples(noise, 5, 2, 1000)
    with connected(viewer.port) as client:
        client.receive(1.0)
        (sample,) = [text for text in texts(client) if "base64" in text]
        assert picture_in(sample).shape[1] == 384


def test_a_run_that_is_only_looked_at_shows_its_last_report(viewer: types.SimpleNamespace, tmp_path: Path) -> None:
    viewer.trainer = None
    write_report(tmp_path, REPORT, YAWS, 2)
    Image.fromarray(panel_rows()).save(tmp_path / PANEL_NAME)
    HealthPanel()._setup(viewer)
    with connected(viewer.port) as client:
        client.receive(1.0)
        assert not client.entry(FOLDER)["expand_by_default"]
        everything = "\n".join(texts(client))
        assert "1.250 / 0.750" in everything
        assert "base64" in everything
        assert "left" not in everything, "nothing is going on"


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n torn"], ids=["empty", "torn"])
def test_a_torn_picture_is_a_line_and_the_viewer_opens(
    content: bytes, viewer: types.SimpleNamespace, tmp_path: Path
) -> None:
    viewer.trainer = None
    write_report(tmp_path, REPORT, YAWS, 2)
    (tmp_path / PANEL_NAME).write_bytes(content)
    HealthPanel()._setup(viewer)
    with connected(viewer.port) as client:
        client.receive(1.0)
        assert "The saved report cannot be shown" in "\n".join(texts(client))


def test_a_run_without_a_report_has_no_folder(viewer: types.SimpleNamespace) -> None:
    viewer.trainer = None
    panel = HealthPanel()
    panel._setup(viewer)
    panel.show(REPORT)
    panel.show_samples(panel_rows(), YAWS, 2, 0)
    with connected(viewer.port) as client:
        client.receive(0.5)
        assert not [entry for entry in client.panel.values() if entry.get("label") == FOLDER]


def test_without_a_viewer_nothing_happens() -> None:
    panel = HealthPanel()
    panel.show(REPORT)
    panel.show_samples(panel_rows(), YAWS, 2, 0)
    assert not panel.open
