"""Garbage, crowds and vanishing browsers on nerfstudio's viewer: after each of them an honest one gets its picture."""

from __future__ import annotations

import contextlib
import importlib.metadata
import math
import os
import socket
import struct
import threading
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from nerfstudio.configs.method_configs import all_methods
from nerfstudio.viewer.viewer import Viewer
from nerfstudio.viewer_legacy.server.viewer_utils import get_free_port
from opened_viewer import OpenedViewer, connected, opened_viewer
from viser import _messages as messages
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from gan3d_ns.engine.trainer_config import GanTrainerConfig
from gan3d_ns.viewer import doorman
from gan3d_ns.viewer.doorman import Doorman, RenderThreads

SIZE = 32
PATIENCE_S = 40.0
CAMERA: dict[str, Any] = {
    "type": "ViewerCameraMessage",
    "wxyz": [0.0, 1.0, 0.0, 0.0],
    "position": [0.0, 0.0, 10.0],
    "fov": math.radians(15.0),
    "aspect": 1.0,
    "look_at": [0.0, 0.0, 0.0],
    "up_direction": [0.0, 1.0, 0.0],
}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenedViewer]:
    with opened_viewer(tmp_path_factory.mktemp("abuse"), SIZE) as viewer:
        yield viewer


def eventually(condition: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def packed(**message: Any) -> bytes:
    return msgspec.msgpack.encode(message)


def quiet(viewer: Viewer) -> None:
    """All browsers that left are forgotten, and no lock is held."""
    server = viewer.viser_server
    eventually(lambda: not server.get_clients() and not viewer.render_statemachines, "a browser that left is kept")
    alive = lambda: [t for t in threading.enumerate() if getattr(t, "viewer", None) is viewer]  # noqa: E731
    eventually(lambda: not alive(), "a render thread outlives its browser")
    assert viewer.train_lock is not None
    assert viewer.train_lock.acquire(timeout=PATIENCE_S), "the training's lock is held"
    viewer.train_lock.release()
    assert server._websock_server._atomic_lock.acquire(timeout=PATIENCE_S), "viser's lock is held"
    server._websock_server._atomic_lock.release()


@pytest.fixture(autouse=True)
def honest(opened: OpenedViewer) -> Iterator[None]:
    """After each test nothing is left of it, and who comes then sees the object and can steer."""
    yield
    quiet(opened.viewer)
    with connected(opened.port) as client:
        client.picture(SIZE)
        another = opened.model.latent.seed.value + 1
        client.set("Seed", another)
        picture = client.settled_picture(SIZE)
        assert np.ptp(picture) > 0.2, "an empty picture"
        assert opened.model.latent.seed.value == another
    quiet(opened.viewer)


def test_garbage_instead_of_a_request(opened: OpenedViewer):
    randomness = np.random.default_rng(0)
    upgrade = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    garbage = [
        b"",
        randomness.bytes(4096),
        b"GET / HT",
        b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 2**20 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n",
        upgrade + b"\r\n",
        upgrade + b"Sec-WebSocket-Key: !\r\nSec-WebSocket-Version: 99\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        "GET /ä€ HTTP/1.1\r\n\r\n".encode(),
    ]
    slow = []
    for content in garbage:
        connection = socket.create_connection(("127.0.0.1", opened.port))
        with contextlib.suppress(OSError):
            connection.sendall(content)
        slow.append(connection)
    with connected(opened.port) as client:  # while all of them are still there and say nothing more
        client.picture(SIZE)
    for connection in slow:
        connection.close()


def test_frames_that_are_no_messages_end_the_connection_and_its_thread(opened: OpenedViewer):
    frames = [
        "text",
        b"",
        b"\xc1",
        os.urandom(200),
        b"\x91" * 50_000,
        packed(type="NoSuchMessage"),
        packed(no_type=1),
        msgspec.msgpack.encode([1, 2]),
        packed(**{**CAMERA, "unknown": 1}),
        packed(**{**CAMERA, "fov": "wide"}),
        packed(type="ViewerCameraMessage"),
        b"x" * (3 * 2**20),
    ]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(opened.port)) for _ in frames]
        eventually(lambda: len(opened.viewer.render_statemachines) == len(frames), "the browsers are not taken in")
        for client, frame in zip(clients, frames, strict=True):
            client.socket.send(frame)
        for client in clients:
            with pytest.raises(WebSocketException):
                client.receive(PATIENCE_S)
        quiet(opened.viewer)


