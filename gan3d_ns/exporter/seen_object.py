"""One object of a generator as the mesher wants it: plain functions of points, cut to what the cameras saw."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from gan3d_ns.cameras.view_coverage import ViewCoverage
from gan3d_ns.exporter.mise import no_surface
from gan3d_ns.fields.base_field import Styles
from gan3d_ns.models.generator import Generator

WALL_SLOPE = 100.0
"""Logits per world unit with which the geometry falls beyond the border; the border itself lies where it lies."""


class SeenObject:
    """Logits, normals and colours of one object.

    A place that few of the prior's cameras have in their frustum (`ViewCoverage`), or that lies outside the field's own
    box, was shaped by nothing, and matter there is cut off: the logit is the smaller one of the field's and of a ramp
    that crosses the level on the border. Where matter reaches the border the mesh gets a wall.

    Args:
        generator: of the family of objects.
        styles: of one object.
        coverage: what the cameras of the prior saw.
        level: logit on the surface.
    """

    def __init__(self, generator: Generator, styles: Styles, coverage: ViewCoverage, level: float) -> None:
        self.generator, self.field = generator, generator.field
        self.styles, self.coverage, self.level = styles, coverage, level
        self.lowest, self.highest = float("inf"), float("-inf")

    def field_logits(self, points: Float[Tensor, "point 3"]) -> Float[Tensor, "point"]:
        """The field's own logits, without walls."""
        return self.field.geometry_logits(points[None], self.styles)[0]

    def bounds(self) -> tuple[Float[Tensor, "3"], Float[Tensor, "3"]]:
        """Lower and upper world corner of the box to search."""
        lower, upper = self.coverage.bounds()
        if self.field.half_sides is not None:
            half_sides = lower.new_tensor(self.field.half_sides)
            lower, upper = torch.maximum(lower, -half_sides), torch.minimum(upper, half_sides)
        return lower, upper

    def margin(self, points: Float[Tensor, "point 3"]) -> Float[Tensor, "point"]:
        """How far inside the border points lie, in world units; negative outside."""
        margin = self.coverage.margin(points)
        if self.field.half_sides is not None:
            margin = torch.minimum(margin, (points.new_tensor(self.field.half_sides) - points.abs()).amin(dim=-1))
        return margin

    def logits(self, points: Float[Tensor, "point 3"]) -> Float[Tensor, "point"]:
        """The field's logits with the walls; keeps note of the range of what was seen."""
        values, margin = self.field_logits(points), self.margin(points)
        seen = values[margin > 0]
        if len(seen) > 0:
            self.lowest, self.highest = min(self.lowest, float(seen.min())), max(self.highest, float(seen.max()))
        return torch.minimum(values, self.level + WALL_SLOPE * margin)

    def normals(self, points: Float[Tensor, "point 3"]) -> Float[Tensor, "point 3"]:
        """Unit normals of the field; zero on walls, where the mesher takes those of its faces."""
        on_wall = self.level + WALL_SLOPE * self.margin(points) < self.field_logits(points)
        return self.field.normals(points[None], self.styles)[0] * ~on_wall[:, None]

    def colours(self, points: Float[Tensor, "point 3"], normals: Float[Tensor, "point 3"]) -> Float[Tensor, "point 3"]:
        """Colours in [0, 1], seen in the prior's direction that faces the surface most.

        A mesh has one colour a point and a field may have one for each direction; this is the direction in which a
        picture would have shown the point. Fields without view dependence ignore it.
        """
        directions = self.coverage.facing_directions(normals)[None]
        return self.generator.rgb(self.field.colours(points[None], directions, self.styles), self.styles)[0]

    def require_surface(self) -> None:
        """Tells apart an object from a block of the walls alone.

        Raises:
            UserError: all logits that were seen lie on one side of the level.
        """
        if self.lowest >= self.level or self.highest < self.level:
            raise no_surface(self.level, self.lowest, self.highest)
