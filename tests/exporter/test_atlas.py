"""Charts in a texture: what lies where, and no seams where they meet."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gan3d_ns.exporter.atlas import dilated, texels_of, unwrapped
from gan3d_ns.exporter.mesh import MeshExtractionConfig, extract_mesh
from gan3d_ns.exporter.preview import read_texture

SIZE = 256


@pytest.fixture(scope="module")
def ball():
    corner = torch.full((3,), 0.12)
    return extract_mesh(MeshExtractionConfig(resolution=24), lambda p: 0.08 - p.norm(dim=-1), -corner, corner)


@pytest.fixture(scope="module")
def flat(ball):
    return unwrapped(ball.vertices, ball.faces, np.array(SIZE))


def test_a_square_of_two_triangles_is_covered_once_and_read_linearly():
    """Vertices carry their own place: texel (i, j) must read ((j + 1/2) / S, (i + 1/2) / S)."""
    uvs = np.float32([[0, 0], [1, 0], [1, 1], [0, 1]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    texels = texels_of(faces, uvs, 7)
    assert texels.covered.all()
    centres = (np.arange(7) + 0.5) / 7
    expected = np.stack(np.meshgrid(centres, centres, indexing="xy"), axis=-1)
    np.testing.assert_allclose(texels.interpolated(faces, uvs).reshape(7, 7, 2), expected, atol=1e-6)


def test_only_the_triangle_is_covered():
    texels = texels_of(np.array([[0, 1, 2]]), np.float32([[0, 0], [0.5, 0], [0, 0.5]]), 64)
    rows, columns = np.nonzero(texels.covered)
    assert (rows + columns + 1 <= 32).all()
    assert texels.covered.sum() == pytest.approx(64**2 / 8, rel=0.05)
    np.testing.assert_allclose(texels.weights.sum(axis=1), 1.0, atol=1e-6)
    assert (texels.weights > -1e-6).all()


def test_unwrapping_keeps_every_face_in_place_and_overlaps_none(ball, flat):
    source, faces, uvs = flat["source"], flat["faces"], flat["uvs"]
    assert np.array_equal(source[faces], ball.faces)
    assert set(source) == set(range(len(ball.vertices)))
    assert len(source) > len(ball.vertices), "a closed surface does not lie flat without a seam"
    assert uvs.min() >= 0.0 and uvs.max() <= 1.0
    first, second, third = uvs[faces].transpose(1, 0, 2).astype(np.float64)
    (a, b), (c, d) = (second - first).T, (third - first).T
    area = 0.5 * np.abs(a * d - b * c).sum()
    # Centres in more than one triangle would be counted once and leave less than the area of all triangles.
    assert texels_of(faces, uvs, SIZE).covered.mean() == pytest.approx(area, rel=0.02)
    assert area > 0.15


@pytest.mark.parametrize("shrink", [1, 2, 4])
def test_no_seams_at_full_size_or_in_smaller_mip_maps(ball, flat, shrink):
    """A texture of positions, read back at the vertices, gives the positions; colours of empty texels would not."""
    source, faces, uvs = flat["source"], flat["faces"], flat["uvs"]
    vertices = ball.vertices[source]
    texels = texels_of(faces, uvs, SIZE)
    texture = np.zeros((SIZE, SIZE, 3), dtype=np.float32)
    texture[texels.covered] = texels.interpolated(faces, vertices) / 0.2 + 0.5

    def worst(picture):
        small = picture.reshape(SIZE // shrink, shrink, SIZE // shrink, shrink, 3).mean(axis=(1, 3))
        stored = np.round(small * 255).astype(np.uint8)
        return np.abs((read_texture(stored, uvs.astype(np.float64)) - 0.5) * 0.2 - vertices).max()

    texel = 0.16 * np.pi / (SIZE / shrink)
    assert worst(dilated(texture, texels.covered)) < 2.5 * texel
    assert worst(texture) > 5 * texel, "without dilation there is a seam"


def test_dilation_takes_the_nearest_and_leaves_the_rest():
    texture = np.zeros((5, 5, 3), dtype=np.float32)
    covered = np.zeros((5, 5), dtype=bool)
    covered[0, 0] = covered[4, 4] = True
    texture[0, 0], texture[4, 4] = 0.25, 0.75
    filled = dilated(texture, covered)
    assert (filled[:2, :2] == 0.25).all() and (filled[3:, 3:] == 0.75).all()
    assert set(np.unique(filled)) == {0.25, 0.75}
