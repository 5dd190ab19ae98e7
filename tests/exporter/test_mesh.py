"""Meshes of fields whose surface is known: position, closure, winding, clean-up, normals and colours."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gan3d_ns.exporter.level_set import marching_cubes_on_grid, refine_on_edges
from gan3d_ns.exporter.mesh import MeshExtractionConfig, drop_floaters, extract_mesh, normals_from_faces
from gan3d_ns.exporter.mise import extract_iso_grid

CORNER = torch.full((3,), 0.55)
RADIUS = 0.4


def sphere(points):
    return 10.0 * (RADIUS - points.norm(dim=-1))


def saturating_sphere(points):
    """As a trained occupancy logit: steep at the surface, flat a few voxels away."""
    return 10.0 * torch.tanh(40.0 * (RADIUS - points.norm(dim=-1)))


def edge_counts(mesh):
    """How often each directed edge occurs, and each edge without its direction."""
    directed = mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    keys = (edges @ [len(mesh.vertices), 1] for edges in (directed, np.sort(directed, axis=1)))
    directed_counts, counts = (np.unique(key, return_counts=True)[1] for key in keys)
    return directed_counts, counts


def assert_closed_and_consistently_wound(mesh):
    directed_counts, counts = edge_counts(mesh)
    assert (counts == 2).all()
    assert (directed_counts == 1).all()
    assert set(np.unique(mesh.faces)) == set(range(len(mesh.vertices)))


def signed_volume(mesh):
    corners = mesh.vertices.astype(np.float64)[mesh.faces]
    return np.einsum("fc,fc->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6


def radius_error_in_voxels(mesh, resolution):
    return np.abs(np.linalg.norm(mesh.vertices.astype(np.float64), axis=1) - RADIUS).max() / (1.1 / resolution)


def test_equals_dense_extraction_vertex_for_vertex():
    sparse = extract_iso_grid(sphere, -CORNER, CORNER, 32, 2)
    dense = extract_iso_grid(sphere, -CORNER, CORNER, 128, 0)
    (sparse_vertices, sparse_faces), (dense_vertices, dense_faces) = map(marching_cubes_on_grid, (sparse, dense))
    assert np.array_equal(sparse_vertices.positions, dense_vertices.positions)
    assert np.array_equal(sparse_faces, dense_faces)
    assert sparse.num_queries * 12 < dense.num_queries == 129**3


def test_sphere_at_256_is_closed_exact_and_cheap():
    mesh = extract_mesh(MeshExtractionConfig(resolution=256), sphere, -CORNER, CORNER)
    assert radius_error_in_voxels(mesh, 256) < 1e-3
    assert mesh.statistics["queries"] < mesh.statistics["dense_queries"] / 20
    assert_closed_and_consistently_wound(mesh)
    num_edges = len(mesh.faces) * 3 // 2
    assert len(mesh.vertices) - num_edges + len(mesh.faces) == 2
    assert signed_volume(mesh) == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=1e-3)


def test_secant_steps_land_on_the_level_of_a_saturating_field():
    errors = [
        radius_error_in_voxels(
            extract_mesh(MeshExtractionConfig(resolution=32, refine_steps=steps), saturating_sphere, -CORNER, CORNER),
            32,
        )
        for steps in (0, 1, 2)
    ]
    assert errors[0] > 0.03
    assert errors[1] < errors[0] / 5
    assert errors[2] < 2e-3


def test_refinement_keeps_every_vertex_on_its_edge():
    grid = extract_iso_grid(saturating_sphere, -CORNER, CORNER, 32, 0)
    vertices, _ = marching_cubes_on_grid(grid)
    wild = np.random.default_rng(0)
    refined = refine_on_edges(vertices, grid, lambda points: wild.normal(size=len(points)), 5)
    assert ((refined.fraction > 0) & (refined.fraction < 1)).all()
    assert np.array_equal(refined.start, vertices.start)


@pytest.mark.parametrize("smooth", [0, 2])
@pytest.mark.parametrize("ties", [False, True])
def test_any_field_gives_a_closed_mesh_even_with_ties_and_cut_by_the_box(smooth, ties):
    noise = torch.randn(1, 1, 24, 24, 24, generator=torch.Generator().manual_seed(3))
    for _ in range(smooth):
        noise = torch.nn.functional.avg_pool3d(noise, 3, stride=1, padding=1)
    values = (noise / noise.std()).round() if ties else noise

    def field(points):
        index = ((points / 0.55 + 1) / 2 * 23).round().long()
        return values[0, 0, index[:, 0], index[:, 1], index[:, 2]]

    config = MeshExtractionConfig(resolution=23, refine_steps=1, min_component_fraction=0.0)
    mesh = extract_mesh(config, field, -CORNER, CORNER)
    assert_closed_and_consistently_wound(mesh)
    assert signed_volume(mesh) > 0
    edges = mesh.vertices[mesh.faces] - mesh.vertices[np.roll(mesh.faces, 1, axis=1)]
    assert np.linalg.norm(edges, axis=-1).min() > 0


def test_a_surface_cut_by_the_box_gets_a_lid_on_the_box():
    mesh = extract_mesh(MeshExtractionConfig(resolution=64), lambda p: 0.7 - p.norm(dim=-1), -CORNER, CORNER)
    assert_closed_and_consistently_wound(mesh)
    step = 1.1 / 64
    assert 0.55 <= mesh.vertices.max() <= 0.55 + 2e-4 * step
    assert -0.55 - 2e-4 * step <= mesh.vertices.min() <= -0.55


def test_other_levels_move_the_surface():
    config = MeshExtractionConfig(resolution=64, level=50.0)
    mesh = extract_mesh(config, lambda points: 100.0 * (1 - points.norm(dim=-1)), -CORNER, CORNER)
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices, axis=1), 0.5, atol=1e-4)


def test_box_that_is_no_cube_keeps_world_positions():
    lower, upper = torch.tensor([-0.6, -0.5, -0.9]), torch.tensor([0.5, 0.7, 0.45])
    mesh = extract_mesh(MeshExtractionConfig(resolution=64, refine_steps=3), sphere, lower, upper)
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices, axis=1), RADIUS, atol=1e-5)
    assert signed_volume(mesh) > 0


def three_spheres(points):
    """Faces grow with the square of the radius: 1, 1/4 and 1/16."""
    centres = torch.tensor([[-0.2, 0.0, 0.0], [0.3, 0.2, 0.0], [0.3, -0.3, 0.0]])
    radii = torch.tensor([0.24, 0.12, 0.06])
    return (radii - (points[:, None] - centres).norm(dim=-1)).amax(dim=-1)


@pytest.mark.parametrize(
    ("fraction", "largest_only", "dropped"), [(0.0, False, 0), (0.15, False, 1), (0.5, False, 2), (0.0, True, 2)]
)
def test_floaters_are_dropped_by_their_share_of_faces(fraction, largest_only, dropped):
    config = MeshExtractionConfig(resolution=64, min_component_fraction=fraction, largest_only=largest_only)
    mesh = extract_mesh(config, three_spheres, -CORNER, CORNER)
    assert mesh.statistics["components"] == 3
    assert mesh.statistics["components_dropped"] == dropped
    assert_closed_and_consistently_wound(mesh)


def test_dropping_renumbers_the_faces():
    faces = np.array([[0, 1, 2], [3, 4, 5], [4, 5, 6]])
    kept, new_faces, pieces, dropped = drop_floaters(7, faces, 0.9)
    assert kept.tolist() == [False] * 3 + [True] * 4
    assert new_faces.tolist() == [[0, 1, 2], [1, 2, 3]]
    assert (pieces, dropped) == (2, 1)


def test_normals_point_outward_with_and_without_a_normal_function():
    config = MeshExtractionConfig(resolution=64)
    mesh = extract_mesh(config, sphere, -CORNER, CORNER)
    assert (mesh.normals * mesh.vertices).sum(axis=1).min() > 0.99 * RADIUS

    def broken_above(points):
        """Not normalised, and without a direction in the upper half."""
        return torch.where(points[:, 1:2] > 0, torch.nan, 3.0 * points)

    mixed = extract_mesh(config, sphere, -CORNER, CORNER, normal_fn=broken_above)
    lower_half = mesh.vertices[:, 1] <= 0
    np.testing.assert_allclose(mixed.normals[lower_half], mesh.vertices[lower_half] / RADIUS, atol=1e-3)
    np.testing.assert_allclose(mixed.normals[~lower_half], mesh.normals[~lower_half], atol=1e-6)


def test_normals_from_faces_are_weighted_by_area():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 3]], dtype=np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    np.testing.assert_allclose(normals_from_faces(vertices, faces)[0], np.array([3, 0, 1]) / 10**0.5, atol=1e-6)


def test_a_normal_function_may_differentiate_the_field():
    def gradient(points):
        points = points.detach().requires_grad_()
        (slope,) = torch.autograd.grad(sphere(points).sum(), points)
        return -slope

    mesh = extract_mesh(MeshExtractionConfig(resolution=32), sphere, -CORNER, CORNER, normal_fn=gradient)
    np.testing.assert_allclose(mesh.normals, mesh.vertices / RADIUS, atol=1e-3)


def test_colours_see_positions_and_normals_and_stay_in_range():
    def colour(points, normals):
        assert torch.allclose(normals.norm(dim=-1), torch.ones(len(normals)), atol=1e-5)
        return torch.stack([points[:, 0] + 0.5, normals[:, 1], torch.full_like(points[:, 0], 7.0)], dim=-1)

    config = MeshExtractionConfig(resolution=32, chunk_size=999)
    mesh = extract_mesh(config, sphere, -CORNER, CORNER, colour_fn=colour)
    np.testing.assert_allclose(mesh.colours[:, 0], mesh.vertices[:, 0] + 0.5, atol=1e-6)
    np.testing.assert_allclose(mesh.colours[:, 1], mesh.normals[:, 1].clip(0, 1), atol=1e-6)
    assert (mesh.colours[:, 2] == 1).all()
