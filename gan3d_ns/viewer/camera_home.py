"""Where a browser starts: on the prior's mean pose, looking at the object, with the world's up direction."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import viser
from nerfstudio.viewer.viewer_elements import ViewerControl

if TYPE_CHECKING:
    from nerfstudio.viewer.viewer import Viewer

WORLD_UP = (0.0, 1.0, 0.0)
FRAME_MARGIN = 1.25
"""The start field of view over the prior's: some room around the object."""


class CameraHome(ViewerControl):
    """Places the camera of every browser that connects.

    Args:
        position: start position in world units.
        fov_deg: field of view of the prior's cameras, in degrees.
    """

    def __init__(self, position: tuple[float, float, float], fov_deg: float) -> None:
        self.position = position
        self.fov_deg = fov_deg

    def _setup(self, viewer: Viewer) -> None:
        from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO

        super()._setup(viewer)
        self.viser_server.scene.set_up_direction(WORLD_UP)

        def place(client: viser.ClientHandle) -> None:
            client.camera.up_direction = WORLD_UP
            client.camera.position = tuple(VISER_NERFSTUDIO_SCALE_RATIO * value for value in self.position)
            client.camera.look_at = (0.0, 0.0, 0.0)
            client.camera.fov = math.radians(self.fov_deg) * FRAME_MARGIN

        self.viser_server.on_client_connect(place)
        for client in self.viser_server.get_clients().values():
            place(client)
