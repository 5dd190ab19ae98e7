"""Where a browser starts, on a real viser server."""

from __future__ import annotations

import math
import types

import numpy as np
import pytest
import torch
import viser
from nerfstudio.configs.base_config import ViewerConfig
from opened_viewer import connected, free_port

from gan3d_ns.viewer.camera_home import CPU_MAX_RES, FRUSTUM_SCALE, CameraHome, Home, below_the_pole, vertical_fov


@pytest.mark.parametrize("position", [(0.0, 1.0, 0.0), (0.0, -2.0, 0.0), (0.01, 1.0, 0.0), (0.0, 0.3, 0.9)])
def test_views_from_the_poles_keep_an_up_direction(position):
    placed = np.array(below_the_pole(position))
    assert np.linalg.norm(placed) == pytest.approx(np.linalg.norm(position))
    assert math.hypot(placed[0], placed[2]) > 0.08 * np.linalg.norm(placed)
    assert placed[1] * position[1] > 0.0


def test_a_narrow_window_opens_the_lens_so_that_the_width_fits():
    assert vertical_fov(12.0, 1.6) == pytest.approx(math.radians(12.0))
    across = 2.0 * math.atan(math.tan(vertical_fov(12.0, 0.5) / 2.0) * 0.5)
    assert across == pytest.approx(math.radians(12.0))


@pytest.fixture
def viewer():
    """As much of nerfstudio's viewer as the camera's home touches, around a real viser server."""
    port = free_port()
    server = viser.ViserServer(host="127.0.0.1", port=port, verbose=False)
    yield types.SimpleNamespace(
        port=port,
        viser_server=server,
        config=ViewerConfig(),
        stats_markdown=types.SimpleNamespace(order=1.0),
        control_panel=types.SimpleNamespace(_max_res=types.SimpleNamespace(value=512)),
        get_model=lambda: types.SimpleNamespace(device=torch.device("cpu")),
    )
    server.stop()


@pytest.mark.parametrize("scale", [ViewerConfig().camera_frustum_scale, 2.0])
def test_frusta_are_enlarged_unless_a_size_was_asked_for(viewer, scale: float):
    viewer.config.camera_frustum_scale = scale
    CameraHome(lambda: Home((0.0, 0.0, 1.0), 12.0))._setup(viewer)
    assert viewer.config.camera_frustum_scale == (2.0 if scale == 2.0 else FRUSTUM_SCALE)


@pytest.mark.parametrize(("device", "max_res"), [("cpu", CPU_MAX_RES), ("cuda", 512)])
def test_pictures_start_smaller_without_a_gpu(viewer, device: str, max_res: int):
    viewer.get_model = lambda: types.SimpleNamespace(device=torch.device(device))
    CameraHome(lambda: Home((0.0, 0.0, 1.0), 12.0))._setup(viewer)
    assert viewer.control_panel._max_res.value == max_res


def test_every_browser_starts_in_front_of_the_object_with_y_up(viewer):
    CameraHome(lambda: Home((0.0, 0.0, 1.0), 12.0))._setup(viewer)
    with connected(viewer.port) as client:
        client.receive(1.0)
        assert len(client.moves) == 4
        (handle,) = viewer.viser_server.get_clients().values()
        np.testing.assert_allclose(handle.camera.position, [0.0, 0.0, 10.0])
        np.testing.assert_allclose(handle.camera.look_at, 0.0)
        np.testing.assert_allclose(handle.camera.up_direction, [0.0, 1.0, 0.0])
        assert math.degrees(handle.camera.fov) == pytest.approx(15.0)


def test_the_button_brings_a_browser_back(viewer):
    CameraHome(lambda: Home((0.0, 0.0, 1.0), 12.0))._setup(viewer)
    with connected(viewer.port) as client:
        client.receive(0.5)
        (handle,) = viewer.viser_server.get_clients().values()
        handle.camera.position = (3.0, 2.0, 1.0)
        client.set("Front view", True)
        client.receive(0.5)
        np.testing.assert_allclose(handle.camera.position, [0.0, 0.0, 10.0])
