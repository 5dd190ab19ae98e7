"""Browsers that come and go: `python -m benchmarks.reliability.visitors PORT PAUSE NUMBER` speaks viser's protocol."""

from __future__ import annotations

import json
import math
import socket
import sys
import threading
import time
from typing import Any

PATIENCE_S = 60.0
"""How long a visitor waits for a picture."""


def camera(yaw: float) -> dict[str, Any]:
    """viser's message for a level camera, at an angle in radians from +z, 10 viser units from the origin."""
    return {
        "type": "ViewerCameraMessage",
        # Turned by pi around x, as viser's cameras look along +z with +y down; then by the yaw around y.
        "wxyz": [0.0, math.cos(yaw / 2), 0.0, -math.sin(yaw / 2)],
        "position": [10.0 * math.sin(yaw), 0.0, 10.0 * math.cos(yaw)],
        "fov": math.radians(15.0),
        "aspect": 1.0,
        "look_at": [0.0, 0.0, 0.0],
        "up_direction": [0.0, 1.0, 0.0],
    }


def visit(port: int, number: int, moves: int = 5) -> int:
    """Comes, waits for a picture, moves, and leaves; returns how many pictures came.

    Every third visitor says goodbye, every third just hangs up, and every third does so while a picture is made.

    Raises:
        TimeoutError: no picture came.
        OSError: nobody listens.
    """
    import msgspec
    from websockets.sync.client import connect

    pictures, end = 0, time.monotonic() + PATIENCE_S
    connection = connect(f"ws://127.0.0.1:{port}", max_size=None, compression=None, close_timeout=2.0)
    try:
        connection.send(msgspec.msgpack.encode(camera(0.0)))
        while pictures == 0:
            packet: Any = connection.recv(timeout=max(0.0, end - time.monotonic()))
            content = msgspec.msgpack.decode(packet, strict=False)
            messages = content if isinstance(content, list) else content["messages"]
            pictures += sum(message["type"] == "BackgroundImageMessage" for message in messages)
        for move in range(moves):
            connection.send(msgspec.msgpack.encode(camera(0.1 * (move + 1))))
            time.sleep(0.05)
        if number % 3 == 1:
            time.sleep(0.5)
        if number % 3:
            connection.socket.shutdown(socket.SHUT_RDWR)
    finally:
        connection.close()
    return pictures


def keep_visiting(port: int, pause: float, number: int) -> None:
    """Visits for ever, printing one line of JSON about each."""
    while True:
        began = time.monotonic()
        try:
            told: dict[str, Any] = {"pictures": visit(port, number)}
        except Exception as error:
            told = {"pictures": 0, "error": f"{type(error).__name__}: {error}"}
        print(json.dumps({"visit": number, "seconds": round(time.monotonic() - began, 2), **told}), flush=True)
        number += 1
        time.sleep(pause)


def main(port: int, pause: float, at_once: int) -> None:
    """So many visitors at the same time, until the process is ended."""
    threads = [threading.Thread(target=keep_visiting, args=(port, pause, number)) for number in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
