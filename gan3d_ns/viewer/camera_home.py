"""Where a browser starts: on the prior's mean pose, looking at the object, with the world's up direction.

With it come the other things that nerfstudio's viewer starts with and that suit rooms better than small objects.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import viser
from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.viewer.viewer_elements import ViewerControl

if TYPE_CHECKING:
    from nerfstudio.viewer.viewer import Viewer

WORLD_UP = (0.0, 1.0, 0.0)
FRAME_MARGIN = 1.25
"""The start field of view over the prior's: some room around the object."""
STEEPEST = math.radians(85.0)
"""Straight above the object a view has no up direction."""
FRUSTUM_SCALE = 0.35
"""nerfstudio's default is made for wide lenses; the narrow ones of a pose prior would be dots."""
CPU_MAX_RES = 256
"""Largest side of a picture at the start where there is no GPU: a quarter of the work of nerfstudio's 512, so that
pictures follow a training more closely too. The panel's "Max res" changes it."""
BUTTON_OFFSET = 0.75
"""Places the button right below the latent controls, see there."""


def below_the_pole(position: tuple[float, float, float]) -> tuple[float, float, float]:
    """The position itself, or the nearest one at its distance that is not straight above or below the origin."""
    x, y, z = position
    radius, across = math.hypot(x, y, z), math.hypot(x, z)
    if across >= radius * math.cos(STEEPEST):
        return position
    ahead = (x / across, z / across) if across > 0 else (0.0, 1.0)
    level = radius * math.cos(STEEPEST)
    return ahead[0] * level, math.copysign(radius * math.sin(STEEPEST), y), ahead[1] * level


def vertical_fov(fov_deg: float, aspect: float) -> float:
    """Vertical field of view in radians that shows a square of ``fov_deg`` in a window of ``aspect`` = width/height."""
    return 2.0 * math.atan(math.tan(math.radians(fov_deg) / 2.0) / min(1.0, aspect))


class Home(NamedTuple):
    """Where a browser's camera begins, looking at the origin."""

    position: tuple[float, float, float]
    """In world units."""
    fov_deg: float
    """Field of view of the training pictures."""


class CameraHome(ViewerControl):
    """Places the camera of every browser that connects, and of one that asks for it.

    Args:
        home: where to, asked each time, as cameras may be learnt.
    """

    def __init__(self, home: Callable[[], Home]) -> None:
        self.home = home

    def _setup(self, viewer: Viewer) -> None:
        super()._setup(viewer)
        if viewer.config.camera_frustum_scale == ViewerConfig().camera_frustum_scale:
            viewer.config.camera_frustum_scale = FRUSTUM_SCALE
        if viewer.get_model().device.type == "cpu":
            viewer.control_panel._max_res.value = CPU_MAX_RES
        self.viser_server.scene.set_up_direction(WORLD_UP)
        button = self.viser_server.gui.add_button(
            "Front view", order=viewer.stats_markdown.order + BUTTON_OFFSET, icon=viser.Icon.HOME
        )
        button.on_click(lambda event: self.place(event.client) if event.client else None)
        self.viser_server.on_client_connect(self.place)

    def place(self, client: viser.ClientHandle) -> None:
        """Moves one browser's camera to the start."""
        from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO

        home = self.home()
        with client.atomic():
            client.camera.up_direction = WORLD_UP
            client.camera.position = VISER_NERFSTUDIO_SCALE_RATIO * np.array(below_the_pole(home.position))
            client.camera.look_at = (0.0, 0.0, 0.0)
            client.camera.fov = vertical_fov(home.fov_deg * FRAME_MARGIN, client.camera.aspect)
