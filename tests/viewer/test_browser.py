"""The viewer as a person sees it, in a real browser."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import trimesh
from browser import Browser, find_chromium, opened_browser
from opened_viewer import OpenedViewer, opened_viewer
from PIL import Image

CHROMIUM = find_chromium()
PATIENCE_S = 60.0
RENDERED = (slice(60, 680), slice(20, 560))
"""The part of the page left of the panel and below the title."""
CHANGED = 0.005

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
]


def wait_for(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"not within {PATIENCE_S} s: {what}")
        time.sleep(0.3)


@dataclass
class Page:
    """A browser that shows an opened viewer; screenshots go into a folder."""

    browser: Browser
    opened: OpenedViewer
    folder: Path

    def picture(self) -> np.ndarray:
        return self.browser.screenshot()[RENDERED]

    def settled(self, name: str) -> np.ndarray:
        """The rendered part once two pictures in a row are the same; kept as a file."""
        last = self.picture()
        for _ in range(30):
            time.sleep(0.7)
            last, before = self.picture(), last
            if np.abs(last - before).mean() < 1e-4:
                break
        Image.fromarray((last * 255).astype(np.uint8)).save(self.folder / f"{name}.png")
        return last

    def changes(self, before: np.ndarray, name: str) -> np.ndarray:
        """Waits until the picture is another one than before, and returns it."""
        wait_for(lambda: np.abs(self.picture() - before).mean() > CHANGED, f"another picture: {name}")
        return self.settled(name)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    assert CHROMIUM is not None
    folder = tmp_path_factory.mktemp("browser")
    with opened_viewer(folder) as opened, opened_browser(CHROMIUM, folder / "profile") as browser:
        browser.open(f"http://127.0.0.1:{opened.port}")
        page = Page(browser, opened, folder)
        wait_for(lambda: page.picture().std(axis=(0, 1)).max() > 0.05, "the first picture")
        yield page


def test_the_object_is_in_the_middle(page: Page) -> None:
    picture = page.settled("start")
    height, width = picture.shape[:2]
    middle = picture[height // 2 - 20 : height // 2 + 20, width // 2 - 20 : width // 2 + 20]
    assert np.abs(middle.mean(axis=(0, 1)) - picture[:15, :15].mean(axis=(0, 1))).max() > 0.1


def test_random_shows_another_object(page: Page) -> None:
    before = page.settled("before-random")
    assert page.browser.press("Random")
    page.changes(before, "random")
    assert page.opened.model.latent.selection().seed != 0


def test_a_slider_changes_the_object(page: Page) -> None:
    before = page.settled("before-slider")
    assert page.browser.slide("Truncation", -20)
    page.changes(before, "truncation")
    assert page.opened.model.latent.selection().truncation == pytest.approx(0.0)


def test_another_output_is_shown(page: Page) -> None:
    before = page.settled("before-output")
    assert page.browser.unfold("Surface")
    assert page.browser.choose("Output", "normals")
    normals = page.changes(before, "normals")
    assert page.opened.viewer.control_panel.output_render == "normals"
    # Normals of a ball: red grows to the right, green upwards.
    height, width = normals.shape[:2]
    reach = height // 6
    row, column = normals[height // 2], normals[:, width // 2]
    assert row[width // 2 + reach][0] > row[width // 2 - reach][0] + 0.1
    assert column[height // 2 - reach][1] > column[height // 2 + reach][1] + 0.1


def test_dragging_turns_around_the_object(page: Page) -> None:
    before = page.settled("before-drag")
    (client,) = page.opened.viewer.viser_server.get_clients().values()
    start = np.array(client.camera.position)
    page.browser.drag((250, 350), (350, 350))
    page.changes(before, "turned")
    end = np.array(client.camera.position)
    assert np.linalg.norm(end - start) > 0.1 * np.linalg.norm(start)
    assert np.linalg.norm(end) == pytest.approx(np.linalg.norm(start), rel=0.02)
    np.testing.assert_allclose(client.camera.look_at, 0.0, atol=0.05)


def test_export_writes_a_mesh(page: Page) -> None:
    run = page.opened.viewer.log_filename.parent
    page.opened.pipeline.surface_controls.export.resolution.value = 24
    assert page.browser.press("Export this")
    wait_for(lambda: list(run.glob("meshes/*.glb")), "an exported mesh")
    wait_for(lambda: "Wrote" in page.browser.evaluate("document.body.innerText"), "the report in the panel")
    (file,) = run.glob("meshes/*.glb")
    assert len(trimesh.load(file, force="mesh").faces) > 100
