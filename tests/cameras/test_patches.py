"""Laws of patches, and the original's numbers."""

from __future__ import annotations

import math

import pytest
import torch

from gan3d_ns.cameras.patches import Patches, draw_patches
from gan3d_ns.cameras.pose_prior import PosePrior, PosePriorConfig

SIDE = 8


def whole_frame(count: int, side: int = SIDE) -> Patches:
    return Patches(torch.ones(count), torch.zeros(count, 2), side)


def test_rays_of_a_whole_patch_are_those_of_the_picture() -> None:
    prior = PosePrior(PosePriorConfig(fov_deg=25.0))
    poses = prior.sample(2, torch.Generator().manual_seed(0))
    rays, expected = prior.rays_at(poses, whole_frame(2).coordinates()), prior.rays(poses, SIDE)
    for name in ("origins", "directions", "nears", "fars"):
        torch.testing.assert_close(getattr(rays, name), getattr(expected, name))


def test_a_patch_reads_the_picture_where_its_rays_look() -> None:
    """A picture that shows its own frame coordinates, read at a patch, gives the coordinates of the patch."""
    steps = torch.linspace(-1.0, 1.0, 33)
    down, right = torch.meshgrid(steps, steps, indexing="ij")
    picture = torch.stack((right, down, torch.zeros_like(right)))[None].expand(4, -1, -1, -1)
    patches = draw_patches(4, SIDE, 0.3, torch.Generator().manual_seed(1))
    read = patches.of(picture)[:, :2].flatten(2).transpose(1, 2)
    torch.testing.assert_close(read, patches.coordinates(), atol=1e-5, rtol=0)


def test_patches_stay_in_the_frame_and_reach_its_borders() -> None:
    patches = draw_patches(4000, SIDE, 0.25, torch.Generator().manual_seed(2))
    coordinates = patches.coordinates()
    assert coordinates.abs().max() <= 1.0 + 1e-6
    assert (coordinates.amin(dim=(0, 1)) < -0.99).all() and (coordinates.amax(dim=(0, 1)) > 0.99).all()
    assert patches.scale.min() >= 0.25 and patches.scale.max() <= 1.0
    assert float(patches.scale.mean()) == pytest.approx(0.625, abs=0.01)
    assert float(patches.centre.mean()) == pytest.approx(0.0, abs=0.02)


def test_every_picture_has_a_patch_of_its_own_and_parts_keep_theirs() -> None:
    patches = draw_patches(5, SIDE, 0.25, torch.Generator().manual_seed(3))
    assert patches.scale.unique().numel() == 5
    torch.testing.assert_close(patches[1:3].coordinates(), patches.coordinates()[1:3])


def test_the_pixel_area_shrinks_with_the_square_of_the_scale() -> None:
    prior = PosePrior(PosePriorConfig())
    poses = prior.sample(2, torch.Generator().manual_seed(0))
    half = Patches(torch.tensor([1.0, 0.5]), torch.zeros(2, 2), SIDE)
    area = prior.rays_at(poses, half.coordinates()).pixel_area[:, 0, 0]
    assert float(area[0] / area[1]) == pytest.approx(4.0)
    frame = (2.0 * math.tan(math.radians(6.0))) ** 2
    assert float(area[0]) == pytest.approx(frame / SIDE**2, rel=1e-4)
