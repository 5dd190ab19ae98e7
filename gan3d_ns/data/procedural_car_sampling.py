"""Which toy car a seed gives: proportions and paint around the means of a few kinds of cars."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch

from gan3d_ns.data.procedural_cars import (
    CHROME,
    DARK,
    HEAD_LIGHT,
    RGB,
    TAIL_LIGHT,
    WHITE,
    Car,
    CarFinish,
    CarShape,
    Kind,
    Pattern,
    TrimBox,
    rear_height,
)

NEUTRALS: tuple[RGB, ...] = (WHITE, (0.72, 0.74, 0.77), (0.44, 0.47, 0.50), (0.22, 0.22, 0.25))
HUES = (0.0, 0.02, 0.07, 0.13, 0.15, 0.25, 0.36, 0.45, 0.52, 0.57, 0.62, 0.80, 0.93)
"""Hues of vivid paint: the rainbow with more red, yellow and blue than violet, as on real cars."""

Option = TypeVar("Option")


class Proportions(NamedTuple):
    """Mean shape of a kind of car, in car units."""

    length: float
    roof: float
    belt: float
    nose: float
    hood: float
    boot: float
    windscreen: float
    rear_slope: float
    wheel_radius: float


KINDS: dict[Kind, Proportions] = {
    "hatchback": Proportions(1.75, 0.86, 0.51, 0.42, 0.38, 0.04, 0.22, 0.16, 0.200),
    "sedan": Proportions(2.05, 0.80, 0.48, 0.41, 0.50, 0.36, 0.26, 0.24, 0.200),
    "sports": Proportions(2.00, 0.66, 0.45, 0.40, 0.66, 0.22, 0.32, 0.36, 0.215),
    "suv": Proportions(1.90, 1.00, 0.59, 0.52, 0.42, 0.03, 0.16, 0.07, 0.245),
    "van": Proportions(1.90, 1.10, 0.60, 0.50, 0.20, 0.02, 0.24, 0.04, 0.200),
    "pickup": Proportions(2.10, 0.92, 0.54, 0.48, 0.50, 0.84, 0.18, 0.05, 0.240),
}
"""The kinds of cars; a seed picks one and varies each number."""


def sample_car(seed: int) -> Car:
    """Return the car of a seed; the same on every machine."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64).item()

    def chance(probability: float) -> bool:
        return uniform(0.0, 1.0) < probability

    def choose(options: Sequence[Option]) -> Option:
        return options[min(int(uniform(0.0, float(len(options)))), len(options) - 1)]

    def vivid() -> RGB:
        return colorsys.hsv_to_rgb((choose(HUES) + uniform(-0.02, 0.02)) % 1.0, uniform(0.6, 0.9), uniform(0.7, 0.98))

    kind: Kind = choose(list(KINDS))
    mean = KINDS[kind]
    length = mean.length * uniform(0.92, 1.06)
    width = uniform(0.92, 1.08)
    wheel_radius = mean.wheel_radius * uniform(0.92, 1.12)
    belt = mean.belt * uniform(0.96, 1.06)
    overhang = wheel_radius * uniform(1.45, 1.75)
    hood, boot = mean.hood * uniform(0.88, 1.12), mean.boot * uniform(0.85, 1.1)
    windscreen, rear_slope = mean.windscreen * uniform(0.8, 1.25), mean.rear_slope * uniform(0.8, 1.25)
    # Something of the roof has to remain between the screens.
    steeper = min(1.0, (length - hood - boot - 0.3) / (windscreen + rear_slope))
    shape = CarShape(
        kind=kind,
        length=length,
        width=width,
        roof=belt + (mean.roof - mean.belt) * uniform(0.9, 1.14),
        belt=belt,
        nose=mean.nose * uniform(0.96, 1.04),
        hood=hood,
        boot=boot,
        windscreen=steeper * windscreen,
        rear_slope=steeper * rear_slope,
        clearance=wheel_radius * uniform(0.42, 0.58),
        lean=uniform(0.05, 0.12),
        wheel_radius=wheel_radius,
        wheel_width=uniform(0.15, 0.2),
        wheelbase=length - 2.0 * overhang,
        axle_centre=uniform(-0.03, 0.03),
    )
    paint = choose(NEUTRALS) if chance(0.22) else vivid()
    accent = WHITE if sum(paint) < 1.9 and chance(0.6) else choose([DARK, vivid(), vivid()])
    pattern: Pattern = "plain" if chance(0.4) else choose(["single stripe", "double stripe", "band", "roundel"])
    finish = CarFinish(
        paint=paint,
        roof=choose([WHITE, DARK, accent]) if chance(0.3) else paint,
        accent=accent,
        rim=choose([CHROME, CHROME, WHITE, (0.85, 0.70, 0.30), accent]),
        trim=choose([CHROME, DARK, DARK, paint]),
        lower=choose([DARK, paint, (0.6 * paint[0], 0.6 * paint[1], 0.6 * paint[2])]),
        pattern=pattern,
        num_spokes=choose([0, 4, 5, 6]),
        rear_windows=kind != "van" or chance(0.5),
    )
    extra = choose(["none", "none", "none", "rack", "luggage", "sign", "spoiler", "spoiler"])
    return Car(shape, finish, _trim_boxes(shape, finish, extra, chance(0.5)))


