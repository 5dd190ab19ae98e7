"""What may come in through the viewer's socket: what is wrong is named, what browsers really send passes."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import viser
from opened_viewer import free_port
from viser import _messages as messages

from gan3d_ns.viewer.incoming import camera_fault, control_fault, finite, is_foreign, leads_outside, part_fault
from gan3d_ns.viewer.incoming import upload_fault as start_fault

NAN, INF = math.nan, math.inf
GOOD = messages.ViewerCameraMessage(
    wxyz=(0.0, 1.0, 0.0, 0.0),
    position=(0.0, 0.0, 10.0),
    fov=0.3,
    aspect=1.5,
    look_at=(0.0, 0.0, 0.0),
    up_direction=(0.0, 1.0, 0.0),
)
BAD_CAMERAS: list[dict[str, Any]] = [
    {"wxyz": (NAN, 1.0, 0.0, 0.0)},
    {"wxyz": (0.0, 0.0, 0.0, 0.0)},
    {"wxyz": (0.0, 1.0, 0.0)},
    {"wxyz": ("x", 1.0, 0.0, 0.0)},
    {"position": (INF, 0.0, 0.0)},
    {"position": (1e30, 0.0, 0.0)},
    {"position": ()},
    {"look_at": (0.0, 0.0, 10.0)},
    {"up_direction": (0.0, 0.0, 1.0)},
    {"fov": 0.0},
    {"fov": -1.0},
    {"fov": 4.0},
    {"fov": NAN},
    {"aspect": 0.0},
    {"aspect": -1.0},
    {"aspect": 1e9},
    {"aspect": 1e-9},
    {"aspect": NAN},
    {"aspect": INF},
]


def test_a_browsers_camera_passes():
    assert camera_fault(GOOD) == ""
    tilted = (math.cos(0.3), math.sin(0.3), 0.0, 0.0)
    assert camera_fault(dataclasses.replace(GOOD, wxyz=tilted, aspect=0.45, position=(3.0, 3.0, 3.0))) == ""


@pytest.mark.parametrize("change", BAD_CAMERAS, ids=str)
def test_cameras_that_cannot_be_rendered_are_named(change: dict[str, Any]):
    assert camera_fault(dataclasses.replace(GOOD, **change))


def test_numbers_hide_nowhere():
    assert finite((1.0, (2.0, "x", None), b"x", True))
    assert not finite((1.0, (2.0, [NAN])))


@pytest.fixture(scope="module")
def gui():
    """viser's own controls."""
    server = viser.ViserServer(host="127.0.0.1", port=free_port(), verbose=False)
    yield server.gui
    server.stop()


def fault(gui: viser.GuiApi, handle: Any, updates: dict[str, Any]) -> str:
    server: Any = gui._websock_interface
    kept = server._broadcast_buffer.message_from_id.values()
    (added,) = [entry for entry in kept if getattr(entry, "id", None) == handle._impl.id and "GuiAdd" in str(entry)]
    return control_fault(handle, added, updates)


def test_controls_take_their_own_kind_of_value_and_nothing_else(gui: viser.GuiApi):
    cases: list[tuple[Any, list[Any], list[Any]]] = [
        (gui.add_slider("a", 0.0, 1.0, 0.1, 0.5), [0.0, 1, 0.3], [1.5, -0.1, NAN, "x", None, True, (1.0,)]),
        (gui.add_number("b", 3), [0, -5, 1e300 * 0 + 7.0, 2**40], [2**70, 1e300, INF, "3", None]),
        (gui.add_number("c", 64, min=8, max=1024), [8, 1024], [7, 1025, 10**9]),
        (gui.add_checkbox("d", True), [True, False], [1, "x", None]),
        (gui.add_dropdown("e", ("one", "two")), ["one", "two"], ["three", 1, None, ("one",)]),
        (gui.add_text("f", "t"), ["", "some words"], ["x" * 20_000, 3, b"x"]),
        (gui.add_vector2("g", (100, 100), min=(50, 50), max=(200, 200)), [(60, 200)], [(60, 201), (60,), 5, (60, NAN)]),
        (gui.add_rgb("h", (1, 2, 3)), [(0, 255, 9)], [(0, 1), ("a", 1, 2), "red"]),
        (gui.add_button("i"), [True], [3, "x"]),
        (gui.add_upload_button("j"), [], [True, "x", b"x", {}]),
    ]
    for handle, good, bad in cases:
        assert not [value for value in good if fault(gui, handle, {"value": value})], handle._impl.label
        assert not [value for value in bad if not fault(gui, handle, {"value": value})], handle._impl.label


@pytest.mark.parametrize("updates", [{}, {"update_cb": []}, {"value": 0.5, "gui_api": None}, {"visible": False}])
def test_only_the_value_of_a_control_can_be_set(gui: viser.GuiApi, updates: dict[str, Any]):
    assert fault(gui, gui.add_slider("s", 0.0, 1.0, 0.1, 0.5), updates)


def test_files_have_the_size_that_was_announced(gui: viser.GuiApi):
    button = gui.add_upload_button("load")
    start = messages.FileTransferStart("id", "u", "name", "type", part_count=2, size_bytes=100)
    assert start_fault(button, start) == ""
    assert start_fault(gui.add_button("other"), start)
    assert start_fault(None, start)
    for change in ({"size_bytes": 10**10}, {"size_bytes": -1}, {"part_count": 0}, {"part_count": 10**8}):
        assert start_fault(button, dataclasses.replace(start, **change)), change
    upload = {"parts": {0: b"x" * 60}, "part_count": 2, "transferred_bytes": 60, "total_bytes": 100}
    part = messages.FileTransferPart("id", "u", 1, b"x" * 40)
    assert part_fault(part, upload, "id") == ""
    assert part_fault(part, upload, "another")
    for change in ({"part": 0}, {"part": 2}, {"part": -1}, {"content": b"x" * 41}, {"content": 5}):
        assert part_fault(dataclasses.replace(part, **change), upload, "id"), change


def test_paths_stay_within_the_page(tmp_path: Path):
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("x", encoding="utf-8")
    for path in ("/", "/index.html", "/?websocket=ws://x", "/assets/none.js"):
        assert not leads_outside(path, tmp_path), path
    outside = [
        "/../x",
        "/assets/../../x",
        "//etc/passwd",
        "etc/passwd",
        "",
        "/assets",
        "/a\0b",
        "/..\\x",
        "/C:/x",
        "/a//b",
    ]
    assert not [path for path in outside if not leads_outside(path, tmp_path)]
    assert leads_outside("/" + "x" * 5000, tmp_path)


def test_pages_of_this_machine_are_at_home():
    assert not is_foreign([])
    assert not is_foreign(["http://localhost:9000"])
    assert not is_foreign(["http://127.0.0.1:7007"])
    for origin in ("https://example.org", "null", "http://localhost.example.org", "file://", "http://[bad"):
        assert is_foreign([origin]), origin
