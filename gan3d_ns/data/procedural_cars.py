"""Toy cars with true geometry: a seed gives proportions and paint, those give a signed distance and a surface colour.

World frame and units: +y up, the car's front towards +z, centred at the origin, inside a sphere of radius FIT_RADIUS.
Proportions are in car units, in which the axles are about 1.2 apart and the ground is at y = 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gan3d_ns.data.signed_distance import ConvexPolygon, boxes, cylinder, extrude, smooth_intersection, smooth_union

FIT_RADIUS = 0.1
"""World units from the car's centre to its farthest corner: fills a 12 degree view from distance 1."""
BODY_ROUNDING = 0.06
"""Radius of the lower body's edges, in car units."""
CABIN_ROUNDING = 0.05
"""Radius of the cabin's edges seen from the side, in car units."""
ARCH_RATIO = 1.2
"""Wheel arch radius over wheel radius."""
RGB = tuple[float, float, float]
Pattern = Literal["plain", "single stripe", "double stripe", "band", "roundel"]
Kind = Literal["hatchback", "sedan", "sports", "suv", "van", "pickup"]

DARK: RGB = (0.10, 0.10, 0.11)
TYRE: RGB = (0.13, 0.13, 0.14)
GLASS: RGB = (0.16, 0.21, 0.27)
CHROME: RGB = (0.74, 0.76, 0.79)
WHITE: RGB = (0.94, 0.94, 0.92)
HEAD_LIGHT: RGB = (1.0, 0.95, 0.70)
TAIL_LIGHT: RGB = (0.80, 0.07, 0.07)


@dataclass(frozen=True)
class CarShape:
    """Proportions of one car, in car units: z from the middle, y from the ground."""

    kind: Kind
    length: float
    width: float
    roof: float
    """Height of the roof."""
    belt: float
    """Height of the windows' lower edge."""
    nose: float
    """Height of the hood's front edge."""
    hood: float
    """Length from the front to the windscreen's foot."""
    boot: float
    """Length from the rear to the rear window's foot."""
    windscreen: float
    """How far the windscreen leans back."""
    rear_slope: float
    """How far the rear window leans forward."""
    clearance: float
    """Height of the floor."""
    lean: float
    """How much narrower the cabin is at the roof, on each side."""
    wheel_radius: float
    wheel_width: float
    wheelbase: float
    axle_centre: float
    """z of the middle between the axles."""

    @property
    def bed(self) -> bool:
        """Whether there is an open load bed."""
        return self.kind == "pickup"


@dataclass(frozen=True)
class CarFinish:
    """Paint of one car, RGB in [0, 1]."""

    paint: RGB
    roof: RGB
    accent: RGB
    """Stripes and bands."""
    rim: RGB
    trim: RGB
    """Bumpers and mirrors."""
    lower: RGB
    """Sills."""
    pattern: Pattern
    num_spokes: int
    """0: plain discs."""
    rear_windows: bool
    """Whether the sides have windows behind the doors."""


class TrimBox(NamedTuple):
    """A rounded box on the car and its mirror image, in car units."""

    centre: tuple[float, float, float]
    half_sides: tuple[float, float, float]
    colour: RGB


class Place(NamedTuple):
    """Points in car units, on the car's right half."""

    points: Float[Tensor, "3 point"]
    """Across, up from the ground, along from the middle."""
    from_axle: Float[Tensor, "point"]
    """Along, from the nearer axle."""
    radial: Float[Tensor, "point"]
    """Distance from the nearer axle's line."""


