"""Splats fitted to the generator's own pictures, from random cameras of the prior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from gan3d_ns.exporter.object_pictures import ObjectPicture, PicturedObject
from gan3d_ns.exporter.splat_render import SplatPicture
from gan3d_ns.exporter.splats import Splats

Rasterizer = Callable[[Splats, Cameras, Tensor], SplatPicture]
"""Splats, one camera and a background to a picture: `render_splats` or `render_with_gsplat`."""

HELD_OUT_SEED = 1
"""Of the poses that no fit looks at; those of the points are drawn with 0, those of the refinement with 2."""
TRAINING_SEED = 2
OPACITY_MARGIN = 1e-4
"""Opacities keep this distance from 0 and 1, where their logits are endless."""


@dataclass(frozen=True)
class SplatRefinementConfig:
    """Adam on all properties of the splats, one picture a step."""

    num_steps: int = 300
    """Pictures that the splats are fitted to, one after the other."""
    resolution: int = 128
    """Side of the pictures in pixels. Pictures of splats are blurred by part of a pixel (`BLUR`): they are fitted to
    look right at this size."""
    similarity_weight: float = 0.2
    """Share of 1 - SSIM in the loss; the rest is L1 (Kerbl et al. 2023, equation 7)."""
    position_rate: float = 0.1
    """Learning rates: of positions as a fraction of the splats' size,"""
    shape_rate: float = 0.02
    """of logarithmic scales and of rotations,"""
    opacity_rate: float = 0.06
    """of opacity logits,"""
    colour_rate: float = 0.02
    """and of colours."""


def picture_loss(
    found: Float[Tensor, "side side 3"], wanted: Float[Tensor, "side side 3"], similarity_weight: float
) -> Float[Tensor, ""]:
    """(1 - w) L1 + w (1 - SSIM)."""
    similarity = structural_similarity_index_measure(
        found.permute(2, 0, 1)[None], wanted.permute(2, 0, 1)[None], data_range=1.0
    )
    assert isinstance(similarity, Tensor)
    return (1.0 - similarity_weight) * (found - wanted).abs().mean() + similarity_weight * (1.0 - similarity)


def refine_splats(
    splats: Splats,
    pictured: PicturedObject,
    rasterize: Rasterizer,
    config: SplatRefinementConfig,
    progress: Callable[[int, int], None] | None = None,
) -> Splats:
    """The splats after `num_steps` steps against pictures from random poses of the prior.

    Object and splats stand before the same random grey, so that opacity counts where object and background look alike.
    """
    randomness = torch.Generator().manual_seed(TRAINING_SEED)
    size = float(splats.scales.amax(dim=-1).median())
    logits = splats.opacities.clamp(OPACITY_MARGIN, 1.0 - OPACITY_MARGIN).logit()
    start = (splats.positions, splats.scales.log(), splats.rotations, logits, splats.colours)
    positions, shapes, rotations, logits, colours = (value.detach().clone().requires_grad_(True) for value in start)
    rates = {
        positions: config.position_rate * size,
        shapes: config.shape_rate,
        rotations: config.shape_rate,
        logits: config.opacity_rate,
        colours: config.colour_rate,
    }
    optimizer = torch.optim.Adam([{"params": [value], "lr": rate} for value, rate in rates.items()], eps=1e-15)
    decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.1 ** (1.0 / max(config.num_steps, 1)))

    def current() -> Splats:
        return Splats(positions, shapes.exp(), rotations, torch.sigmoid(logits), colours)

    for step in range(config.num_steps):
        target = pictured.picture(pictured.prior.sample(1, randomness)[0], config.resolution)
        background = torch.rand((), generator=randomness).to(positions).expand(3)
        found = rasterize(current(), target.camera, background)
        loss = picture_loss(found.rgb, target.before(background), config.similarity_weight)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        decay.step()
        with torch.no_grad():
            colours.clamp_(0.0, 1.0)
        if progress is not None:
            progress(step + 1, config.num_steps)
    return current().detached()


def held_out_pictures(pictured: PicturedObject, num: int, resolution: int) -> list[ObjectPicture]:
    """Pictures from poses that nothing was fitted to."""
    poses = pictured.prior.sample(num, torch.Generator().manual_seed(HELD_OUT_SEED))
    return [pictured.picture(pose, resolution) for pose in poses]


@torch.no_grad()
def mean_psnr(splats: Splats, pictures: list[ObjectPicture], rasterize: Rasterizer) -> float:
    """Mean over pictures of -10 log10 of the mean square error, in decibels, before the generator's background."""
    errors = []
    for picture in pictures:
        background = torch.full((3,), picture.background, device=picture.rgb.device)
        found = rasterize(splats, picture.camera, background).rgb.clamp(0.0, 1.0)
        errors.append((found - picture.rgb).square().mean())
    return float(-10.0 * torch.log10(torch.stack(errors).clamp(min=1e-10)).mean())
