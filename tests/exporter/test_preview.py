"""Pictures of a sphere, whose silhouette, depth and normals are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gan3d_ns.exporter.mesh import Mesh, MeshExtractionConfig, extract_mesh
from gan3d_ns.exporter.preview import read_texture, render_mesh_preview

pytest.importorskip("open3d")

RADIUS, FOV_DEG = 0.08, 12.0
FRONT = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]])


@pytest.fixture(scope="module")
def ball():
    corner = torch.full((3,), 0.12)

    def octant_colour(points, normals):
        return (points > 0).float()

    return extract_mesh(
        MeshExtractionConfig(resolution=64), lambda p: RADIUS - p.norm(dim=-1), -corner, corner, colour_fn=octant_colour
    )


def pixel_offsets(resolution):
    axis = np.linspace(-1, 1, resolution) * math.tan(math.radians(FOV_DEG) / 2)
    return np.meshgrid(axis, -axis, indexing="xy")


def test_silhouette_and_depth_are_those_of_the_sphere(ball):
    preview = render_mesh_preview(ball, FRONT, FOV_DEG, 65)
    right, up = pixel_offsets(65)
    cosine = 1 / np.sqrt(1 + right**2 + up**2)
    miss = np.sqrt(1 - cosine**2)  # distance of the ray from the centre, at orbit radius 1
    clear = np.abs(miss - RADIUS) > 5e-4
    assert np.array_equal((preview.coverage > 0.5)[clear], (miss < RADIUS)[clear])
    seen = miss < RADIUS - 5e-3
    expected = cosine[seen] - np.sqrt(RADIUS**2 - miss[seen] ** 2)
    np.testing.assert_allclose(preview.depth[seen], expected, atol=5e-4)
    assert np.isinf(preview.depth[0, 0])


def test_picture_stands_upright(ball):
    """Seen from +z: right is +x (red), up is +y (green), near is +z (blue)."""
    preview = render_mesh_preview(ball, FRONT, FOV_DEG, 64)
    np.testing.assert_allclose(preview.rgb[20, 44], [1, 1, 1], atol=1e-6)
    np.testing.assert_allclose(preview.rgb[20, 20], [0, 1, 1], atol=1e-6)
    np.testing.assert_allclose(preview.rgb[44, 44], [1, 0, 1], atol=1e-6)
    np.testing.assert_allclose(preview.normals[32, 32], [0, 0, 1], atol=0.05)


def test_another_side_of_the_object_from_plus_x(ball):
    side = torch.tensor([[0.0, 0, 1, 1], [0, 1, 0, 0], [-1, 0, 0, 0]])
    preview = render_mesh_preview(ball, side, FOV_DEG, 64)
    np.testing.assert_allclose(preview.rgb[20, 20], [1, 1, 1], atol=1e-6)
    np.testing.assert_allclose(preview.rgb[20, 44], [1, 1, 0], atol=1e-6)


def test_background_sub_samples_and_light(ball):
    preview = render_mesh_preview(ball, FRONT, FOV_DEG, 32, samples_per_axis=4, background=(0.2, 0.4, 0.6))
    np.testing.assert_allclose(preview.rgb[0, 0], [0.2, 0.4, 0.6], atol=1e-6)
    assert ((preview.coverage > 0.1) & (preview.coverage < 0.9)).any()
    area = preview.coverage.mean()
    tangent = RADIUS / math.sqrt(1 - RADIUS**2) / math.tan(math.radians(FOV_DEG) / 2)
    assert area == pytest.approx(math.pi * (tangent * 31 / 32 / 2) ** 2, rel=0.01)
    assert preview.shaded[11, 11].mean() > preview.shaded[20, 20].mean()


def test_a_mesh_without_colours_or_normals_is_shown_as_clay(ball):
    bare = type(ball)(vertices=ball.vertices, faces=ball.faces)
    preview = render_mesh_preview(bare, FRONT, FOV_DEG, 16)
    assert np.array_equal(preview.rgb, preview.shaded)


def test_texture_reads_are_exact_at_centres_and_linear_between():
    texture = np.uint8([[[0] * 3, [100] * 3], [[200] * 3, [240] * 3]])
    places = np.array([[0.25, 0.25], [0.75, 0.25], [0.5, 0.25], [0.25, 0.5], [0.5, 0.5], [0.0, 0.0], [1.0, 1.0]])
    found = read_texture(texture, places) * 255
    np.testing.assert_allclose(found[:, 0], [0, 100, 50, 100, 135, 0, 240], atol=1e-9)


def test_a_texture_shows_upright():
    """A square that faces +z with a picture of four colours on it: texture row 0 is up."""
    vertices = np.float32([[-0.05, 0.05, 0], [0.05, 0.05, 0], [0.05, -0.05, 0], [-0.05, -0.05, 0]])
    uvs = np.float32([[0, 0], [1, 0], [1, 1], [0, 1]])
    texture = np.uint8([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]]).repeat(8, 0).repeat(8, 1)
    mesh = Mesh(vertices=vertices, faces=np.array([[0, 2, 1], [0, 3, 2]]), uvs=uvs, texture=texture)
    rgb = render_mesh_preview(mesh, FRONT, FOV_DEG, 32, background=(0.0, 0.0, 0.0)).rgb
    np.testing.assert_allclose([rgb[11, 11], rgb[11, 20]], [[1, 0, 0], [0, 1, 0]], atol=1e-6)
    np.testing.assert_allclose([rgb[20, 11], rgb[20, 20]], [[0, 0, 1], [1, 1, 1]], atol=1e-6)
