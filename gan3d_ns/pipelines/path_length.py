"""The generator's path-length penalty on some of a step's pictures."""

from __future__ import annotations

import torch
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from gan3d_ns.model_components.losses import full_precision
from gan3d_ns.model_components.occupancy_grids import OccupancyGrid
from gan3d_ns.model_components.path_length import PathLengthRegulariser
from gan3d_ns.model_components.surface import SurfaceHits
from gan3d_ns.models.generator import Generator
from gan3d_ns.pipelines.step import Fakes, shown_as
from gan3d_ns.pipelines.style_mixing import mixed_codes

BATCH_SHARE = 2
"""One in so many pictures is measured (StyleGAN2; VolumeGAN, released code)."""


def path_length_penalty(
    generator: Generator,
    fakes: Fakes,
    regulariser: PathLengthRegulariser,
    grid: OccupancyGrid | None = None,
    share: float = 1.0,
) -> Float[Tensor, ""]:
    """The penalty on the first half of the pictures, made once more from codes that each layer has for itself.

    The rays and the samples along them are those of the pictures and carry no gradient, as in the release; noise is
    fresh.

    Args:
        generator: in training.
        fakes: the step's pictures, or a part of them.
        regulariser: keeps the running mean of the lengths.
        grid: where matter can be.
        share: of these among the step's pictures.
    """
    part = slice(0, -(-len(fakes.draw) // BATCH_SHARE))
    draw, render = fakes.draw[part], fakes.render
    randomness = torch.Generator(device=render.distances.device).manual_seed(draw.noise_seed)
    with full_precision(render.distances):
        codes = mixed_codes(generator, draw.latents, draw.mixing).transpose(0, 1)
        if not codes.requires_grad:
            codes = codes.requires_grad_()  # of a method without a mapping network
        styles = generator.field.condition_layers(codes.transpose(0, 1))
        hits = SurfaceHits(render.surface_depth[part], render.hit[part])
        rays = without_gradient(fakes.rays[part])
        again = generator.composite(styles, rays, render.distances[part], hits, grid, jitter=randomness)
        pictures = shown_as(generator.pictures(again, styles, randomness))
        return regulariser(pictures, codes, generator=randomness, share=share)


def without_gradient(rays: RayBundle) -> RayBundle:
    """The rays, through which no camera is learnt."""
    assert rays.nears is not None and rays.fars is not None
    return RayBundle(
        origins=rays.origins.detach(),
        directions=rays.directions.detach(),
        pixel_area=rays.pixel_area.detach(),
        nears=rays.nears.detach(),
        fars=rays.fars.detach(),
    )