def test_a_camera_that_cannot_be_rendered_changes_nothing(opened: OpenedViewer):
    with connected(opened.port) as client:
        client.picture(SIZE)
        (thread,) = opened.viewer.render_statemachines.values()
        for change in (
            {"wxyz": [math.nan] * 4},
            {"wxyz": [0.0] * 4},
            {"wxyz": [1.0, 0.0]},
            {"position": [math.inf] * 3},
            {"position": []},
            {"fov": 0.0},
            {"fov": math.nan},
            {"aspect": 0.0},
            {"aspect": -2.0},
            {"aspect": 1e12},
            {"aspect": math.nan},
        ):
            client.send(**{**CAMERA, **change})
        client.set("Seed", 3)
        client.settled_picture(SIZE)
        (handle,) = opened.viewer.viser_server.get_clients().values()
        assert np.isfinite(handle.camera.wxyz).all()
        assert handle.camera.aspect == 1.0
        assert thread.is_alive()
    with connect(f"ws://127.0.0.1:{opened.port}", compression=None) as stranger:
        stranger.send(packed(**{**CAMERA, "aspect": 0.0}))  # the first word of somebody


def test_odd_values_of_controls_reach_neither_the_model_nor_other_browsers(opened: OpenedViewer):
    with connected(opened.port) as other, connected(opened.port) as client:
        client.picture(SIZE)
        other.picture(SIZE)
        before = opened.viewer.control_panel.max_res
        for label, values in {
            "Max res": (10**9, 0, -1, math.nan, "x"),
            "Output type": ("none", 3),
            "Seed": (2**64 - 1, 1e300),
            "Truncation": ([], {}),
        }.items():
            for value in values:
                client.send(type="GuiUpdateMessage", id=client.entry(label)["id"], updates={"value": value})
        seed = client.entry("Seed")["id"]
        client.send(type="GuiUpdateMessage", id=seed, updates={"update_cb": [], "sync_cb": None})
        for control, updates in (("none", {"value": 1}), (3, 4), (seed, 4), (seed, {}), ([1], [2]), ({"a": 1}, None)):
            client.send(type="GuiUpdateMessage", id=control, updates=updates)
        client.set("Seed", 9)
        other.wait_for(lambda: other.entry("Seed")["value"] == 9, "the other browser hears of the seed")
        assert opened.viewer.control_panel.max_res == before


def test_files_of_a_wrong_size_are_dropped(opened: OpenedViewer):
    gui = opened.viewer.viser_server.gui
    with connected(opened.port) as client:
        client.picture(SIZE)
        button, slider = client.entry("Load latent")["id"], client.entry("Truncation")["id"]
        start = {"type": "FileTransferStart", "filename": "x", "mime_type": "x", "part_count": 2}
        part = {"type": "FileTransferPart", "part": 0}
        for target, name, size in ((button, "a", 10), (button, "b", 10**12), (slider, "c", 10), (button, "d", -1)):
            client.send(**start, source_component_id=target, transfer_uuid=name, size_bytes=size)
            time.sleep(0.2)
            client.send(**part, source_component_id=target, transfer_uuid=name, content=b"x" * 11)
        for index in range(30):  # announced, and never sent
            client.send(**start, source_component_id=button, transfer_uuid=f"e{index}", size_bytes=10)
        client.set("Seed", 4)
        client.settled_picture(SIZE)
        assert isinstance(opened.model.latent.truncation.value, float)
        assert not {"a", "b", "c", "d"} & set(gui._current_file_upload_states)
        assert len(gui._current_file_upload_states) <= doorman.MOST_UPLOADS
    gui._current_file_upload_states.clear()


def test_who_hangs_up_while_moving_leaves_no_lock_behind(opened: OpenedViewer):
    """nerfstudio looks up the thread of a browser that has just left, within viser's lock."""
    for _ in range(12):
        with connected(opened.port) as client:
            for step in range(30):
                client.send(**{**CAMERA, "fov": 0.2 + 0.01 * step})
            client.socket.socket.shutdown(socket.SHUT_RDWR)


def test_who_vanishes_while_a_picture_is_made_frees_thread_and_lock(opened: OpenedViewer, monkeypatch):
    render, begun = opened.model.get_outputs, threading.Event()

    def slow(*arguments: Any) -> Any:
        begun.set()
        time.sleep(0.5)
        return render(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(opened.model, "get_outputs", slow)
        with contextlib.suppress(WebSocketException), connected(opened.port) as client:
            assert begun.wait(PATIENCE_S)
            reset = struct.pack("ii", 1, 0)
            client.socket.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            client.socket.socket.close()
        quiet(opened.viewer)


def test_a_crowd_is_served(opened: OpenedViewer):
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(connected(opened.port)) for _ in range(20)]
        for client in crowd:
            client.wait_for(lambda client=client: client.pictures, "a picture for each")
        assert len(opened.viewer.viser_server.get_clients()) == 20
        for client in crowd[::2]:
            client.socket.socket.shutdown(socket.SHUT_RDWR)


def test_a_flood_of_connections_ends_at_a_limit(opened: OpenedViewer, monkeypatch):
    monkeypatch.setattr(doorman, "MOST_CONNECTIONS", 5)
    flood = [socket.create_connection(("127.0.0.1", opened.port)) for _ in range(12)]
    sockets = opened.viewer.viser_server._websock_server._ws_server
    assert sockets is not None
    eventually(lambda: 0 < len(sockets.websockets) <= 5, "more connections than allowed")
    for connection in flood:
        connection.close()
    eventually(lambda: not sockets.websockets, "connections are kept")


