"""Spheres, cubes and cylinders that stand on a plane, with exact signed distances, normals and places.

World frame and units: +y up, the plane is horizontal at y = PLANE_HEIGHT, the scene is centred at the origin.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int64
from torch import Tensor

RGB = tuple[float, float, float]
Solid = Literal["sphere", "cube", "cylinder"]
Material = Literal["matte", "shiny"]
SOLIDS: tuple[Solid, ...] = get_args(Solid)
MATERIALS: tuple[Material, ...] = get_args(Material)
PALETTE: dict[str, RGB] = {
    "red": (0.86, 0.13, 0.14),
    "orange": (0.96, 0.48, 0.08),
    "yellow": (0.97, 0.80, 0.12),
    "green": (0.16, 0.66, 0.27),
    "cyan": (0.10, 0.71, 0.78),
    "blue": (0.13, 0.33, 0.87),
    "purple": (0.50, 0.20, 0.76),
    "pink": (0.95, 0.38, 0.62),
}
"""Colours by name."""
PLANE_HEIGHT = -0.06
"""y of the plane: the middles of objects of mean size are at y = 0."""
CUBE_RATIO, CYLINDER_RATIO = 0.84, 0.90
"""Half side of a cube, and radius and half height of a cylinder, over the radius of a sphere of the same size."""
ROUNDING = 0.16
"""Radius of the edges of cubes and cylinders, over their half height."""


@dataclass(frozen=True)
class Primitive:
    """One object of a scene."""

    solid: Solid
    colour: str
    """A name of PALETTE."""
    material: Material
    size: float
    """Radius of the sphere of this size, in world units."""
    place: tuple[float, float]
    """x and z of its middle, in world units."""
    rotation: float
    """Radians about the vertical, counter-clockwise seen from above; 0: a cube's sides face x and z."""

    @property
    def half_height(self) -> float:
        """From its middle to the plane."""
        return self.size * {"sphere": 1.0, "cube": CUBE_RATIO, "cylinder": CYLINDER_RATIO}[self.solid]

    @property
    def centre(self) -> tuple[float, float, float]:
        """Its middle in the world: it stands on the plane."""
        return self.place[0], PLANE_HEIGHT + self.half_height, self.place[1]

    @property
    def footprint(self) -> float:
        """Radius of the upright cylinder around its middle that holds it, in world units."""
        half, rounding = self.half_height, ROUNDING * self.half_height
        return math.sqrt(2.0) * (half - rounding) + rounding if self.solid == "cube" else half


class PlacedPrimitive:
    """Signed distance and normals of one object; a `Scene` in its own frame, whose origin is its middle.

    Args:
        primitive: which, and where.
    """

    def __init__(self, primitive: Primitive) -> None:
        half = primitive.half_height
        self.primitive = primitive
        self.rounding = half if primitive.solid == "sphere" else ROUNDING * half
        self.core = half - self.rounding
        corner = {"sphere": 0.0, "cube": math.sqrt(3.0), "cylinder": math.sqrt(2.0)}[primitive.solid]
        self.bounding_radius = corner * self.core + self.rounding
        self.centre = torch.tensor(primitive.centre)
        cosine, sine = math.cos(primitive.rotation), math.sin(primitive.rotation)
        # Columns are the object's axes in the world: its x axis turns towards -z.
        self.axes = torch.tensor([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])

    def to_own(self, points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
        """World points in the object's frame."""
        return (points - self.centre) @ self.axes

    def sdf(self, points: Float[Tensor, "point 3"]) -> Float[Tensor, "point"]:
        """Exact signed distance of points in the object's frame, in world units, negative inside."""
        beyond = self._beyond(points)
        return beyond.clamp_min(0.0).norm(dim=-1) + beyond.amax(dim=-1).clamp_max(0.0) - self.rounding

    def normals(self, points: Float[Tensor, "point 3"]) -> Float[Tensor, "point 3"]:
        """Unit normals in the object's frame at points on the surface, in closed form: away from the core."""
        if self.primitive.solid == "cylinder":
            across = points * torch.tensor([1.0, 0.0, 1.0])
            radial = across.norm(dim=-1, keepdim=True)
            nearest = across * (self.core / radial.clamp_min(self.core))
            nearest[:, 1] = points[:, 1].clamp(-self.core, self.core)
        else:
            nearest = points.clamp(-self.core, self.core)
        return torch.nn.functional.normalize(points - nearest, dim=-1)

    def colour(self, points: Float[Tensor, "point 3"]) -> Float[Tensor, "point 3"]:
        """Unlit colour in [0, 1], the same everywhere."""
        return torch.tensor(PALETTE[self.primitive.colour]).expand_as(points)

    def _beyond(self, points: Float[Tensor, "point 3"]) -> Float[Tensor, "point side"]:
        """How far points lie beyond each side of the core, of which the solid is the rounded shell."""
        if self.primitive.solid == "sphere":
            return points.norm(dim=-1, keepdim=True)
        if self.primitive.solid == "cube":
            return points.abs() - self.core
        radial = torch.hypot(points[:, 0], points[:, 2])
        return torch.stack([radial, points[:, 1].abs()], dim=-1) - self.core


class PrimitiveScene:
    """Objects on the plane; as a `Scene` it is the objects alone, without the plane.

    Args:
        primitives: the objects.
    """

    def __init__(self, primitives: Sequence[Primitive]) -> None:
        self.primitives = tuple(primitives)
        self.objects = [PlacedPrimitive(primitive) for primitive in primitives]
        reaches = [math.dist(one.primitive.centre, (0.0, 0.0, 0.0)) + one.bounding_radius for one in self.objects]
        self.bounding_radius = max(reaches, default=1e-3)

    def distances(self, points: Float[Tensor, "point 3"]) -> Float[Tensor, "object point"]:
        """Signed distance of world points to each object."""
        return torch.stack([one.sdf(one.to_own(points)) for one in self.objects])

    def sdf(self, points: Float[Tensor, "point 3"]) -> Float[Tensor, "point"]:
        """Signed distance of world points to the nearest object, in world units, negative inside."""
        return self.distances(points).amin(dim=0)

    def nearest(self, points: Float[Tensor, "point 3"]) -> Int64[Tensor, "point"]:
        """Number of the nearest object."""
        return self.distances(points).argmin(dim=0)

    def normals(self, points: Float[Tensor, "point 3"], nearest: Int64[Tensor, "point"]) -> Float[Tensor, "point 3"]:
        """Unit normals in the world, out of matter, at points on the surface of the numbered objects."""
        normals = torch.zeros_like(points)
        for number, one in enumerate(self.objects):
            chosen = nearest == number
            normals[chosen] = one.normals(one.to_own(points[chosen])) @ one.axes.T
        return normals

    def colour(self, points: Float[Tensor, "point 3"]) -> Float[Tensor, "point 3"]:
        """Unlit colour in [0, 1] of the nearest object."""
        palette = torch.tensor([PALETTE[primitive.colour] for primitive in self.primitives])
        return palette[self.nearest(points)]