class Car:
    """One toy car: signed distance and colour at points of the world.

    Args:
        shape: its proportions.
        finish: its paint.
        boxes: lights, bumpers, mirrors and what is on the roof.
    """

    def __init__(self, shape: CarShape, finish: CarFinish, boxes: list[TrimBox]) -> None:
        self.shape = shape
        self.finish = finish
        half_length, half_width, half_height = shape.length / 2 + 0.04, shape.width / 2, shape.roof / 2
        corner = math.sqrt(half_length**2 + half_width**2 + half_height**2)
        # The eight corners of the enclosing box are empty: the roof is shorter than the car, the nose lower.
        tight = math.sqrt(half_length**2 + (0.92 * half_width) ** 2 + (0.7 * half_height) ** 2)
        self.units = FIT_RADIUS / tight
        self.bounding_radius = 1.1 * corner * self.units
        self._lower_profile = ConvexPolygon(torch.tensor(_body_profile(shape)))
        self._cabin_profile = ConvexPolygon(torch.tensor(_cabin_profile(shape)))
        self._box_centres = torch.tensor([part.centre for part in boxes])
        self._box_sides = torch.tensor([part.half_sides for part in boxes])
        self._box_roundings = 0.45 * self._box_sides.amin(dim=1)
        self._box_colours = torch.tensor([part.colour for part in boxes])
        lean = math.atan2(shape.lean, shape.roof - shape.belt)
        self._side_normal = (math.cos(lean), math.sin(lean))

    def sdf(self, points: Float[Tensor, "point 3"]) -> Float[Tensor, "point"]:
        """Signed distance in world units, negative inside, 1-Lipschitz."""
        place = self._place(points)
        body, _, _ = self._body(place)
        nearest = torch.minimum(torch.minimum(body, self._wheels(place)), self._trim(place).amin(dim=0))
        return nearest * self.units

    def colour(self, points: Float[Tensor, "point 3"]) -> Float[Tensor, "point 3"]:
        """Surface colour, RGB in [0, 1], at points on or near the surface."""
        place = self._place(points)
        body, cabin, side = self._body(place)
        trim, nearest_box = self._trim(place).min(dim=0)
        wheels = self._wheels(place)
        colours = self._paint(place, cabin, side)
        colours = torch.where(wheels < body, self._wheel_colours(place), colours)
        colours = torch.where(trim < torch.minimum(body, wheels), self._box_colours[nearest_box].T, colours)
        return colours.T

    def _place(self, points: Float[Tensor, "point 3"]) -> Place:
        """Car units on the car's right half: cars are mirror images of themselves."""
        across, up, along = (points.T / self.units).unbind(0)
        up = up + self.shape.roof / 2
        from_axle = (along - self.shape.axle_centre).abs() - self.shape.wheelbase / 2
        radial = torch.hypot(from_axle, up - self.shape.wheel_radius)
        return Place(torch.stack([across.abs(), up, along]), from_axle, radial)

    def _body(self, place: Place) -> tuple[Float[Tensor, "point"], Float[Tensor, "point"], Float[Tensor, "point"]]:
        """Distances to the painted body, to the cabin's profile and to the cabin's side."""
        shape = self.shape
        across, up, _ = place.points
        profile = place.points[1:]
        lower = extrude(self._lower_profile.distance(profile), across, shape.width / 2 - BODY_ROUNDING) - BODY_ROUNDING
        cabin = self._cabin_profile.distance(profile) - CABIN_ROUNDING
        normal_across, normal_up = self._side_normal
        side = (across - shape.width / 2 + 0.035) * normal_across + (up - shape.belt) * normal_up
        body = smooth_union(lower, self._fenders(place), 0.04)
        body = smooth_union(body, smooth_intersection(cabin, side, 0.08), 0.05)
        if shape.bed:
            body = torch.maximum(body, -self._bed(place))
        return torch.maximum(body, -self._arches(place)), cabin, side

    def _bed(self, place: Place) -> Float[Tensor, "point"]:
        shape = self.shape
        rear, front = -shape.length / 2 + 0.07, -shape.length / 2 + shape.boot - 0.05
        # Between the wheel arches, which would open into it.
        half_width = shape.width / 2 - shape.wheel_width - 0.08
        centre = torch.tensor([[0.0, shape.belt + 0.2, (rear + front) / 2]])
        half_sides = torch.tensor([[half_width, 0.4, (front - rear) / 2]])
        return boxes(place.points, centre, half_sides, torch.tensor([0.03]))[0]

    def _arches(self, place: Place) -> Float[Tensor, "point"]:
        shape = self.shape
        axial = place.points[0] - shape.width / 2
        return cylinder(place.radial, axial, ARCH_RATIO * shape.wheel_radius, shape.wheel_width + 0.03, 0.01)

    def _fenders(self, place: Place) -> Float[Tensor, "point"]:
        """Domes over the wheels, for wheels that are taller than the body."""
        shape = self.shape
        half_width = shape.wheel_width / 2 + 0.06
        axial = place.points[0] - (shape.width / 2 + 0.01 - half_width)
        dome = cylinder(place.radial, axial, ARCH_RATIO * shape.wheel_radius + 0.05, half_width, 0.035)
        return torch.maximum(dome, shape.wheel_radius - place.points[1])

    def _wheels(self, place: Place) -> Float[Tensor, "point"]:
        shape = self.shape
        axial = place.points[0] - (shape.width / 2 + 0.015 - shape.wheel_width / 2)
        return cylinder(place.radial, axial, shape.wheel_radius, shape.wheel_width / 2, 0.03)

    def _trim(self, place: Place) -> Float[Tensor, "box point"]:
        return boxes(place.points, self._box_centres, self._box_sides, self._box_roundings)

    def _wheel_colours(self, place: Place) -> Float[Tensor, "3 point"]:
        radial = place.radial / self.shape.wheel_radius
        metal = radial < 0.66
        if self.finish.num_spokes:
            angle = torch.atan2(place.points[1] - self.shape.wheel_radius, place.from_axle)
            metal = metal & ((radial < 0.2) | (radial > 0.54) | ((self.finish.num_spokes * angle).cos() > -0.1))
        return _select(metal, self.finish.rim, _fill(TYRE, place.points))

    def _paint(
        self, place: Place, cabin: Float[Tensor, "point"], side: Float[Tensor, "point"]
    ) -> Float[Tensor, "3 point"]:
        shape, finish = self.shape, self.finish
        across, up, along = place.points
        half_width, front = shape.width / 2, shape.length / 2
        flank = across > half_width - 0.05
        colours = _fill(finish.paint, place.points)
        colours = _select(up > shape.roof - 0.09, finish.roof, colours)
        if finish.pattern == "single stripe":
            colours = _select(across < 0.11, finish.accent, colours)
        elif finish.pattern == "double stripe":
            colours = _select((across > 0.045) & (across < 0.15), finish.accent, colours)
        elif finish.pattern == "band":
            colours = _select((up - shape.belt + 0.12).abs() < 0.045, finish.accent, colours)
        elif finish.pattern == "roundel":
            door = torch.hypot(along - shape.axle_centre, up - (shape.belt + shape.clearance) / 2)
            colours = _select(flank & (door < 0.135), finish.accent, colours)
            colours = _select(flank & (door < 0.105), WHITE, colours)
        else:
            seam = ((along - shape.axle_centre).abs() - 0.24).abs() < 0.012
            colours = torch.where(flank & seam & (up < shape.belt), 0.55 * colours, colours)
        colours = _select(up < shape.clearance + 0.08, finish.lower, colours)
        grille = (along > front - 0.1) & (across < 0.2) & ((up - shape.nose + 0.13).abs() < 0.05)
        colours = _select(grille, DARK, colours)
        colours = torch.where(self._windows(place, cabin, side), self._glass(up), colours)
        hollow = self._arches(place) < 0.012
        if shape.bed:
            hollow = hollow | (self._bed(place) < 0.012)
        return _select(hollow, DARK, colours)

    def _windows(
        self, place: Place, cabin: Float[Tensor, "point"], side: Float[Tensor, "point"]
    ) -> Bool[Tensor, "point"]:
        """Which points of the cabin are glass; frames and pillars stay painted."""
        shape = self.shape
        _, up, along = place.points
        between = (up > shape.belt + 0.05) & (up < shape.roof - 0.08)
        beside = side > cabin
        screens = between & ~beside & (side < -0.06) & (cabin.abs() < 0.03)
        doors_end = shape.axle_centre - 0.2
        panes = between & beside & (cabin < -0.055) & ((along - doors_end).abs() > 0.025)
        if not self.finish.rear_windows:
            panes = panes & (along > doors_end)
        return screens | panes

    def _glass(self, up: Float[Tensor, "point"]) -> Float[Tensor, "3 point"]:
        """Dark panes that are lighter towards the roof, as if they mirrored the sky."""
        height = ((up - self.shape.belt) / (self.shape.roof - self.shape.belt)).clamp(0.0, 1.0)
        return torch.tensor(GLASS)[:, None] + 0.16 * height


