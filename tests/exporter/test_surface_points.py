"""Points on a ball lie on it, face outwards, cover all that was seen and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pictured_ball import RADIUS, pictured_ball
from scipy.spatial import KDTree

from gan3d_ns.errors import UserError
from gan3d_ns.exporter.surface_points import (
    SurfacePoints,
    SurfaceSamplingConfig,
    evenly_spread,
    evenly_spread_indices,
    points_of_picture,
    sample_surface,
    spread_indices,
)

SAMPLING = SurfaceSamplingConfig(num_views=24, resolution=48)


def directions_on_a_sphere(num: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(num, 3, generator=torch.Generator().manual_seed(3)), dim=-1)


def test_a_pixel_gives_the_point_that_its_ray_meets() -> None:
    pictured = pictured_ball()
    picture = pictured.picture(torch.tensor([1.2, 0.4]), 40)
    points = points_of_picture(picture)
    assert 0.2 * 40**2 < len(points) < 0.4 * 40**2
    torch.testing.assert_close(points.positions.norm(dim=-1), torch.full((len(points),), RADIUS), atol=1e-4, rtol=0)
    # A picture's white background is not in the colours: those of the ball are what its field says.
    solid = points.opacities > 0.99
    expected = torch.sigmoid(10.0 * points.positions + 0.5)
    torch.testing.assert_close(points.colours[solid], expected[solid], atol=0.03, rtol=0)


def test_points_are_on_the_surface_with_its_normals_and_colours() -> None:
    points, spacing = sample_surface(pictured_ball(), 800, SAMPLING)
    assert abs(len(points) - 800) < 80
    # Grazing rays find the surface a little less exactly.
    errors = (points.positions.norm(dim=-1) - RADIUS).abs()
    assert errors.quantile(0.9) < 2e-4
    assert errors.max() < 1e-3
    torch.testing.assert_close(points.normals, points.positions / RADIUS, atol=2e-2, rtol=0)
    torch.testing.assert_close(points.colours, torch.sigmoid(10.0 * points.positions + 0.5), atol=0.06, rtol=0)
    positions = points.positions.double().numpy()
    assert len(KDTree(positions).query_pairs(0.999 * spacing)) == 0


def test_no_holes_from_all_around_and_nothing_where_nobody_looked() -> None:
    points, spacing = sample_surface(pictured_ball(), 800, SAMPLING)
    everywhere = RADIUS * directions_on_a_sphere(2000).double().numpy()
    gaps = KDTree(points.positions.double().numpy()).query(everywhere)[0]
    # No camera stands within ten degrees of the poles, but all see them.
    assert gaps.max() < 2.0 * spacing
    from_the_front, _ = sample_surface(pictured_ball(10.0, 10.0), 400, SAMPLING)
    assert from_the_front.positions[:, 2].min() > -0.3 * RADIUS
    assert from_the_front.positions[:, 2].max() > 0.99 * RADIUS


def test_spread_points_keep_their_distance_and_leave_no_room() -> None:
    positions = np.random.default_rng(0).uniform(size=(3000, 3)) * [1, 1, 0]
    kept = positions[spread_indices(positions, 0.05)]
    assert len(KDTree(kept).query_pairs(0.05)) == 0
    assert KDTree(kept).query(positions)[0].max() <= 0.05


@pytest.mark.parametrize("num", [50, 500])
def test_the_number_is_about_what_was_asked_for(num: int) -> None:
    positions = directions_on_a_sphere(20_000).double().numpy()
    chosen, spacing = evenly_spread_indices(positions, num)
    assert abs(len(chosen) - num) < 0.15 * num
    assert KDTree(positions[chosen]).query_pairs(0.999 * spacing) == set()


def test_more_points_than_there_are_gives_those_there_are() -> None:
    positions = directions_on_a_sphere(300)
    grey = torch.full_like(positions, 0.5)
    points = SurfacePoints(positions, positions, grey, torch.ones(300), -positions)
    spread, _ = evenly_spread(points, 5000)
    assert 150 < len(spread) <= 300
    few, _ = evenly_spread(points[torch.arange(3)], 1)
    assert 1 <= len(few) <= 3


def test_a_stray_and_its_colour_are_left_out() -> None:
    positions = torch.cat((directions_on_a_sphere(5000), torch.tensor([[3.0, 0.0, 0.0]])))
    colours = torch.full_like(positions, 0.5)
    colours[::50] = 1.0
    points = SurfacePoints(positions, positions, colours, torch.ones(5001), -positions)
    spread, _ = evenly_spread(points, 500)
    assert spread.positions.norm(dim=-1).max() < 1.01
    assert (spread.colours == 0.5).all(), "one pixel in fifty does not decide a colour"


def test_nothing_to_see_is_one_sentence() -> None:
    pictured = pictured_ball()
    with torch.no_grad():
        pictured.generator.field.radius = -1.0
    with pytest.raises(UserError, match=r"none of 24 pictures .* shows an object; train longer"):
        sample_surface(pictured, 100, SAMPLING)
