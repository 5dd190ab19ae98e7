"""Pictures of what a field knows of places: its coordinate descriptors, composited and reduced to three colours.

VolumeGAN, figure 6: the descriptors of one part have one colour, in all objects and from all sides.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from gan3d_ns.cameras.pose_prior import poses_from_degrees
from gan3d_ns.errors import UserError
from gan3d_ns.model_components.latents import LatentSelection
from gan3d_ns.model_components.sampling import sample_positions
from gan3d_ns.models.gan_model import GanModel

VISIBLE_ACCUMULATION = 0.5
OUTER_QUANTILE = 0.02
"""Share of the pixels whose colour is cut off at either end of a channel."""


@torch.no_grad()
def render_descriptors(
    model: GanModel, selections: list[LatentSelection], yaw_deg: float, resolution: int
) -> Float[Tensor, "object side side channel"]:
    """Descriptors of the chosen objects, composited as their colours are, at the prior's mean elevation; on the CPU.

    The last channel is the opacity.

    Raises:
        UserError: the field keeps no descriptors.
    """
    prior = model.pose_prior
    pose = poses_from_degrees(torch.tensor([yaw_deg]), torch.tensor([prior.config.elevation_mean_deg]))
    all_rays, chunk = prior.rays(pose.to(model.device), resolution), model.config.eval_num_rays_per_chunk
    num_channels = model.shown_generator.field.descriptor_dim
    if num_channels == 0:
        raise UserError(
            f"{model.config.method_name} has no feature volume whose descriptors could be shown; take a run of "
            "volumegan, or another --what."
        )
    pictures = torch.zeros(len(selections), resolution**2, num_channels + 1)
    for row, selection in zip(pictures, selections, strict=True):
        generator, styles = model.generator_of(selection), model.styles_of(selection)
        for start in range(0, resolution**2, chunk):
            rays = all_rays[:, start : start + chunk]
            output = generator.render(styles, rays)
            positions = sample_positions(rays, output.distances)
            descriptors = generator.field.descriptors(positions.flatten(1, 2), styles)
            composited = (output.weights[..., None] * descriptors.unflatten(1, positions.shape[1:3])).sum(dim=2)
            row[start : start + chunk] = torch.cat((composited, output.accumulation[..., None]), dim=-1)[0].cpu()
    return pictures.unflatten(1, (resolution, resolution))


def principal_pictures(
    descriptors: list[Float[Tensor, "_ side side channel"]],
) -> list[Float[Tensor, "_ side side 3"]]:
    """The first three principal components as red, green and blue in [0, 1]; black where nothing is seen.

    The components are those of all visible pixels of all pictures, each turned so that its largest entry is positive,
    and spread from their second to their 98th percentile.

    Args:
        descriptors: of several rows of pictures, the last channel being the opacity.
    """
    every = torch.cat([row.flatten(0, 2) for row in descriptors])
    visible = every[:, -1] > VISIBLE_ACCUMULATION
    values = every[:, :-1] / every[:, -1:].clamp(min=VISIBLE_ACCUMULATION)
    colours = torch.zeros(len(every), 3)
    if visible.any():
        seen = values[visible].double()
        centred = seen - seen.mean(dim=0)
        # Largest first.
        axes = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)[:, :3]
        largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
        components = centred @ (axes * largest.sign())
        ends = torch.tensor((OUTER_QUANTILE, 1.0 - OUTER_QUANTILE), dtype=components.dtype)
        low, high = torch.quantile(components[:: 1 + len(components) // 1_000_000], ends, dim=0)
        spread = (components - low) / (high - low).clamp(min=1e-12)
        colours[visible, : axes.shape[1]] = spread.clamp(0.0, 1.0).float()
    sizes = [row.shape[:-1] for row in descriptors]
    parts = colours.split([size.numel() for size in sizes])
    return [part.reshape(*size, 3) for part, size in zip(parts, sizes, strict=True)]
