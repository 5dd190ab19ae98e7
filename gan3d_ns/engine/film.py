"""Moving pictures of a generator: the camera goes around, the object changes, or both."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import torch
from jaxtyping import Float, UInt8
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from gan3d_ns.cameras.pose_prior import PosePrior
from gan3d_ns.cameras.trajectories import view_range
from gan3d_ns.engine.sample_panel import Kind, View, picture
from gan3d_ns.model_components.latents import Curve, LatentSelection, Space
from gan3d_ns.models.gan_model import GanModel
from gan3d_ns.viewer.render_thread import asking_for

AIR = 1.1
"""Width of the frame over that of the training pictures, for objects that turn all around before nothing."""
LONGEST_ROW = 4
"""Pictures that stand in one row before a second one is begun."""
Reel = Sequence[LatentSelection]
"""What one place of the screen shows: the object of each frame."""


@dataclass(frozen=True)
class Screen:
    """How the pictures of a frame are laid out: a cell for each reel, a picture in it for each kind, side by side."""

    resolution: int
    """Side of a picture in pixels."""
    what: tuple[Kind, ...]
    num_cells: int
    columns: int
    """Cells in a row."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of a frame."""
        rows = math.ceil(self.num_cells / self.columns)
        return rows * self.resolution, self.columns * len(self.what) * self.resolution, 3

    def place(self, cell: int, kind: int) -> tuple[slice, slice]:
        """Where a picture goes."""
        row, column = divmod(cell, self.columns)
        top, left = row * self.resolution, (column * len(self.what) + kind) * self.resolution
        return slice(top, top + self.resolution), slice(left, left + self.resolution)


def screen_for(num_cells: int, what: tuple[Kind, ...], resolution: int, columns: int | None = None) -> Screen:
    """A screen for so many reels: one row as long as it is short, else about a square; or so many cells in a row."""
    if columns is None:
        short = num_cells * len(what) <= LONGEST_ROW
        columns = num_cells if short else math.ceil(math.sqrt(num_cells / len(what)))
    return Screen(resolution, what, num_cells, min(columns, num_cells))


def journey(
    objects: Sequence[LatentSelection], num_frames: int, space: Space = "codes", curve: Curve = "linear"
) -> Reel:
    """A closed way through the objects, each at equal distance in time: the last leads back to the first.

    Between two of them the share of the second is t^2 (3 - 2 t), so that the way has no kink where it reaches one.
    """
    reel = []
    for frame in range(num_frames):
        index, passed = divmod(frame * len(objects), num_frames)
        first, second = objects[index], objects[(index + 1) % len(objects)]
        time = passed / num_frames
        way = {"interpolation": time * time * (3.0 - 2.0 * time), "space": space, "curve": curve}
        reel.append(replace(first, second_seed=second.seed, second_saved=second.saved, **way))
    return reel


def filming_fov_deg(model: GanModel) -> float:
    """The field of view of the training pictures; with some air where objects turn all around before nothing."""
    prior = model.pose_prior.config
    air = AIR if view_range(prior).all_around else 1.0
    return math.degrees(2.0 * math.atan(air * math.tan(math.radians(prior.fov_deg) / 2.0)))


def film(
    model: GanModel, reels: Sequence[Reel], poses: Float[Tensor, "frame 2"], fov_deg: float, screen: Screen
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """The frames, as they are rendered; each reel has a selection for each pose.

    What belongs to an object (styles, lattice) is made once for all frames that show it one after the other, and
    whether a lattice is made at all is decided by all of them together: an object looks the same in all its frames.
    """
    prior = PosePrior(replace(model.pose_prior.config, fov_deg=fov_deg))
    cameras = prior.cameras(poses.to(model.device), screen.resolution)
    background = round(255 * model.generator_ema.background_grey)
    stages = [Stage(model, reel, screen.resolution) for reel in reels]
    for index in range(len(poses)):
        frame = np.full(screen.shape, background, dtype=np.uint8)
        for cell, stage in enumerate(stages):
            view = stage.view(index, cameras[index : index + 1], screen.what)
            for position, kind in enumerate(screen.what):
                pixels = picture(view, model.pose_prior.config, kind)[0].clamp(0.0, 1.0) * 255.0
                frame[screen.place(cell, position)] = pixels.round().to(torch.uint8).cpu().numpy()
        yield frame


class Stage:
    """One reel and the model that shows it.

    Args:
        model: whose weights are shown.
        reel: the object of each frame.
        resolution: side of the pictures.
    """

    def __init__(self, model: GanModel, reel: Reel, resolution: int) -> None:
        # A shallow copy has the same weights and a shown object of its own: several objects stay at hand in turn.
        self.model, self.reel = copy.copy(model), reel
        self.num_others: list[int] = []
        """Rays in the other frames of each frame's object."""
        for _, frames in groupby(reel):
            count = len(list(frames))
            self.num_others += [(count - 1) * resolution**2] * count

    @torch.no_grad()
    def view(self, index: int, camera: Cameras, what: Sequence[Kind]) -> View:
        """What a camera sees of the object of a frame."""
        self.model.shown_selection = self.reel[index]
        # As if the others had been rendered before, so that no frame decides otherwise, see `GanModel.viewing_grid`.
        self.model.shown_object().num_rays = self.num_others[index]
        with asking_for(what):
            outputs = self.model.get_outputs_for_camera(camera)
        return View(
            rgb=outputs["rgb"][None],
            surface_depth=outputs["depth"][None, ..., 0],
            hit=outputs["surface_hit"][None, ..., 0] > 0,
            normals=2.0 * outputs["normals"][None] - 1.0,
        )
