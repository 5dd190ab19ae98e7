"""Turning the object in a real browser."""

from __future__ import annotations

import time

import numpy as np
import pytest
from browser import find_chromium, opened_browser
from opened_viewer import opened_viewer

CHROMIUM = find_chromium()
PATIENCE_S = 60.0


def wait_for(condition, what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"not within {PATIENCE_S} s: {what}")
        time.sleep(0.3)


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_dragging_turns_around_the_object(tmp_path):
    """The camera stays at its distance and looks at the origin, with +y up."""
    assert CHROMIUM is not None
    with opened_viewer(tmp_path) as opened, opened_browser(CHROMIUM, tmp_path / "profile") as browser:
        browser.open(f"http://127.0.0.1:{opened.port}")
        wait_for(lambda: len(opened.viewer.viser_server.get_clients()) == 1, "a browser")
        (client,) = opened.viewer.viser_server.get_clients().values()
        start = np.array([0.0, 0.0, 10.0])
        wait_for(lambda: np.abs(client.camera.position - start).max() < 1e-3, "the start in front")
        time.sleep(2.0)  # until the page draws and listens to the mouse
        browser.drag((250, 350), (400, 350))
        wait_for(lambda: abs(client.camera.position[0]) > 1.0, "a turn")
        time.sleep(1.0)
        sideways = client.camera.position
        assert abs(sideways[1]) < 0.2
        browser.drag((250, 350), (250, 450))
        wait_for(lambda: abs(client.camera.position[1]) > 1.0, "a rise")
        time.sleep(1.0)
        for position in (sideways, client.camera.position):
            assert np.linalg.norm(position) == pytest.approx(10.0, rel=0.01)
        np.testing.assert_allclose(client.camera.look_at, 0.0, atol=0.05)
        np.testing.assert_allclose(client.camera.up_direction, [0.0, 1.0, 0.0], atol=1e-3)
