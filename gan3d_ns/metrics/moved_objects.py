"""How much of a picture changes that should not, when one object of a scene is moved (GIRAFFE, section 4.2)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from gan3d_ns.cameras.viewpoints import Viewpoints
from gan3d_ns.errors import UserError
from gan3d_ns.fields.composite_field import BOX_MARGIN, CompositeField, CompositeStyles
from gan3d_ns.fields.placement import in_box, turned
from gan3d_ns.model_components.latents import LatentSelection
from gan3d_ns.model_components.neural_renderers import as_image
from gan3d_ns.model_components.scenes import ObjectEdit, Scene
from gan3d_ns.models.gan_model import GanModel

SMALLEST_STEP = 1e-9
"""Along a ray's direction, below which it runs parallel to a box's side."""


@dataclass(frozen=True)
class ChangeElsewhere:
    """What changes outside the rays through the moved object's box, where it was and where it is; colours in [0, 1]."""

    largest_of_rays: float
    """Of composited features of rays that miss both boxes; 0 where things are independent."""
    largest: float
    """Of the finished picture's pixels outside the boxes' rays."""
    mean: float
    """The same, on the average over these pixels and channels."""
    mean_inside: float
    """Of the pixels inside, for comparison."""
    largest_beyond: float
    """Of pixels that no changed ray can reach through the neural renderer's kernels: 0 by construction."""
    share_outside: float
    """Of the picture's pixels that lie outside the boxes' rays."""


def rays_through_box(
    field: CompositeField, styles: CompositeStyles, index: int, rays: RayBundle
) -> Bool[Tensor, "batch ray"]:
    """Which rays meet the box of an object, with the margin in which its matter may lie."""
    scale = field.config.coordinate_scale
    angle, sides = styles.rotations[:, index, None], styles.scales[:, index, None]
    origins = in_box(field.in_field(rays.origins) * scale, styles.translations[:, index, None], angle, sides)
    ways = turned(field.in_field(rays.directions), angle) / sides
    ways = torch.where(ways.abs() < SMALLEST_STEP, SMALLEST_STEP, ways)
    ends = torch.stack(((-BOX_MARGIN - origins) / ways, (BOX_MARGIN - origins) / ways))
    entry, leave = ends.amin(dim=0).amax(dim=-1), ends.amax(dim=0).amin(dim=-1)
    return (leave >= entry) & (leave >= 0.0) & styles.present[:, index, None]


def reached(rays: Bool[Tensor, "view row column"], doublings: int) -> Bool[Tensor, "view rows columns"]:
    """The pixels that some rays' features can change: those within reach of GIRAFFE's kernels.

    At each scale a 3 x 3 convolution; between them colours are doubled (two pixels further) and features (none).
    """

    def grown(mask: Tensor, by: int) -> Tensor:
        return F.max_pool2d(mask, 2 * by + 1, stride=1, padding=by)

    features = rays[:, None].float()
    colours = grown(features, 1)
    for _ in range(doublings):
        features = grown(F.interpolate(features, scale_factor=2.0), 1)
        colours = torch.maximum(grown(F.interpolate(colours, scale_factor=2.0), 2), grown(features, 1))
    return colours[:, 0] > 0


@torch.no_grad()
def change_elsewhere(
    model: GanModel, selection: LatentSelection, edit: ObjectEdit, index: int = 0, viewpoints: Viewpoints | None = None
) -> ChangeElsewhere:
    """Moves one object of a scene and compares the two pictures where it neither was nor is.

    Args:
        model: of a method with scenes.
        selection: the scene.
        edit: what is done to the object.
        index: of the object, from 0.
        viewpoints: one camera; without it the prior's mean.

    Raises:
        UserError: the method has no scenes, or no neural renderer.
    """
    generator = model.generator_of(selection)
    field, renderer = generator.field, generator.neural_renderer
    if not isinstance(field, CompositeField) or renderer is None:
        raise UserError(f"{model.config.method_name} shows a single object, which has no others beside it.")
    scene = selection.used_scene or Scene(seed=selection.seed)
    edits = [scene.edit_of(position) for position in range(max(len(scene.objects), index + 1))]
    edits[index] = edit
    before = model.styles_of(selection)
    after = model.styles_of(replace(selection, scene=replace(scene, objects=tuple(edits))))
    assert isinstance(before, CompositeStyles) and isinstance(after, CompositeStyles)
    if viewpoints is None:
        viewpoints = Viewpoints(model.pose_prior.mean_pose(model.device)[None])
    rays = generator.picture_rays(model.pose_prior, viewpoints, renderer.side)
    touched = rays_through_box(field, before, index, rays) | rays_through_box(field, after, index, rays)
    rendered = [generator.render(styles, rays) for styles in (before, after)]
    features = [output.features for output in rendered]
    assert features[0] is not None and features[1] is not None
    of_rays = (features[1] - features[0]).abs().amax(dim=-1)[~touched]
    pictures = [generator.pictures(output, styles) for output, styles in zip(rendered, (before, after), strict=True)]
    change = (pictures[1] - pictures[0]).abs()
    columns = renderer.ray_side
    mask = as_image(touched[..., None].float(), columns)[:, 0] > 0
    inside = F.interpolate(mask[:, None].float(), change.shape[-2:])[:, 0] > 0
    beyond = ~reached(mask, int(renderer.doublings))

    def largest(where: Tensor) -> float:
        values = change.amax(dim=1)[where]
        return float(values.max()) if len(values) else 0.0

    def mean(where: Tensor) -> float:
        values = change.mean(dim=1)[where]
        return float(values.mean()) if len(values) else 0.0

    return ChangeElsewhere(
        largest_of_rays=float(of_rays.max()) if len(of_rays) else 0.0,
        largest=largest(~inside),
        mean=mean(~inside),
        mean_inside=mean(inside),
        largest_beyond=largest(beyond),
        share_outside=float((~inside).float().mean()),
    )
