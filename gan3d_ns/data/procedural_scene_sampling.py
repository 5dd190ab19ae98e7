"""Which scene a seed gives: a few objects of random kinds, colours, sizes and places that do not overlap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import torch

from gan3d_ns.data.procedural_primitives import MATERIALS, PALETTE, SOLIDS, Primitive

FEWEST, MOST = 2, 4
"""Objects in the built-in scenes."""
LARGEST_NUMBER = 6
"""Of objects that find room."""
REACH = 0.165
"""Objects' middles lie in the square |x|, |z| <= REACH, in world units."""
SIZES = (0.052, 0.080)
"""Smallest and largest radius of a sphere, in world units; cubes and cylinders are a little lower."""
CLEARANCE = 0.02
"""Least gap between the objects' footprints, in world units."""
TRIES = 200
"""Places that are tried for each object before the scene is begun anew."""

Option = TypeVar("Option")


def sample_scene(seed: int, fewest: int = FEWEST, most: int = MOST) -> tuple[Primitive, ...]:
    """Return the objects of a seed; the same on every machine.

    Numbers of objects from `fewest` to `most`, solids, materials and colours are equally likely; sizes, places and
    rotations are uniform, given that the objects keep apart.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64).item()

    def choose(options: Sequence[Option]) -> Option:
        return options[min(int(uniform(0.0, float(len(options)))), len(options) - 1)]

    def sample_object() -> Primitive:
        return Primitive(
            solid=choose(SOLIDS),
            colour=choose(list(PALETTE)),
            material=choose(MATERIALS),
            size=uniform(*SIZES),
            place=(uniform(-REACH, REACH), uniform(-REACH, REACH)),
            rotation=uniform(-math.pi, math.pi),
        )

    number = choose(range(fewest, most + 1))
    while True:
        objects: list[Primitive] = []
        for _ in range(number * TRIES):
            if len(objects) == number:
                return tuple(objects)
            candidate = sample_object()
            if all(keep_apart(candidate, other) for other in objects):
                objects.append(candidate)


def keep_apart(first: Primitive, second: Primitive) -> bool:
    """Whether there is a gap between two objects, however they are turned."""
    return math.dist(first.place, second.place) >= first.footprint + second.footprint + CLEARANCE
