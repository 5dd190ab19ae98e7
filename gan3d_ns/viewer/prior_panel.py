"""The pose prior, live: a histogram, its cameras in the scene, and what other values would look like.

Nothing here changes what is trained: the values that someone tries are turned into flags for the next training.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import viser
import viser.transforms as vtf
from jaxtyping import Float
from nerfstudio.viewer.viewer_elements import ViewerControl
from torch import Tensor

from gan3d_ns.cameras.pose_prior import PosePrior, PosePriorConfig, poses_to_camera_to_world
from gan3d_ns.errors import UserError
from gan3d_ns.viewer.camera_home import FRUSTUM_SCALE, WORLD_UP
from gan3d_ns.viewer.panel_text import alarm, code, data_url, picture, small
from gan3d_ns.viewer.prior_picture import (
    OWN_COLOUR,
    TRIED_COLOUR,
    draw_poses,
    marginals,
    prior_picture,
)

if TYPE_CHECKING:
    from nerfstudio.viewer.viewer import Viewer

FOLDER = "Pose prior"
FOLDER_OFFSET = 0.85
"""Places the folder below those of the object and of the training, see ``latent_controls``."""
SCENE_ROOT = "/pose_prior"
NUM_CAMERAS, MOST_CAMERAS = 32, 128
FLAG = "--pipeline.model.pose-prior."
LIMITS_DEG: dict[str, tuple[str, float, float]] = {
    "yaw_mean_deg": ("Yaw mean", -180.0, 180.0),
    "yaw_spread_deg": ("Yaw spread", 0.0, 180.0),
    "elevation_mean_deg": ("Elev. mean", -90.0, 90.0),
    "elevation_spread_deg": ("Elev. spread", 0.0, 90.0),
}
"""Setting of the prior: label and range of its slider, in degrees."""
STEP_DEG = 0.5
MEANINGS = {
    "uniform": "evenly within mean ± spread",
    "gaussian": "Gaussian, the spread is its deviation",
    "truncated-gaussian": "Gaussian, cut at two spreads",
    "hybrid": "Gaussian or even over ± 2 spreads, by turns",
    "spherical": "evenly by area of the sphere",
    "fixed": "always the mean",
}


def flags(own: PosePriorConfig, tried: PosePriorConfig) -> str:
    """The part of an ``ns-train`` command that turns one prior into another; empty where they are the same."""
    changed = [name for name in LIMITS_DEG if getattr(own, name) != getattr(tried, name)]
    return " ".join(f"{FLAG}{name.replace('_', '-')} {getattr(tried, name):g}" for name in changed)


def frustum_length(scale: float, fov_deg: float) -> float:
    """Length of a square frustum in viser's units: viser keeps the volume that a scale gives, narrow ones get long."""
    return scale / (math.tan(math.radians(fov_deg) / 2.0) ** 2 / 3.0) ** (1.0 / 3.0)


def viser_pose(
    camera_to_world: Float[Tensor, "3 4"], scale: float, behind: float
) -> tuple[Float[np.ndarray, "4"], Float[np.ndarray, "3"]]:
    """Rotation (w, x, y, z) of a camera in OpenCV's frame, and a point ``behind`` it, in viser's units."""
    matrix = camera_to_world.double().numpy()
    rotation = vtf.SO3.from_matrix(matrix[:, :3]) @ vtf.SO3.from_x_radians(np.pi)
    return rotation.wxyz, scale * matrix[:, 3] + behind * matrix[:, 2]


