"""The outward-facing check on depth images whose answer is known."""

from __future__ import annotations

import pytest
import torch

from gan3d_ns.metrics.geometry_health import geometry_health, occupied_fraction, relief


def bowl(height: float, side: int = 32) -> torch.Tensor:
    """Distances whose middle is ``height`` nearer (positive) or deeper (negative) than the rim."""
    axis = torch.linspace(-1, 1, side)
    radius = (axis[:, None].square() + axis.square()).sqrt().clamp(max=1.0)
    return (1.0 - height * (1.0 - radius))[None]


@pytest.mark.parametrize("height", [0.05, -0.05])
def test_sign_of_the_relief_says_which_way_a_surface_faces(height: float) -> None:
    depth = bowl(height)
    hit = torch.ones_like(depth, dtype=torch.bool)
    value = float(relief(depth, hit))
    assert (value > 0) == (height > 0)
    assert abs(value) < abs(height)
    assert geometry_health(depth, hit).hollow_fraction == float(height < 0)


def test_flat_surfaces_have_no_relief_and_no_spread() -> None:
    depth = torch.ones(2, 16, 16)
    health = geometry_health(depth, torch.ones_like(depth, dtype=torch.bool))
    assert health.relief == 0 and health.depth_spread == 0 and health.hit_rate == 1


def test_rays_without_a_surface_do_not_count() -> None:
    depth = bowl(0.05)
    hit = torch.ones_like(depth, dtype=torch.bool)
    clean = relief(depth, hit)
    depth[:, :4], hit[:, :4] = 99.0, False
    assert abs(float(relief(depth, hit) - clean)) < 0.01


def test_an_empty_image_is_neither_hollow_nor_spread() -> None:
    depth = torch.ones(1, 16, 16)
    health = geometry_health(depth, torch.zeros_like(depth, dtype=torch.bool))
    assert health.hit_rate == 0 and health.relief == 0 and health.hollow_fraction == 0


def test_a_hollow_object_before_a_wall_is_hollow() -> None:
    """A bowl deeper in its middle, and a wall far behind it all around: the wall must not make it look outward."""
    depth = bowl(-0.03)
    hit = torch.ones_like(depth, dtype=torch.bool)
    axis = torch.linspace(-1, 1, depth.shape[-1])
    wall = (axis[:, None].square() + axis.square()).sqrt() > 0.85
    depth[:, wall] = 1.1
    assert geometry_health(depth, hit).hollow_fraction == 1.0


@pytest.mark.parametrize("radius", [0.3, 0.8, 2.0])
def test_the_occupied_fraction_of_a_ball_is_its_volume(radius: float) -> None:
    """A ball in the middle of a box that is not a cube, clipped by it where it is larger; two objects at once."""
    box = torch.tensor([[-1.0, -0.5, -1.0], [1.0, 0.5, 3.0]])
    level = 0.2

    def geometry_at(points: torch.Tensor) -> torch.Tensor:
        inside = level + radius - (points - torch.tensor([0.0, 0.0, 1.0])).norm(dim=-1)
        return torch.cat((inside, torch.full_like(inside, level - 1.0)))

    axes = [torch.linspace(float(low), float(high), 80) for low, high in box.T]
    lattice = torch.cartesian_prod(*axes)[None]
    expected = float((geometry_at(lattice) > level).float().mean())
    if radius == 0.3:
        assert expected == pytest.approx(4.0 / 3.0 * torch.pi * radius**3 / 8.0 / 2.0, rel=0.05)
    found = occupied_fraction(geometry_at, level, box, torch.Generator().manual_seed(0), num_points=20_000)
    assert found == pytest.approx(expected, abs=0.01)


def test_full_and_empty_boxes() -> None:
    box, randomness = torch.tensor([[-1.0] * 3, [1.0] * 3]), torch.Generator().manual_seed(0)
    assert occupied_fraction(lambda points: points[..., 0] + 5.0, 0.0, box, randomness) == 1.0
    assert occupied_fraction(lambda points: points[..., 0] - 5.0, 0.0, box, randomness) == 0.0
