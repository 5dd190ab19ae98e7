"""Chromium without a window, steered over its DevTools protocol: open a page, press a button, take a picture."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import websocket
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless=new --no-sandbox --disable-gpu --use-angle=swiftshader --enable-unsafe-swiftshader "
    "--ignore-gpu-blocklist --disable-dev-shm-usage --remote-allow-origins=* --hide-scrollbars "
    "--no-first-run --disable-background-networking --disable-extensions"
)
START_S = 40.0


def find_chromium() -> str | None:
    """The path of a chromium on this machine."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page."""

    def __init__(self, connection: websocket.WebSocket) -> None:
        self.connection, self.count = connection, 0

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a DevTools command; between two documents there is no page to ask, so it may ask again.

        Raises:
            RuntimeError: with the browser's complaint.
        """
        end = time.monotonic() + START_S
        while True:
            self.count += 1
            self.connection.send(json.dumps({"id": self.count, "method": method, "params": parameters}))
            while (answer := json.loads(self.connection.recv())).get("id") != self.count:
                pass
            if "error" not in answer:
                return answer["result"]
            if "active page" not in answer["error"]["message"] or time.monotonic() > end:
                raise RuntimeError(answer["error"])
            time.sleep(0.2)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        return self.command("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def open(self, url: str) -> None:
        self.command("Page.navigate", url=url)

    def press(self, label: str) -> bool:
        """Clicks the button with this text; returns whether there is one."""
        found = f"[...document.querySelectorAll('button')].find(e => e.innerText.trim() === {json.dumps(label)})"
        return bool(self.evaluate(f"(e => e ? (e.click(), true) : false)({found})"))

    def unfold(self, label: str) -> bool:
        """Opens or closes the folder with this title; returns whether there is one."""
        found = (
            "[...document.querySelectorAll('div')].filter(e => e.childElementCount <= 2 && e.innerText.trim() === "
            f"{json.dumps(label)}).pop()"
        )
        return bool(self.evaluate(f"(e => e ? (e.click(), true) : false)({found})"))

    def place_of(self, label: str, kind: str) -> tuple[float, float] | None:
        """The middle of the control (a CSS selector) that stands beside a label, in pixels of the page."""
        script = f"""(() => {{
            const named = e => e.childElementCount === 0 && e.textContent.trim() === {json.dumps(label)};
            for (let e = [...document.querySelectorAll('label, span, div')].find(named); e; e = e.parentElement) {{
                const control = e.querySelector({json.dumps(kind)});
                if (control) {{
                    control.scrollIntoView({{block: 'center'}});
                    const box = control.getBoundingClientRect();
                    return [box.x + box.width / 2, box.y + box.height / 2];
                }}
            }}
            return null;
        }})()"""
        place = self.evaluate(script)
        return None if place is None else (place[0], place[1])

    def click(self, x: float, y: float) -> None:
        """A click with the left button."""
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.command("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def key(self, name: str, code: int, times: int = 1) -> None:
        """Presses a key some times."""
        for _ in range(times):
            for kind in ("rawKeyDown", "keyUp"):
                self.command("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code)

    def slide(self, label: str, steps: int) -> bool:
        """Moves the slider beside a label by some of its steps, to the left if negative."""
        place = self.place_of(label, "[role=slider]")
        if place is None:
            return False
        self.click(*place)
        self.key(*(("ArrowLeft", 37) if steps < 0 else ("ArrowRight", 39)), times=abs(steps))
        return True

    def choose(self, label: str, option: str) -> bool:
        """Picks an option of the drop-down list beside a label; returns whether it is there."""
        place = self.place_of(label, "input")
        if place is None:
            return False
        self.click(*place)
        found = (
            f"[...document.querySelectorAll('[role=option]')].find(e => e.innerText.trim() === {json.dumps(option)})"
        )
        end = time.monotonic() + 5.0
        while time.monotonic() < end:
            if self.evaluate(f"(e => e ? (e.click(), true) : false)({found})"):
                return True
            time.sleep(0.2)
        return False

    def drag(self, start: tuple[int, int], end: tuple[int, int], steps: int = 8) -> None:
        """Moves the mouse with its left button down, in pixels of the page."""
        points = np.linspace(start, end, steps)
        moves = [
            ("mousePressed", points[0]),
            *(("mouseMoved", point) for point in points),
            ("mouseReleased", points[-1]),
        ]
        for kind, (x, y) in moves:
            self.command("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def wheel(self, at: tuple[int, int], amount: int) -> None:
        """Turns the mouse wheel, positive amounts move away."""
        self.command("Input.dispatchMouseEvent", type="mouseWheel", x=at[0], y=at[1], deltaX=0, deltaY=amount)

    def screenshot(self) -> np.ndarray:
        """The page's pixels in [0, 1], "height width 3"."""
        data = base64.b64decode(self.command("Page.captureScreenshot", format="png")["data"])
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=np.float32) / 255.0


@contextmanager
def opened_browser(program: str, folder: Path, size: tuple[int, int] = (900, 700)) -> Iterator[Browser]:
    """A browser with one empty page of ``size`` in pixels; ``folder`` takes its profile.

    Raises:
        TimeoutError: it does not come up.
    """
    window = f"--window-size={size[0]},{size[1]}"
    command = [program, *OPTIONS.split(), "--remote-debugging-port=0", f"--user-data-dir={folder}", window]
    with subprocess.Popen([*command, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            connection = websocket.create_connection(page_address(folder), timeout=120)
            browser = Browser(connection)
            browser.command("Page.enable")
            browser.command(
                "Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1, mobile=False
            )
            yield browser
            connection.close()
        finally:
            process.terminate()
            try:
                process.wait(timeout=10.0)
            except subprocess.TimeoutExpired:
                process.kill()


def page_address(folder: Path) -> str:
    """The socket of the browser's page; the browser writes its port into its profile."""
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        time.sleep(0.2)
        try:
            port = (folder / "DevToolsActivePort").read_text().splitlines()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=5.0) as answer:
                return next(tab["webSocketDebuggerUrl"] for tab in json.load(answer) if tab["type"] == "page")
        except (OSError, IndexError, StopIteration):
            continue
    raise TimeoutError(f"chromium has not come up within {START_S} s")