def answer(port: int, path: str, *headers: str) -> str:
    """Status line of the answer to a GET request."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        connection.sendall("\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode())
        return connection.recv(100).decode().partition("\r\n")[0]


def test_the_page_is_served_and_no_other_file(opened: OpenedViewer):
    assert "200" in answer(opened.port, "/")
    up = "/.." * 30
    assert "404" in answer(opened.port, f"{up}/etc/hostname")
    assert "404" in answer(opened.port, f"/assets/../..{up}/etc/hostname")
    assert "404" in answer(opened.port, "/../__init__.py", "Upgrade: WebSocket")
    assert "404" in answer(opened.port, "//etc/hostname")
    assert "404" in answer(opened.port, "/assets")


def test_pages_of_other_sites_are_refused(opened: OpenedViewer):
    upgrade = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
    upgrade.append("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    assert "403" in answer(opened.port, "/", *upgrade, "Origin: https://example.org")
    assert "101" in answer(opened.port, "/", *upgrade, f"Origin: http://localhost:{opened.port}")


def test_nobody_shares_the_viewer_with_the_world_but_its_owner(opened: OpenedViewer, monkeypatch):
    asked = []
    monkeypatch.setattr(opened.viewer.viser_server, "request_share_url", lambda *_, **__: asked.append(1))
    with connected(opened.port) as client:
        client.send(type="ShareUrlRequest")
        client.picture(SIZE)
    assert not asked


def test_a_fault_outside_of_the_model_does_not_end_the_thread(opened: OpenedViewer, monkeypatch):
    with connected(opened.port) as client:
        client.picture(SIZE)
        (thread,) = opened.viewer.render_statemachines.values()
        with monkeypatch.context() as patch:
            failed = threading.Event()

            def failing(*_: Any) -> Any:
                failed.set()
                raise ValueError("injected")

            patch.setattr(thread, "_calculate_image_res", failing)
            client.set("Seed", 21)
            assert failed.wait(PATIENCE_S)
        client.set("Seed", 22)
        client.picture(SIZE)
        assert thread.is_alive()


def test_a_thread_that_is_asked_for_after_its_browser_left_does_nothing():
    threads = RenderThreads({1: "thread"})
    threads[2].action("step")
    threads[2].running = False
    threads.pop(2)
    assert threads.pop(1) == "thread"
    assert len(threads) == 0


def test_visers_lock_is_given_back_after_an_error(opened: OpenedViewer):
    server = opened.viewer.viser_server
    with pytest.raises(ValueError, match="injected"), server.atomic(), server.atomic():
        raise ValueError("injected")
    assert not server._websock_server._atomic_lock.locked()
    assert server._websock_server._locked_thread_id == -1


def test_a_movement_without_end_does_not_halt_a_training_for_ever(opened: OpenedViewer, monkeypatch):
    connection: Any = doorman.WebsockClientConnection.__new__(doorman.WebsockClientConnection)
    connection._state = types.SimpleNamespace(message_buffer=types.SimpleNamespace(done=False))
    camera = messages.ViewerCameraMessage(**{name: value for name, value in CAMERA.items() if name != "type"})
    now, keeper = [time.monotonic() + 100.0], opened.model.doorman
    monkeypatch.setattr(doorman, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    halted = []
    for _ in range(40):
        opened.viewer.last_move_time = 5
        keeper.after(camera, connection)
        halted.append(opened.viewer.last_move_time == 5)
        now[0] += 0.25
    assert halted[:20] == [True] * 20
    assert not any(halted[-15:])
    now[0] += 10.0
    opened.viewer.last_move_time = 5
    keeper.after(camera, connection)
    assert opened.viewer.last_move_time == 5


def test_every_method_listens_to_its_own_machine():
    ours = [config for config in all_methods.values() if isinstance(config, GanTrainerConfig)]
    assert ours
    assert {config.viewer.websocket_host for config in ours} == {"127.0.0.1"}


def test_a_second_training_takes_another_port(opened: OpenedViewer):
    assert get_free_port(default_port=opened.port) != opened.port


@pytest.mark.parametrize(("host", "words"), [("127.0.0.1", "ssh -L"), ("0.0.0.0", "everybody who reaches")])
def test_who_can_open_it_is_said_with_the_port_that_viser_took(host: str, words: str, capsys):
    keeper = Doorman()
    keeper.viewer = types.SimpleNamespace(viewer_info=["Viewer running locally at: http://x:7007"])  # pyright: ignore
    keeper.viser_server = types.SimpleNamespace(get_host=lambda: host, get_port=lambda: 7011)  # pyright: ignore
    keeper.say_where()
    printed = " ".join(capsys.readouterr().out.split())
    assert words in printed
    assert keeper.viewer.viewer_info[0].endswith(":7011")


def test_viser_is_as_this_was_written_for():
    """These are its own affairs: an upgrade has to be looked at."""
    assert importlib.metadata.version("viser") == "0.2.7"
