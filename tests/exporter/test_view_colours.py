"""What views show of a mesh's points: where it lies in a picture, what hides it, and how views are weighed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS, PosePrior, poses_from_degrees
from gan3d_ns.exporter.view_colours import Occluder, PriorViews, ViewColours

PRIOR = PosePrior(POSE_PRIOR_PRESETS["procedural"])
SIDE = 33
QUAD = np.float32([[-0.03, -0.03, 0], [0.03, -0.03, 0], [0.03, 0.03, 0], [-0.03, 0.03, 0]])
FACES = np.array([[0, 1, 2], [0, 2, 3]])
OWN = (0.1, 0.2, 0.3)
CPU = torch.device("cpu")


def own_colour(points, normals):
    return torch.tensor(OWN).expand_as(points)


def plain(colour, accumulation=1.0):
    return torch.tensor([*colour, accumulation])[:, None, None].expand(4, SIDE, SIDE)


def colours_of(pictures, yaws, points, normals, vertices=QUAD, faces=FACES):
    poses = poses_from_degrees(torch.tensor(yaws), torch.zeros(len(yaws)))
    views = PriorViews(PRIOR.camera_to_world(poses), torch.stack(pictures), PRIOR.config.fov_deg)
    return ViewColours(views, Occluder(vertices, faces), own_colour, CPU)(np.float32(points), np.float32(normals))


def test_a_point_reads_its_own_pixel():
    """A picture whose colour is the place in it: red grows to the right, green downwards, in GOF's pixel grid."""
    ramp = torch.linspace(0.0, 1.0, SIDE)
    picture = torch.stack(
        [ramp.expand(SIDE, SIDE), ramp[:, None].expand(SIDE, SIDE), torch.zeros(SIDE, SIDE), torch.ones(SIDE, SIDE)]
    )
    points = [[0.0, 0.0, 0.0], [0.025, 0.0, 0.0], [0.0, 0.02, 0.0]]
    found = colours_of([picture], [0.0], points, [[0, 0, 1]] * 3)
    half = math.tan(math.radians(PRIOR.config.fov_deg) / 2)
    expected = [[0.5, 0.5], [0.5 + 0.0125 / half, 0.5], [0.5, 0.5 - 0.01 / half]]
    np.testing.assert_allclose(found[:, :2], expected, atol=1e-5)


def test_views_weigh_by_the_square_of_the_cosine_and_by_opacity():
    red, blue = plain((1, 0, 0)), plain((0, 0, 1), accumulation=0.75)
    (found,) = colours_of([red, blue], [0.0, 60.0], [[0.0, 0.0, 0.0]], [[0, 0, 1]])
    front, side = 1.0 * 0.5, math.cos(math.radians(60)) ** 2 * 0.25
    np.testing.assert_allclose(found, [front / (front + side), 0, side / (front + side)], atol=1e-4)


def test_a_picture_of_the_background_counts_for_nothing():
    (found,) = colours_of([plain((1, 0, 0)), plain((1, 1, 1), accumulation=0.4)], [0.0, 10.0], [[0.0] * 3], [[0, 0, 1]])
    np.testing.assert_allclose(found, [1, 0, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("point", "normal"),
    [([0.0, 0.0, 0.0], [0, 0, -1]), ([0.2, 0.0, 0.0], [0, 0, 1])],
    ids=["turned away", "out of the frame"],
)
def test_what_no_view_sees_takes_the_fields_own_colour(point, normal):
    (found,) = colours_of([plain((1, 0, 0))], [0.0], [point], [normal])
    np.testing.assert_allclose(found, OWN, atol=1e-6)


def test_what_the_mesh_hides_takes_the_fields_own_colour():
    """A second sheet behind the first; its right half is beside it, in sight."""
    vertices = np.concatenate([QUAD, QUAD + np.float32([0.03, 0, -0.02])])
    faces = np.concatenate([FACES, FACES + 4])
    points = [[0.01, 0, 0], [0.01, 0, -0.02], [0.05, 0, -0.02]]
    found = colours_of([plain((1, 0, 0))], [0.0], points, [[0, 0, 1]] * 3, vertices, faces)
    np.testing.assert_allclose(found, [[1, 0, 0], OWN, [1, 0, 0]], atol=1e-6)


def test_the_fields_own_colour_fades_in_towards_the_rim():
    """No edge where the last view is lost: colours change gradually as the surface turns away."""
    turned = np.linspace(0.0, 0.3, 300)
    normals = np.stack([np.sqrt(1 - turned**2), np.zeros(300), turned], axis=1)
    found = colours_of([plain((1, 0, 0))], [0.0], np.zeros((300, 3)), normals)
    assert np.abs(np.diff(found, axis=0)).max() < 0.03
    np.testing.assert_allclose(found[0], OWN, atol=1e-6)
    np.testing.assert_allclose(found[-1], [1, 0, 0], atol=1e-6)
