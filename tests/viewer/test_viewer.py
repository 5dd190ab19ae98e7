"""nerfstudio's viewer on a model of this package: pictures, controls, faults."""

from __future__ import annotations

import numpy as np
import pytest
from opened_viewer import Client, OpenedViewer, connected, opened_viewer

SIZE = 64
JPEG_NOISE = 0.004


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    with opened_viewer(tmp_path_factory.mktemp("viewer"), SIZE) as viewer:
        yield viewer


@pytest.fixture(scope="module")
def client(opened: OpenedViewer):
    with connected(opened.port) as client:
        client.settled_picture(SIZE)
        yield client


def difference(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first - second).mean())


def test_pictures_follow_the_controls(client: Client):
    client.set("Seed", 7)
    first = client.settled_picture(SIZE)
    client.set("Seed", 5)
    other = client.settled_picture(SIZE)
    assert difference(first, other) > JPEG_NOISE
    client.set("Second seed", 7)
    client.set("Interpolation", 1)
    assert difference(client.settled_picture(SIZE), first) < JPEG_NOISE
    client.set("Random", True)
    assert difference(client.settled_picture(SIZE), first) > JPEG_NOISE
    assert client.entry("Interpolation")["value"] == 0


def test_odd_values_from_a_browser_are_survived(client: Client):
    for value in (-5, 1e300, 3.7, None, "x"):
        client.set("Seed", value)
    client.set("Seed", 3)
    client.settled_picture(SIZE)


def test_the_controls_stand_between_statistics_and_tabs(client: Client):
    (tabs,) = [entry for entry in client.panel.values() if entry.get("type") == "GuiAddTabGroupMessage"]
    folder = client.entry("Generated object")
    assert client.entry("Show Train Cams")["order"] < folder["order"] < tabs["order"]
    names = ["Seed", "Random", "Truncation", "Second seed", "Interpolation"]
    entries = [client.entry(name) for name in names]
    assert all(entry["container_id"] == folder["id"] for entry in entries)
    orders = [entry["order"] for entry in entries]
    assert orders == sorted(orders)
    assert not [entry for entry in client.panel.values() if entry.get("label") == "Custom Elements"]


@pytest.mark.parametrize("name", ["depth", "normals", "accumulation", "surface_hit", "surface_rgb", "rgb"])
def test_every_output_can_be_chosen(client: Client, name: str):
    assert name in client.entry("Output type")["options"]
    client.set("Output type", name)
    picture = client.settled_picture(SIZE)
    assert difference(picture, np.full_like(picture, picture[0, 0])) > JPEG_NOISE


def test_frusta_beyond_the_object_are_not_hidden(client: Client):
    client.set("Seed", 1)
    client.settled_picture(SIZE)
    corner, middle = client.depths[-1][0, 0], client.depths[-1][SIZE // 2, SIZE // 2]
    assert 8.0 < middle < 10.5
    assert corner > 100.0
    assert {message["name"] for message in client.frusta} == {f"/pose_prior/camera_{index:03d}" for index in range(32)}


def test_a_fault_is_shown_and_gone_with_its_cause(client: Client, opened: OpenedViewer, monkeypatch):
    before = client.entry("Seed")["value"]
    with monkeypatch.context() as patch:

        def broken(*_):
            raise RuntimeError("injected <fault>")

        patch.setattr(opened.model, "get_outputs", broken)
        client.set("Seed", before + 1)
        red = client.settled_picture(SIZE)
        reports = [entry for entry in client.panel.values() if "injected <fault>" in entry.get("markdown", "")]
        assert reports
        assert reports[0]["visible"]
        np.testing.assert_allclose(red.mean(axis=(0, 1)), [0.35, 0.08, 0.08], atol=0.05)
    client.set("Seed", before + 2)
    picture = client.settled_picture(SIZE)
    assert difference(picture, red) > JPEG_NOISE
    assert not reports[0]["visible"]
    assert all(thread.is_alive() for thread in opened.viewer.render_statemachines.values())
