"""What a neural renderer makes of the view of any camera."""

from __future__ import annotations

import math
from typing import Optional

import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.scene_box import OrientedBox
from torch import Tensor

from gan3d_ns.cameras.pose_prior import PosePriorConfig
from gan3d_ns.model_components.neural_renderers import NeuralRenderer, as_image, resized
from gan3d_ns.models.ray_bounds import with_near_and_far
from gan3d_ns.models.shown_object import ShownObject

FEWEST_RAYS = 4
"""Along a side of a feature image: a network that looks at neighbours needs some."""
MOST_TIMES = 8
"""Longest side of a feature image over that of a training picture; a camera that sees more sees it coarser."""


def feature_image_size(camera: Cameras, prior: PosePriorConfig, renderer: NeuralRenderer) -> tuple[int, int]:
    """Rows and columns of features such that one covers as much of the object as in a training picture.

    The network has learnt what a feature of that size looks like; with smaller ones its textures would shrink.
    """
    trained = (renderer.side - 1) / 2.0 / math.tan(math.radians(prior.fov_deg) / 2.0)
    distance = float(camera.camera_to_worlds[..., :3, 3].norm())
    scale = trained * distance / prior.radius * renderer.ray_side / renderer.side
    height, width = int(camera.height.reshape(-1)[0]), int(camera.width.reshape(-1)[0])
    sides = [scale * height / float(camera.fy.reshape(-1)[0]), scale * width / float(camera.fx.reshape(-1)[0])]
    shrink = min(1.0, MOST_TIMES * renderer.ray_side / max(sides))
    rows, columns = (max(FEWEST_RAYS, round(shrink * side)) for side in sides)
    return rows, columns


@torch.no_grad()
def finished_picture(
    shown: ShownObject,
    camera: Cameras,
    prior: PosePriorConfig,
    bounds: PosePriorConfig,
    obb_box: Optional[OrientedBox] = None,
    rays_at_once: int = 8192,
) -> Optional[Float[Tensor, "height width 3"]]:
    """The finished picture in [0, 1] of one camera, made at the scale of the training; None without a neural renderer.

    Args:
        shown: the object.
        camera: one camera, of any size, place and lens.
        prior: the training cameras, as far as one knows them: they say how large features are.
        bounds: a prior whose near and far hold all that cameras can see.
        obb_box: what lies outside of it is not seen.
        rays_at_once: bounds the memory.
    """
    generator, renderer = shown.generator, shown.generator.neural_renderer
    if renderer is None:
        return None
    rows, columns = feature_image_size(camera, prior, renderer)
    height, width = int(camera.height.reshape(-1)[0]), int(camera.width.reshape(-1)[0])
    across, down = columns / width, rows / height
    small = Cameras(
        camera_to_worlds=camera.camera_to_worlds.reshape(1, *camera.camera_to_worlds.shape[-2:]),
        fx=camera.fx.reshape(1, 1) * across,
        fy=camera.fy.reshape(1, 1) * down,
        cx=camera.cx.reshape(1, 1) * across,
        cy=camera.cy.reshape(1, 1) * down,
        width=columns,
        height=rows,
        camera_type=camera.camera_type.reshape(1, 1),
    )
    bundle = small.generate_rays(camera_indices=0, keep_shape=True, obb_box=obb_box).flatten()
    rays, valid = with_near_and_far(bounds, bundle)
    parts = []
    for start in range(0, rows * columns, rays_at_once):
        output = generator.render(shown.styles, rays[start : start + rays_at_once].reshape((1, -1)))
        assert output.features is not None
        parts.append(output.features)
    features = torch.where(valid[None, :, None], torch.cat(parts, dim=1), generator.background_grey)
    picture = renderer(as_image(features, columns), shown.styles)
    return resized(picture, height, width)[0].permute(1, 2, 0).clamp(0.0, 1.0)