class PriorPanel(ViewerControl):
    """A folder with the picture of the prior and sliders to try others; cameras drawn from it stand in the scene.

    They take the place of nerfstudio's training cameras, which for a generative method are draws of the prior too.

    Args:
        prior: gives the prior that the model uses now, so that one which learns is seen as it is.
    """

    def __init__(self, prior: Callable[[], PosePrior]) -> None:
        self.prior = prior
        self.camera_seed = 0
        self.cameras: list[viser.CameraFrustumHandle] = []
        self.looks: list[tuple[Any, ...]] = []
        """Colour and field of view of each of these."""
        self.shown: tuple[Any, ...] = ()
        """What the cameras in the scene depend on, as they stand there."""
        self.pending = 0
        self.drawing = threading.Lock()

    def _setup(self, viewer: Viewer) -> None:
        super()._setup(viewer)
        limit = viewer.config.max_num_display_images
        self.start_number = min(NUM_CAMERAS, limit) if limit >= 0 else NUM_CAMERAS
        viewer.config.max_num_display_images = 0
        viewer.hide_images.visible = viewer.show_images.visible = False
        # The slider's grid need not hold the run's numbers: until someone moves it, it stands for them.
        own = self.prior().config
        self.starts = {name: round(getattr(own, name), 1) for name in LIMITS_DEG}
        gui = self.viser_server.gui
        self.root = self.viser_server.scene.add_frame(SCENE_ROOT, show_axes=False)
        with gui.add_folder(FOLDER, order=viewer.stats_markdown.order + FOLDER_OFFSET, expand_by_default=False):
            self.show_cameras = gui.add_checkbox(
                "Show cameras", True, hint="Cameras drawn from the prior, in the scene; click one to look through it"
            )
            self.number = gui.add_slider("Cameras", 0, MOST_CAMERAS, 1, self.start_number)
            self.again = gui.add_button("Draw others", icon=viser.Icon.REFRESH)
            self.picture = gui.add_markdown("")
            self.sliders = {
                name: gui.add_slider(
                    label,
                    min(low, self.starts[name]),
                    max(high, self.starts[name]),
                    STEP_DEG,
                    self.starts[name],
                    hint="In degrees; tries another prior without touching the training",
                )
                for name, (label, low, high) in LIMITS_DEG.items()
            }
            self.words = gui.add_markdown("")
            self.reset = gui.add_button("Back to the run's prior", visible=False)
        self.show_cameras.on_update(lambda _: self.set_visibility())
        self.again.on_click(lambda _: self.draw_others())
        self.reset.on_click(lambda _: self.set_back())
        for control in (self.number, *self.sliders.values()):
            control.on_update(lambda _: self.redraw())
        self.redraw()

    def refresh(self) -> None:
        """Shows the prior as it is now, where there is a viewer: for a training, which may have moved it."""
        if hasattr(self, "reset"):
            self.redraw()

    def tried(self) -> PosePriorConfig:
        """The run's prior with what the sliders say where they were moved."""
        moved = {name: float(slider.value) for name, slider in self.sliders.items()}
        return replace(
            self.prior().config, **{name: value for name, value in moved.items() if value != self.starts[name]}
        )

    def redraw(self) -> None:
        """Picture, words and cameras of what the sliders say; of several calls at once only the last one draws."""
        self.pending += 1
        mine = self.pending
        with self.drawing:
            if mine != self.pending:
                return
            own, tried = self.prior(), self.tried()
            command = flags(own.config, tried)
            self.reset.visible = bool(command)
            try:
                prior = PosePrior(tried) if command else own
            except UserError as problem:
                self.words.content = alarm(f"Not possible: {problem}")
                return
            colour = TRIED_COLOUR if command else OWN_COLOUR
            self.show_picture(prior, colour)
            self.words.content = words(tried, command)
            self.place_cameras(prior, colour)

    def show_picture(self, prior: PosePrior, colour: tuple[int, int, int]) -> None:
        """The histograms, sent only where they have changed."""
        drawn = prior_picture(marginals(prior), colour)
        content = picture(data_url(drawn), "Yaw and elevation of the pose prior")
        if content != self.picture.content:
            self.picture.content = content

    def place_cameras(self, prior: PosePrior, colour: tuple[int, int, int]) -> None:
        """Moves the cameras in the scene to fresh draws, and makes those that are missing.

        The wide end of a frustum lies where the camera stands: with its tip there, those that look from about where
        a browser starts would stand before its lens.
        """
        from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO

        count = max(0, min(MOST_CAMERAS, int(self.number.value)))
        poses = draw_poses(prior, MOST_CAMERAS, self.camera_seed)[:count]
        key = (poses.numpy().tobytes(), colour, prior.config.fov_deg, prior.config.radius)
        if key == self.shown:
            return
        scale = self.viewer.config.camera_frustum_scale or FRUSTUM_SCALE
        length = frustum_length(scale, prior.config.fov_deg)
        look = (colour, prior.config.fov_deg)
        for index, matrix in enumerate(poses_to_camera_to_world(poses, prior.config.radius)):
            wxyz, position = viser_pose(matrix, VISER_NERFSTUDIO_SCALE_RATIO, length)
            if index < len(self.cameras) and self.looks[index] == look:
                camera = self.cameras[index]
                camera.wxyz, camera.position, camera.visible = wxyz, position, True
                continue
            camera = self.viser_server.scene.add_camera_frustum(
                f"{SCENE_ROOT}/camera_{index:03d}",
                fov=math.radians(prior.config.fov_deg),
                aspect=1.0,
                scale=scale,
                color=colour,
                wxyz=wxyz,
                position=position,
            )
            camera.on_click(lambda event: self.look_through(event.client, event.target))
            self.cameras[index : index + 1], self.looks[index : index + 1] = [camera], [look]
        for camera in self.cameras[count:]:
            camera.visible = False
        self.shown = key

    def look_through(self, client: viser.ClientHandle, camera: viser.CameraFrustumHandle) -> None:
        """Moves one browser to where a camera of the scene stands; it goes on turning around the object."""
        from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO

        direction = camera.position / np.linalg.norm(camera.position)
        with client.atomic():
            client.camera.up_direction = WORLD_UP
            client.camera.position = VISER_NERFSTUDIO_SCALE_RATIO * self.prior().config.radius * direction
            client.camera.look_at = (0.0, 0.0, 0.0)

    def set_visibility(self) -> None:
        """All cameras at once."""
        self.root.visible = bool(self.show_cameras.value)

    def draw_others(self) -> None:
        """Other cameras of the same prior, and the histogram of the prior as it is now."""
        self.camera_seed += 1
        self.redraw()

    def set_back(self) -> None:
        """Sliders to where they started; each says so to :meth:`redraw`."""
        for name, slider in self.sliders.items():
            slider.value = self.starts[name]


def words(config: PosePriorConfig, command: str) -> str:
    """What the picture shows, and the flags that would train with it."""
    about = f"Drawn {MEANINGS[config.distribution]}; field of view {config.fov_deg:g}°."
    if not command:
        return small(f"{about} Move a slider to try another prior: the run keeps its own.")
    lines = command.replace(f" {FLAG}", f"\n{FLAG}").splitlines()
    return small(f"{about} Only tried here; to train with it:<br/>" + "<br/>".join(code(line) for line in lines))