def rear_height(shape: CarShape) -> float:
    """Height of the body's rear edge."""
    return shape.belt - (0.0 if shape.bed else 0.02)


def _body_profile(shape: CarShape) -> list[tuple[float, float]]:
    """Corners (y, z) of the lower body, drawn in by its rounding."""
    margin = BODY_ROUNDING
    front, rear = shape.length / 2 - margin, -shape.length / 2 + margin
    floor = shape.clearance + margin
    return [
        (floor, front - 0.06),
        (floor + 0.03, front - 0.02),
        (shape.nose - 0.07 - margin, front),
        (shape.nose - margin, front - 0.04),
        (shape.belt - margin, front - shape.hood),
        (shape.belt - margin, rear + shape.boot),
        (rear_height(shape) - margin, rear + 0.01),
        (floor + 0.08, rear),
        (floor, rear + 0.06),
    ]


def _cabin_profile(shape: CarShape) -> list[tuple[float, float]]:
    """Corners (y, z) of the cabin, drawn in by its rounding; its foot is inside the lower body."""
    margin = CABIN_ROUNDING
    front, rear = shape.length / 2 - shape.hood - margin, -shape.length / 2 + shape.boot + margin
    foot, roof = shape.belt - 0.1, shape.roof - margin
    return [
        (foot, front),
        (shape.belt, front),
        (roof - 0.015, front - shape.windscreen),
        (roof, (front - shape.windscreen + rear + shape.rear_slope) / 2),
        (roof - 0.015, rear + shape.rear_slope),
        (shape.belt, rear),
        (foot, rear),
    ]


def _fill(colour: RGB, like: Float[Tensor, "3 point"]) -> Float[Tensor, "3 point"]:
    return torch.tensor(colour)[:, None].expand_as(like)


def _select(where: Bool[Tensor, "point"], colour: RGB, otherwise: Float[Tensor, "3 point"]) -> Float[Tensor, "3 point"]:
    return torch.where(where, torch.tensor(colour)[:, None], otherwise)
