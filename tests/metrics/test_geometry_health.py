"""The outward-facing check on depth images whose answer is known."""

from __future__ import annotations

import pytest
import torch

from gan3d_ns.metrics.geometry_health import geometry_health, relief


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
