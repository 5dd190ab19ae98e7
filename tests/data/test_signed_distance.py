"""The solids against slow references: exact where they say so, 1-Lipschitz throughout."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gan3d_ns.data.signed_distance import ConvexPolygon, boxes, cylinder, smooth_intersection, smooth_union

CORNERS = torch.tensor([[0.0, 0.0], [0.1, 0.9], [0.7, 1.0], [1.2, 0.4], [0.9, -0.2]])


def distance_to_segments(points: Tensor, corners: Tensor) -> Tensor:
    """Smallest distance to densely sampled edges."""
    steps = torch.linspace(0, 1, 400)[:, None, None]
    edges = (corners + steps * (corners.roll(-1, 0) - corners)).reshape(-1, 2)
    return torch.cdist(points, edges).amin(dim=1)


def test_polygon_is_exact() -> None:
    points = torch.rand(500, 2) * 3 - 1
    distance = ConvexPolygon(CORNERS).distance(points.T)
    torch.testing.assert_close(distance.abs(), distance_to_segments(points, CORNERS), atol=3e-3, rtol=0)
    # A point is inside a convex clockwise figure where every edge turns right to it.
    edges, offsets = CORNERS.roll(-1, 0) - CORNERS, points[:, None] - CORNERS
    inside = (edges[:, 0] * offsets[..., 1] - edges[:, 1] * offsets[..., 0] < 0).all(dim=1)
    assert torch.equal(distance < 0, inside)


def test_polygon_refuses_what_it_cannot_measure() -> None:
    for corners in (CORNERS.flip(0), torch.tensor([[0.0, 0.0], [0.0, 1.0], [0.2, 0.2], [1.0, 0.0]])):
        with pytest.raises(ValueError, match="not a convex polygon"):
            ConvexPolygon(corners)


def test_boxes_are_exact() -> None:
    centres, sides = torch.tensor([[0.3, 0.0, -0.2], [0.0, 0.5, 0.0]]), torch.tensor([[0.3, 0.2, 0.1], [0.2, 0.2, 0.4]])
    points = torch.rand(300, 3) * 2 - 1
    distance = boxes(points.T, centres, sides, torch.tensor([0.0, 0.05]))
    for index, rounding in enumerate((0.0, 0.05)):
        offset = points - centres[index]
        core = sides[index] - rounding
        nearest = offset.clamp(-core, core)
        outside = (offset - nearest).norm(dim=1) - rounding
        away = (offset.abs() > core).any(dim=1)
        torch.testing.assert_close(distance[index][away], outside[away])
        assert (distance[index][~away] <= -rounding).all()


def test_blends_stay_close_and_on_their_side() -> None:
    first, second = torch.rand(1000) - 0.5, torch.rand(1000) - 0.5
    union, intersection = smooth_union(first, second, 0.1), smooth_intersection(first, second, 0.1)
    least, most = torch.minimum(first, second), torch.maximum(first, second)
    assert ((union <= least) & (union >= least - 0.025)).all()
    assert ((intersection >= most) & (intersection <= most + 0.025 + 1e-6)).all()
    apart = (first - second).abs() > 0.1
    assert torch.equal(union[apart], least[apart])


def test_cylinder_surface() -> None:
    radial, axial = torch.tensor([0.0, 0.5, 0.7, 0.0, 0.5]), torch.tensor([0.0, 0.0, 0.0, 0.3, 0.3])
    expected = torch.tensor([-0.2, 0.0, 0.2, 0.1, 0.1])
    torch.testing.assert_close(cylinder(radial, axial, 0.5, 0.2, 0.0), expected)
