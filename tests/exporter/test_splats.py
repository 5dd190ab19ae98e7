"""Splats on a ball: flat along the surface, closed all around; fitting brings them nearer to the pictures."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pictured_ball import RADIUS, pictured_ball

from gan3d_ns.exporter.splat_refinement import (
    SplatRefinementConfig,
    held_out_pictures,
    mean_psnr,
    picture_loss,
    refine_splats,
)
from gan3d_ns.exporter.splat_render import render_splats
from gan3d_ns.exporter.splat_seeding import SplatSeedingConfig, seed_splats
from gan3d_ns.exporter.splats import Splats, rotations_to
from gan3d_ns.exporter.surface_points import SurfaceSamplingConfig

SEEDING = SplatSeedingConfig(num_splats=1500, surface=SurfaceSamplingConfig(num_views=24, resolution=48))


@pytest.fixture(scope="module")
def seeded() -> Splats:
    return seed_splats(pictured_ball(), SEEDING, render_splats)


def test_rotations_take_the_z_axis_to_the_normal() -> None:
    normals = torch.nn.functional.normalize(torch.randn(100, 3), dim=-1)
    normals = torch.cat((normals, torch.eye(3), -torch.eye(3)))
    rotations = rotations_to(normals)
    torch.testing.assert_close(rotations.norm(dim=-1), torch.ones(106))
    ones = torch.ones(106, 3)
    splats = Splats(normals, ones, rotations, ones[:, 0], ones)
    torch.testing.assert_close(splats.normals, normals, atol=1e-3, rtol=0)
    identity = torch.eye(3).expand(106, 3, 3)
    torch.testing.assert_close(splats.matrices @ splats.matrices.transpose(1, 2), identity, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(splats.matrices), torch.ones(106))


def test_covariances_have_the_scales_along_the_axes() -> None:
    scales = torch.rand(10, 3) + 0.1
    splats = Splats(torch.zeros(10, 3), scales, torch.randn(10, 4), torch.ones(10), torch.ones(10, 3))
    along = torch.einsum("nji,njk,nki->ni", splats.matrices, splats.covariances, splats.matrices)
    torch.testing.assert_close(along, scales**2, atol=1e-5, rtol=1e-4)


def test_splats_are_flat_along_the_surface(seeded: Splats) -> None:
    outward = seeded.positions / seeded.positions.norm(dim=-1, keepdim=True)
    assert ((seeded.normals * outward).sum(dim=-1) > 0.99).all()
    across = torch.einsum("ni,nij,nj->n", outward, seeded.covariances, outward).sqrt()
    assert (across < 0.35 * seeded.scales[:, 0]).all()
    assert (seeded.positions.norm(dim=-1) < RADIUS + 2e-4).all()
    assert (seeded.positions.norm(dim=-1) > 0.9 * RADIUS).all()


def test_the_surface_is_closed_and_its_outline_right_from_all_around(seeded: Splats) -> None:
    for picture in held_out_pictures(pictured_ball(), 4, 48):
        with torch.no_grad():
            found = render_splats(seeded, picture.camera)
        seen, true = found.accumulation > 0.5, picture.shows_matter
        assert (seen & true).sum() > 0.93 * (seen | true).sum()
        inner = torch.nn.functional.max_pool2d(1.0 - true.float()[None], 5, 1, 2)[0] == 0
        assert found.accumulation[inner].min() > 0.9


def test_pictures_of_the_splats_are_those_of_the_generator(seeded: Splats) -> None:
    assert mean_psnr(seeded, held_out_pictures(pictured_ball(), 4, 48), render_splats) > 22.0


def test_psnr_is_that_of_a_known_error(seeded: Splats) -> None:
    pictures = held_out_pictures(pictured_ball(), 2, 24)
    changed = []
    for picture in pictures:
        with torch.no_grad():
            same = render_splats(seeded, picture.camera, picture.background).rgb.clamp(0.0, 1.0)
        changed.append(replace(picture, rgb=same + 0.1))
    assert abs(mean_psnr(seeded, changed, render_splats) - 20.0) < 1e-3


def test_fitting_helps_and_repeats() -> None:
    pictured = pictured_ball()
    blurred = seed_splats(pictured, replace(SEEDING, num_splats=300, inset_pixels=(0.0,)), render_splats)
    grey = replace(blurred, colours=torch.full_like(blurred.colours, 0.5))
    config = SplatRefinementConfig(num_steps=25, resolution=32)
    pictures = held_out_pictures(pictured, 3, 32)
    steps = []
    refined = refine_splats(grey, pictured, render_splats, config, lambda done, total: steps.append((done, total)))
    assert mean_psnr(refined, pictures, render_splats) > mean_psnr(grey, pictures, render_splats) + 1.5
    assert steps[-1] == (25, 25)
    again = refine_splats(grey, pictured, render_splats, config)
    torch.testing.assert_close(again.positions, refined.positions)
    assert not any(value.requires_grad for value in vars(refined).values())
    assert (grey.colours == 0.5).all(), "what was given stays"


def test_the_loss_is_zero_for_equal_pictures_and_counts_both_parts() -> None:
    picture = torch.rand(24, 24, 3)
    assert picture_loss(picture, picture, 0.2) < 1e-5
    other = (picture + 0.1).clamp(max=1.0)
    torch.testing.assert_close(picture_loss(other, picture, 0.0), (other - picture).abs().mean())
    assert 0 < picture_loss(other, picture, 1.0) < 1
