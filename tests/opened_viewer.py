"""nerfstudio's viewer in this process, and a client that speaks viser's protocol."""

from __future__ import annotations

import copy
import io
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.viewer.viewer import Viewer
from PIL import Image
from websockets.sync.client import ClientConnection, connect

from gan3d_ns.method_configs.gof import gof_gan_tiny
from gan3d_ns.models.gan_model import GanModel
from gan3d_ns.pipelines.gan_pipeline import GanPipeline

PATIENCE_S = 40.0
SETTLED_S = 0.8
"""No picture within this time: nothing more is coming."""


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def small_pipeline() -> GanPipeline:
    """The tiny method with random weights, few rays and no pictures."""
    torch.manual_seed(0)
    config = copy.deepcopy(gof_gan_tiny.config.pipeline)
    config.datamanager.dataparser.num_virtual_views = 3
    config.datamanager.dataparser.virtual_view_resolution = 8
    config.model.start_shape.backdrop = None
    pipeline = config.setup(device="cpu", test_mode="test")
    pipeline.model.update_to_step(1234)
    return pipeline


@dataclass
class OpenedViewer:
    """A running viewer and what it was opened on."""

    viewer: Viewer
    pipeline: GanPipeline
    port: int

    @property
    def model(self) -> GanModel:
        return self.pipeline.model


@contextmanager
def opened_viewer(folder: Path, max_res: int = 64, pipeline: GanPipeline | None = None) -> Iterator[OpenedViewer]:
    """The viewer as ns-viewer opens it, ready for clients; on a small random model where no pipeline is given."""
    pipeline, port = pipeline or small_pipeline(), free_port()
    pipeline.eval()
    viewer = Viewer(
        ViewerConfig(websocket_port=port, websocket_host="127.0.0.1"),
        log_filename=folder / "run" / "viewer_log.txt",
        datapath=folder,
        pipeline=pipeline,
        train_lock=threading.Lock(),
    )
    try:
        viewer.control_panel._max_res.value = max_res
        viewer.init_scene(pipeline.datamanager.train_dataset, "completed", pipeline.datamanager.eval_dataset)
        yield OpenedViewer(viewer, pipeline, port)
    finally:
        threads = list(viewer.render_statemachines.values())
        for thread in threads:
            thread.running = False
        viewer.viser_server.stop()
        for thread in threads:
            thread.join(timeout=10.0)


@dataclass
class Client:
    """One browser's side of viser's protocol: its camera, the pictures it was sent and the panel that it shows."""

    socket: ClientConnection
    pictures: list[np.ndarray] = field(default_factory=list)
    depths: list[np.ndarray] = field(default_factory=list)
    panel: dict[str, dict[str, Any]] = field(default_factory=dict)
    frusta: list[dict[str, Any]] = field(default_factory=list)
    moves: list[dict[str, Any]] = field(default_factory=list)
    scene: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What was last said about each thing in the scene, by its name."""

    def send(self, **message: Any) -> None:
        self.socket.send(msgspec.msgpack.encode(message))

    def send_camera(self) -> None:
        """A camera on +z, in viser's units, looking at the origin with +y up."""
        self.send(
            type="ViewerCameraMessage",
            wxyz=[0.0, 1.0, 0.0, 0.0],
            position=[0.0, 0.0, 10.0],
            fov=math.radians(15.0),
            aspect=1.0,
            look_at=[0.0, 0.0, 0.0],
            up_direction=[0.0, 1.0, 0.0],
        )

    def receive(self, seconds: float) -> None:
        """Reads what has come and what comes within ``seconds``."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                packet = self.socket.recv(timeout=left)
            except TimeoutError:
                return
            content = msgspec.msgpack.decode(packet, strict=False)
            messages = content if isinstance(content, list) else content["messages"]
            for message in messages:
                self.take(message)

    def take(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if "name" in message:
            self.scene.setdefault(message["name"], {}).update(message)
        if kind == "BackgroundImageMessage":
            self.pictures.append(np.asarray(Image.open(io.BytesIO(message["rgb_bytes"])), dtype=np.float32) / 255.0)
            if message["depth_bytes"]:
                low = np.asarray(Image.open(io.BytesIO(message["depth_bytes"])), dtype=np.float64)
                self.depths.append(low @ np.array([1.0, 256.0, 65536.0]) / 100_000)
        elif kind == "CameraFrustumMessage":
            self.frusta.append(message)
        elif kind.startswith("SetCamera"):
            self.moves.append(message)
        elif kind == "GuiUpdateMessage":
            self.panel.setdefault(message["id"], {}).update(message["updates"])
        elif "id" in message:
            self.panel.setdefault(message["id"], {}).update(message)

    def entry(self, label: str) -> dict[str, Any]:
        """The panel's entry with a label."""
        (found,) = [entry for entry in self.panel.values() if entry.get("label") == label]
        return found

    def set(self, label: str, value: Any) -> None:
        """What a browser sends when someone uses a control; a button is pressed by setting it to True."""
        entry = self.entry(label)
        if "value" in entry:
            entry["value"] = value  # the server tells other browsers, not the one that it has from
        self.send(type="GuiUpdateMessage", id=entry["id"], updates={"value": value})

    def wait_for(self, condition: Callable[[], Any], what: str) -> None:
        """Reads messages until something has come true."""
        end = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"not within {PATIENCE_S} s: {what}")
            self.receive(0.2)

    def picture(self, size: int, count: int = 1) -> np.ndarray:
        """The next picture of full size that comes after this call; ``count`` of them, the last is returned."""
        self.pictures.clear()
        self.depths.clear()
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            self.receive(0.1)
            full = [picture for picture in self.pictures if picture.shape[0] == size]
            if len(full) >= count:
                return full[-1]
        raise TimeoutError(f"no picture of {size} pixels within {PATIENCE_S} s; {len(self.pictures)} others came")

    def settled_picture(self, size: int) -> np.ndarray:
        """The last picture once no new one has come for a while."""
        picture = self.picture(size)
        while True:
            before = len(self.pictures)
            self.receive(SETTLED_S)
            if len(self.pictures) == before:
                return self.pictures[-1] if self.pictures[-1].shape[0] == size else picture


@contextmanager
def connected(port: int) -> Iterator[Client]:
    """A client that has sent its first camera."""
    with connect(f"ws://127.0.0.1:{port}", max_size=None, compression=None, close_timeout=1) as websocket:
        client = Client(websocket)
        client.send_camera()
        yield client
