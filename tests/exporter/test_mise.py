"""MISE: the published point sets, the laws of the lattice, and what a user is told."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gan3d_ns.errors import UserError
from gan3d_ns.exporter.mise import extract_iso_grid, split_resolution

CORNER = torch.full((3,), 0.55)


def sphere(points, radius=0.4):
    return 10.0 * (radius - points.norm(dim=-1))


def spheres(centres_and_radii):
    def field(points):
        distance = (points[:, None].double() - centres_and_radii[:, :3].double()).norm(dim=-1)
        return (10.0 * (centres_and_radii[:, 3].double() - distance)).amax(dim=-1)

    return field


def lattice_signs(field, resolution, corner=CORNER):
    axis = torch.linspace(-1, 1, resolution + 1, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis, axis) * corner.double()
    return (field(points) >= 0).reshape((resolution + 1,) * 3).numpy()


def test_matches_the_recorded_rounds(load_fixture):
    recorded = load_fixture("onet_mise")
    field = spheres(recorded["spheres"])
    asked, answered = [], []

    def listen(points):
        asked.append(((points / 1.1 + 0.5) * 64).round())
        answered.append(field(points))
        return answered[-1]

    corner = CORNER.double()
    grid = extract_iso_grid(listen, -corner, corner, 16, 2)

    assert grid.rounds == len(asked) == int(recorded["a_rounds"])
    for index, (points, values) in enumerate(zip(asked, answered, strict=True)):
        assert torch.equal(points.float(), recorded[f"a_round{index}_points"])
        torch.testing.assert_close(values.float(), recorded[f"a_round{index}_values"], atol=1e-5, rtol=1e-5)
    assert grid.num_queries == int(recorded["a_evaluated"])
    assert grid.leaves_per_tier == tuple(int(count) for count in recorded["a_leaves_per_level"])
    assert np.array_equal(grid.values >= 0, recorded["a_dense_inside"].numpy() > 0.5)
    np.testing.assert_allclose(grid.values[:, 32], recorded["a_dense_slice"].numpy(), atol=1e-5)
    num_sign_errors = np.count_nonzero((grid.values >= 0) != lattice_signs(field, 64))
    assert num_sign_errors == int(recorded["a_sign_errors"])


def test_every_sign_is_that_of_a_dense_grid_for_two_components():
    field = spheres(torch.tensor([[-0.25, 0.0, 0.0, 0.2], [0.3, 0.1, 0.1, 0.06]]))
    grid = extract_iso_grid(field, -CORNER, CORNER, *split_resolution(128))
    assert np.array_equal(grid.values >= 0, lattice_signs(field, 128))
    assert grid.num_queries < grid.values.size / 8


def test_splits_travel_along_a_needle_that_no_coarse_point_meets():
    """It passes between coarse lattice points, hence is found only through the cells of the ball at its root."""

    def needle(points):
        across = (points[:, 1:] - 0.02).norm(dim=-1)
        along = points[:, 0].abs()
        return torch.maximum(0.2 - points.norm(dim=-1), torch.minimum(0.012 - across, 0.45 - along))

    grid = extract_iso_grid(needle, -CORNER, CORNER, 16, 3)
    assert grid.rounds > 10
    assert np.array_equal(grid.values >= 0, lattice_signs(needle, 128))


@pytest.mark.parametrize("chunk", [1000, 10**7])
def test_chunks_change_nothing_and_are_kept(chunk):
    sizes, reports = [], []

    def field(points):
        sizes.append(len(points))
        return sphere(points)

    grid = extract_iso_grid(
        field, -CORNER, CORNER, 16, 2, chunk=chunk, progress=lambda done, total: reports.append((done, total))
    )
    reference = extract_iso_grid(sphere, -CORNER, CORNER, 16, 2)
    assert np.array_equal(grid.values, reference.values)
    assert max(sizes) <= chunk
    assert reports[-1] == (grid.num_queries, grid.num_queries)
    assert [done for done, _ in reports] == list(np.cumsum(sizes))


def test_positions_span_a_box_that_is_no_cube_and_keep_the_dtype():
    lower, upper = torch.tensor([-1.0, 0.0, 2.0]), torch.tensor([1.0, 0.5, 5.0])
    seen = []

    def field(points):
        seen.append(points)
        return points[:, 0]

    extract_iso_grid(field, lower, upper, 4, 1)
    points = torch.cat(seen)
    assert points.dtype == lower.dtype
    assert torch.equal(points.amin(dim=0), lower)
    assert torch.equal(points.amax(dim=0), upper)


def test_known_resolutions():
    assert split_resolution(128) == (32, 2)
    assert split_resolution(256) == (32, 3)


def test_no_surface_names_the_span_and_a_level_inside_it():
    with pytest.raises(UserError, match=r"no surface at level 20: logits span \[-5\.5\d*, 4\] .* --level -0\.76"):
        extract_iso_grid(sphere, -CORNER, CORNER, 16, 2, level=20.0)
    with pytest.raises(UserError, match="no surface at level -50"):
        extract_iso_grid(sphere, -CORNER, CORNER, 16, 2, level=-50.0)
    with pytest.raises(UserError, match="constant, train longer"):
        extract_iso_grid(lambda points: torch.zeros(len(points)), -CORNER, CORNER, 16, 2, level=1.0)


def test_logits_that_are_not_finite_are_refused():
    with pytest.raises(UserError, match="729 of 729 logits are not finite"):
        extract_iso_grid(lambda points: points[:, 0] * torch.nan, -CORNER, CORNER, 8, 1)


def test_a_resolution_below_one_is_refused():
    with pytest.raises(UserError, match="got 0"):
        split_resolution(0)
