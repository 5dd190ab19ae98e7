"""The generator's path-length penalty on some of a step's pictures."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from gan3d_ns.model_components.losses import full_precision
from gan3d_ns.model_components.occupancy_grids import OccupancyGrid
from gan3d_ns.model_components.path_length import PathLengthRegulariser
from gan3d_ns.model_components.surface import SurfaceHits
from gan3d_ns.models.generator import Generator
from gan3d_ns.pipelines.step import Fakes, Purpose, shown_as
from gan3d_ns.pipelines.style_mixing import mixed_codes

BATCH_SHARE = 2
"""One in so many pictures is measured (StyleGAN2; VolumeGAN, released code)."""


def measured_pictures(first: int) -> slice:
    """Which pictures of a part are measured, whose first picture is that one of the step's batch."""
    return slice(-first % BATCH_SHARE, None, BATCH_SHARE)


def num_measured(part: slice) -> int:
    """How many pictures of a part of the batch are measured."""
    return len(range(part.stop - part.start)[measured_pictures(part.start)])


def path_length_penalty(
    generator: Generator,
    fakes: Fakes,
    regulariser: PathLengthRegulariser,
    grid: OccupancyGrid | None = None,
    of: int | None = None,
    total: Callable[[Tensor], Tensor] = torch.Tensor.detach,
) -> Float[Tensor, ""]:
    """The penalty on every second picture of a step, made once more from codes that each layer has for itself.

    The rays and the samples along them are those of the pictures and carry no gradient, as in the release; noise is
    fresh.

    Args:
        generator: in training.
        fakes: the step's pictures, or a part of them.
        regulariser: keeps the running mean of the lengths.
        grid: where matter can be.
        of: how many pictures of the whole step are measured; None: those that are measured now.
        total: sums numbers over these processes.
    """
    part = measured_pictures(fakes.draw.first)
    draw, render = fakes.draw[part], fakes.render
    if len(draw) == 0:
        nothing = render.rgb.new_zeros(0, 3, 1, 1)
        return regulariser(nothing, nothing.flatten(2), of=of, total=total)
    randomness = draw.randomness(Purpose.PENALTY)
    with full_precision(render.distances):
        codes = mixed_codes(generator, draw.latents, draw.mixing).transpose(0, 1)
        if not codes.requires_grad:
            codes = codes.requires_grad_()  # of a method without a mapping network
        styles = generator.field.condition_layers(codes.transpose(0, 1))
        hits = SurfaceHits(render.surface_depth[part], render.hit[part])
        rays = without_gradient(fakes.rays[part])
        again = generator.composite(styles, rays, render.distances[part], hits, grid, jitter=randomness)
        pictures = shown_as(generator.pictures(again, styles, randomness))
        return regulariser(pictures, codes, generator=randomness, of=of, total=total)


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