def _trim_boxes(shape: CarShape, finish: CarFinish, extra: str, wide_lights: bool) -> list[TrimBox]:
    front, half_width = shape.length / 2, shape.width / 2
    bumper = (half_width - 0.03, 0.055, 0.05)
    light = (0.11, 0.045, 0.04) if wide_lights else (0.065, 0.065, 0.04)
    light_height = rear_height(shape) - 0.1
    foot = front - shape.hood
    boxes = [
        TrimBox((0.0, shape.clearance + 0.07, front - 0.005), bumper, finish.trim),
        TrimBox((0.0, shape.clearance + 0.07, -front + 0.005), bumper, finish.trim),
        TrimBox((half_width - 0.06 - light[0], shape.nose - 0.11, front - 0.02), light, HEAD_LIGHT),
        TrimBox((half_width - 0.12, light_height, -front + 0.025), (0.07, 0.05, 0.04), TAIL_LIGHT),
        TrimBox((half_width + 0.035, shape.belt + 0.06, foot - 0.1), (0.055, 0.04, 0.03), finish.trim),
    ]
    roof_front, roof_rear = foot - shape.windscreen, -front + shape.boot + shape.rear_slope
    middle, half_roof = (roof_front + roof_rear) / 2, (roof_front - roof_rear) / 2
    if extra == "rack":
        rail = (half_width - 0.05 - shape.lean - 0.05, shape.roof + 0.035, middle)
        boxes.append(TrimBox(rail, (0.018, 0.02, 0.85 * half_roof), DARK))
        boxes.append(TrimBox((0.0, shape.roof + 0.03, middle), (rail[0], 0.016, 0.02), DARK))
    elif extra == "luggage":
        boxes.append(TrimBox((0.0, shape.roof + 0.06, middle), (0.24, 0.08, 0.8 * half_roof), finish.accent))
    elif extra == "sign":
        boxes.append(TrimBox((0.0, shape.roof + 0.04, middle), (0.15, 0.065, 0.05), (0.98, 0.85, 0.25)))
    elif extra == "spoiler" and shape.boot > 0.1 and not shape.bed:
        height = rear_height(shape)
        boxes.append(TrimBox((0.0, height + 0.11, -front + 0.1), (half_width - 0.06, 0.022, 0.075), finish.accent))
        boxes.append(TrimBox((half_width - 0.2, height + 0.04, -front + 0.1), (0.022, 0.08, 0.04), finish.accent))
    elif extra == "spoiler" and not shape.bed:
        wing = (half_width - 0.1 - shape.lean, 0.025, 0.08)
        boxes.append(TrimBox((0.0, shape.roof - 0.02, roof_rear - 0.03), wing, finish.accent))
    return boxes
