"""Where the objects of a scene stand, how large they are and how they are turned (GIRAFFE, section 3.2)."""

import math
from dataclasses import dataclass
from typing import Optional, Tuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gan3d_ns.errors import UserError

OTHER_NUMBERS = 2
"""Of an object's placement, beside its translations: scale and rotation."""


@dataclass
class PlacementConfig:
    """Ranges of the objects' boxes, in the field's own frame and units: x towards the front camera, y right, z up.

    Every number is drawn evenly from its range. A box spans [-1, 1] times the scale on each axis.
    """

    smallest_scale: Tuple[float, float, float] = (0.2, 0.16, 0.16)
    """Half the sides of the smallest box. One draw decides for the three axes, so that the proportions stay."""
    largest_scale: Tuple[float, float, float] = (0.25, 0.2, 0.2)
    """Half the sides of the largest box."""
    lowest_translation: Tuple[float, float, float] = (-0.22, -0.12, 0.0)
    """Smallest coordinates of a box's centre."""
    highest_translation: Tuple[float, float, float] = (0.22, 0.12, 0.0)
    """Largest coordinates of a box's centre; equal to the smallest ones where they are known, as the height of a
    table."""
    rotation_turns: Tuple[float, float] = (0.0, 1.0)
    """Range of the angle about the upward axis, in turns."""
    background_turns: Tuple[float, float] = (0.0, 0.0)
    """Range of the background's angle about the upward axis, in turns; it turns beneath the cameras."""
    count_probabilities: Tuple[float, ...] = ()
    """Probability of 1, 2, ... objects, up to all of them; empty: all are always there."""
    padding: Optional[float] = None
    """Boxes keep this distance from each other, seen from above, where it can be had; None: they may overlap."""
    num_tries: int = 8
    """Places that are drawn for each object, with a padding: it takes the first one that is free, else the last."""

    def __post_init__(self) -> None:
        if min(self.smallest_scale) <= 0:
            raise UserError(f"smallest_scale is {self.smallest_scale}; boxes need positive sides.")
        for smaller, larger in (
            ("smallest_scale", "largest_scale"),
            ("lowest_translation", "highest_translation"),
        ):
            if any(low > high for low, high in zip(getattr(self, smaller), getattr(self, larger), strict=True)):
                raise UserError(f"{smaller} {getattr(self, smaller)} lies above {larger} {getattr(self, larger)}.")
        if self.num_tries < 1:
            raise UserError(f"num_tries is {self.num_tries}; an object needs one place at least.")

    @property
    def tries(self) -> int:
        """Places that are drawn for each object."""
        return 1 if self.padding is None else self.num_tries

    @property
    def numbers_each(self) -> int:
        """Numbers of an object's placement."""
        return OTHER_NUMBERS + 3 * self.tries


def uniforms_of(latents: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Numbers evenly distributed over [0, 1], of normally distributed ones: their distribution function."""
    return torch.special.ndtr(latents)


def in_range(
    uniforms: Float[Tensor, "*batch #dim"], lowest: Tuple[float, ...], highest: Tuple[float, ...]
) -> Float[Tensor, "*batch dim"]:
    """lowest + u (highest - lowest) on each axis; a single number serves all of them."""
    low, high = uniforms.new_tensor(lowest), uniforms.new_tensor(highest)
    return low + uniforms * (high - low)


def turned(vectors: Float[Tensor, "*#batch 3"], angles: Float[Tensor, "*#batch"]) -> Float[Tensor, "*out 3"]:
    """Vectors turned about z by angles in radians, from x towards y: (cos x - sin y, sin x + cos y, z)."""
    x, y, z = vectors.unbind(-1)
    sine, cosine = angles.sin(), angles.cos()
    first, second = cosine * x - sine * y, sine * x + cosine * y
    return torch.stack((first, second, z.expand_as(first)), dim=-1)


def in_box(
    positions: Float[Tensor, "*#batch 3"],
    translations: Float[Tensor, "*#batch 3"],
    angles: Float[Tensor, "*#batch"],
    scales: Float[Tensor, "*#batch 3"],
) -> Float[Tensor, "*out 3"]:
    """p_box = R (p - t) / s: positions in the frame of boxes, which span [-1, 1]^3 there (GIRAFFE, released code).

    ``angles`` are those of R; the object itself stands turned by their negative.
    """
    return turned(positions - translations, angles) / scales


def first_free(
    places: Float[Tensor, "batch object try 3"], scales: Float[Tensor, "batch object 3"], padding: float
) -> Float[Tensor, "batch object 3"]:
    """For each object in turn the first of its places whose box keeps clear of those before it, else the last place.

    Two boxes are apart where their centres are, along x or y, by more than both half sides and the padding; for this
    the half side of a box is the larger one of x and y, whichever way it is turned.
    """
    batch, num_objects, tries, _ = places.shape
    reach = scales[..., :2].amax(dim=-1)
    chosen = [places[:, 0, 0]]
    for index in range(1, num_objects):
        others = torch.stack(chosen, dim=1)
        apart = (places[:, index, :, None, :2] - others[:, None, :, :2]).abs().amax(dim=-1)
        clear: Bool[Tensor, "batch try"] = (apart > (reach[:, index, None] + reach[:, :index] + padding)[:, None]).all(
            dim=-1
        )
        # The number of places that are taken before the first free one.
        taken: Int[Tensor, "batch"] = ((~clear).cumprod(dim=-1).sum(dim=-1)).clamp(max=tries - 1)
        chosen.append(places[torch.arange(batch, device=places.device), index, taken])
    return torch.stack(chosen, dim=1)


def number_of_objects(
    uniforms: Float[Tensor, "batch"], probabilities: Tuple[float, ...], largest: int
) -> Int[Tensor, "batch"]:
    """How many objects there are, by numbers in [0, 1]: 1, 2, ... with their probabilities; without these all."""
    if not probabilities:
        return torch.full_like(uniforms, largest, dtype=torch.long)
    limits = uniforms.new_tensor(probabilities).cumsum(dim=0)
    # A latent far out rounds to exactly 1, which must not choose a last number of probability 0.
    below_one = uniforms.clamp(max=1.0 - torch.finfo(uniforms.dtype).eps)
    return 1 + (below_one[:, None] >= limits[:-1] / limits[-1]).sum(dim=-1)


def radians_of_turns(uniforms: Float[Tensor, "*batch"], turns: Tuple[float, float]) -> Float[Tensor, "*batch"]:
    """Angles in radians from a range in turns."""
    return 2.0 * math.pi * (turns[0] + uniforms * (turns[1] - turns[0]))
