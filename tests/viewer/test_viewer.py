"""nerfstudio's viewer on a model of this package: pictures, controls, faults."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh
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
    folder = client.entry("Generator")
    assert client.entry("Show Train Cams")["order"] < folder["order"] < client.entry("Surface")["order"] < tabs["order"]
    names = ["Seed", "Random", "Truncation", "Weights", "Interpolation A - B", "Style mixing", "Save latent"]
    entries = [client.entry(name) for name in names]
    assert all(entry["container_id"] == folder["id"] for entry in entries)
    orders = [entry["order"] for entry in entries]
    assert orders == sorted(orders)
    assert not [entry for entry in client.panel.values() if entry.get("label") == "Custom Elements"]


@pytest.mark.parametrize("name", ["depth", "normals", "search_window", "surface_hit", "surface_rgb", "rgb"])
@pytest.mark.parametrize("chooser", ["Output type", "Output"])
def test_every_output_can_be_chosen(client: Client, name: str, chooser: str):
    assert name in client.entry(chooser)["options"]
    client.set(chooser, name)
    picture = client.settled_picture(SIZE)
    assert difference(picture, np.full_like(picture, picture[0, 0])) > JPEG_NOISE
    assert client.entry("Output type")["value"] == client.entry("Output")["value"] == name


def test_style_mixing_and_raw_weights_change_the_picture(client: Client, opened: OpenedViewer):
    client.set("Seed", 11)
    plain = client.settled_picture(SIZE)
    client.set("colour", True)
    mixed = client.settled_picture(SIZE)
    assert difference(plain, mixed) > JPEG_NOISE
    client.set("colour", False)
    assert difference(client.settled_picture(SIZE), plain) < JPEG_NOISE
    with torch.no_grad():
        opened.model.generator.field.colour_decoder[-1].bias += 1.0
    client.set("Weights", "in training")
    assert difference(client.settled_picture(SIZE), plain) > JPEG_NOISE
    client.set("Weights", "average")
    assert difference(client.settled_picture(SIZE), plain) < JPEG_NOISE


def test_another_level_moves_the_surface_that_is_shown(client: Client):
    client.set("Seed", 12)
    client.set("Output", "surface_hit")
    plain = client.settled_picture(SIZE)
    client.set("Level", 2.0)
    client.set("Other level", True)
    smaller = client.settled_picture(SIZE)
    sizes = [(np.abs(picture - picture[0, 0]).max(axis=-1) > 0.2).mean() for picture in (plain, smaller)]
    assert 0.0 < sizes[1] < 0.7 * sizes[0]
    client.set("Other level", False)
    assert difference(client.settled_picture(SIZE), plain) < JPEG_NOISE
    client.set("Output", "rgb")
    client.settled_picture(SIZE)


def test_play_shows_the_way_to_the_second_object(client: Client):
    client.set("Seed", 13)
    client.settled_picture(SIZE)
    client.set("Play A - B", True)
    values = set()
    for _ in range(12):
        client.pictures.clear()
        client.receive(0.5)
        values.add(client.entry("Interpolation")["value"])
        if len(values) > 3 and client.pictures:
            break
    client.set("Play A - B", False)
    assert len(values) > 3
    client.set("Interpolation", 0)
    client.settled_picture(SIZE)


def test_an_object_is_saved_and_exported_into_the_runs_folder(client: Client, opened: OpenedViewer):
    folder = opened.viewer.log_filename.parent
    client.set("Save latent", True)
    client.wait_for(lambda: list(folder.glob("latents/*.safetensors")), "a saved latent")
    client.set("Cells", 16)
    client.set("Export this", True)
    client.wait_for(lambda: list(folder.glob("meshes/*.glb")), "an exported mesh")
    client.wait_for(lambda: not client.entry("Export this")["disabled"], "the end of the export")
    (mesh,) = folder.glob("meshes/*.glb")
    assert len(trimesh.load(mesh, force="mesh").faces) > 100
    assert any("Wrote" in entry.get("markdown", "") for entry in client.panel.values())


def test_a_failed_export_is_a_line_in_the_panel(client: Client, opened: OpenedViewer, monkeypatch):
    def broken(*_):
        raise RuntimeError("injected")

    monkeypatch.setattr(opened.model, "still_copy", broken)
    client.set("Export this", True)
    client.wait_for(
        lambda: any("Not exported: RuntimeError" in entry.get("markdown", "") for entry in client.panel.values()),
        "the report",
    )
    client.wait_for(lambda: not client.entry("Export this")["disabled"], "the end of the export")


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


def test_a_run_that_is_looked_at_has_no_training_to_pause(client: Client, opened: OpenedViewer):
    assert not client.entry("Pause Training")["visible"]
    assert not client.entry("Resume Training")["visible"]
    assert any(entry.get("markdown", "").startswith(f"Step: {opened.model.step}") for entry in client.panel.values())
