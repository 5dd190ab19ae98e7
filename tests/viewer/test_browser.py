"""The viewer as a person sees it, in a real browser."""

from __future__ import annotations

import time

import numpy as np
import pytest
from browser import Browser, find_chromium, opened_browser
from opened_viewer import opened_viewer

CHROMIUM = find_chromium()
PATIENCE_S = 60.0
RENDERED = (slice(60, 680), slice(20, 560))
"""The part of the page left of the panel and below the title."""


def picture(browser: Browser) -> np.ndarray:
    return browser.screenshot()[RENDERED]


def wait_for(condition, what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"not within {PATIENCE_S} s: {what}")
        time.sleep(0.3)


def settled(browser: Browser) -> np.ndarray:
    """The rendered part once two pictures in a row are the same."""
    last = picture(browser)
    for _ in range(30):
        time.sleep(0.7)
        last, before = picture(browser), last
        if np.abs(last - before).mean() < 1e-4:
            break
    return last


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_random_shows_another_object(tmp_path):
    assert CHROMIUM is not None
    with opened_viewer(tmp_path) as opened, opened_browser(CHROMIUM, tmp_path / "profile") as browser:
        browser.open(f"http://127.0.0.1:{opened.port}")
        wait_for(lambda: picture(browser).std(axis=(0, 1)).max() > 0.05, "the first picture")
        before = settled(browser)
        # The object is in the middle and the corners are empty.
        height, width = before.shape[:2]
        middle = before[height // 2 - 20 : height // 2 + 20, width // 2 - 20 : width // 2 + 20]
        assert np.abs(middle.mean(axis=(0, 1)) - before[:15, :15].mean(axis=(0, 1))).max() > 0.1
        assert browser.press("Random")
        wait_for(lambda: np.abs(picture(browser) - before).mean() > 0.005, "another object after pressing Random")
        assert opened.model.latent.selection().seed != 0
