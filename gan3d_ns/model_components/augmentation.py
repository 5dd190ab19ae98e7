"""Differentiable augmentation of what a discriminator is shown (Zhao et al. 2020, "DiffAugment").

A discriminator that sees every picture, real or generated, through random changes of colour, place and visible part
cannot learn a small collection by heart; and because the changes have gradients, the generator learns through them to
make pictures that are right unchanged. Everything random is drawn beforehand as uniform numbers, one row for each
picture, so that a picture keeps its augmentation whichever part of a batch it is in.

Penalties on the discriminator's slope (R1, R2) belong at the augmented pictures: it must be flat where it looks, and
their weights mean the same with and without augmentation. Its estimate of the pose is read off them as well, in both
phases, because it is only as good as what it was trained on: a shift of an eighth of the picture turns the line of
sight by no more than an eighth of the field of view, far less than the priors' spread, and an estimate that cannot go
by an object's place in the picture gives the generator no way to tell poses by it.
"""

from __future__ import annotations

from enum import IntEnum

import torch
from jaxtyping import Float
from torch import Tensor

NUM_UNIFORMS = 7
"""Random numbers for one augmentation of a picture: three of the colours, two of the place, two of the hole."""
BRIGHTNESS_RANGE = 1.0
"""Width of the range of what is added to pictures in [-1, 1]."""
SATURATION_RANGE = 2.0
"""From grey to twice the distance from grey."""
CONTRAST_RANGE = (0.5, 1.5)
SHIFT_FRACTION = 0.125
"""Largest shift along either axis, of the picture's side."""
HOLE_FRACTION = 0.5
"""Side of the square that is cut out, of the picture's side."""


class Showing(IntEnum):
    """Which pictures a discriminator is shown, and in which phase: each showing is augmented anew."""

    REAL_TO_DISCRIMINATOR = 0
    FAKE_TO_DISCRIMINATOR = 1
    REAL_TO_GENERATOR = 2
    """The real pictures that relativistic losses compare with in the generator's phase."""
    FAKE_TO_GENERATOR = 3


def augmentation_uniforms(count: int, randomness: torch.Generator) -> Float[Tensor, "count showing uniform"]:
    """Numbers in [0, 1) that fix how ``count`` pictures are augmented at each showing."""
    return torch.rand(count, len(Showing), NUM_UNIFORMS, generator=randomness, device=randomness.device)


def diff_augment(
    images: Float[Tensor, "batch 3 side side"], uniforms: Float[Tensor, "batch uniform"]
) -> Float[Tensor, "batch 3 side side"]:
    """The images with other colours, shifted, and with a square cut out (Zhao et al. 2020, section 3.2).

    Args:
        images: in [-1, 1]; the result may leave this range, as published.
        uniforms: numbers in [0, 1), `NUM_UNIFORMS` for each image.
    """
    coloured = change_colours(images, uniforms[:, :3].to(images.dtype))
    return cut_out(translate(coloured, uniforms[:, 3:5]), uniforms[:, 5:7])


def change_colours(
    images: Float[Tensor, "batch 3 height width"], uniforms: Float[Tensor, "batch 3"]
) -> Float[Tensor, "batch 3 height width"]:
    """The images in other colours.

    Brightness: x + U(-1/2, 1/2). Saturation: the distance from each pixel's grey times U(0, 2). Contrast: the distance
    from the image's mean times U(1/2, 3/2).
    """
    brightness, saturation, contrast = uniforms[:, :, None, None, None].unbind(dim=1)
    images = images + BRIGHTNESS_RANGE * (brightness - 0.5)
    grey = images.mean(dim=1, keepdim=True)
    images = grey + SATURATION_RANGE * saturation * (images - grey)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    least, most = CONTRAST_RANGE
    return mean + (least + (most - least) * contrast) * (images - mean)


def translate(
    images: Float[Tensor, "batch 3 side side"], uniforms: Float[Tensor, "batch 2"]
) -> Float[Tensor, "batch 3 side side"]:
    """The images moved by whole pixels, down and to the right, uniform up to an eighth of the side either way.

    What comes in from outside is 0, the middle grey.
    """
    side = images.shape[-1]
    limit = round(SHIFT_FRACTION * side)
    shifts = (uniforms * (2 * limit + 1)).floor().long() - limit
    # Each pixel's source, where the frame of zeros around the image answers for all that lies outside.
    sources = (torch.arange(side, device=images.device) - shifts[..., None] + 1).clamp(0, side + 1)
    framed = torch.nn.functional.pad(images, (1, 1, 1, 1))
    rows, columns = sources[:, 0, :, None], sources[:, 1, None, :]
    batch = torch.arange(images.shape[0], device=images.device)[:, None, None]
    return framed.permute(0, 2, 3, 1)[batch, rows, columns].permute(0, 3, 1, 2)


def cut_out(
    images: Float[Tensor, "batch 3 side side"], uniforms: Float[Tensor, "batch 2"]
) -> Float[Tensor, "batch 3 side side"]:
    """The images with a square of half their side set to 0, the middle grey.

    Its centre is uniform over the image, so that it may stand out over the edges.
    """
    side = images.shape[-1]
    size = round(HOLE_FRACTION * side)
    first = (uniforms * (side + 1 - size % 2)).floor() - size // 2
    pixels = torch.arange(side, device=images.device)
    within = (pixels >= first[..., None]) & (pixels < first[..., None] + size)
    hole = within[:, 0, :, None] & within[:, 1, None, :]
    return images.masked_fill(hole[:, None], 0.0)
