"""What holds for lattices and meshes of any field, compared with asking the field everywhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from random_values import numbers, seeds, share_of_examples
from torch import Tensor

from gan3d_ns.errors import UserError
from gan3d_ns.exporter.level_set import SNAP_FRACTION
from gan3d_ns.exporter.mesh import Mesh, MeshExtractionConfig, extract_mesh
from gan3d_ns.exporter.mise import IsoGrid, extract_iso_grid, split_resolution

Field = Callable[[Tensor], Tensor]
CORNER = torch.ones(3, dtype=torch.float64)
COARSE, DEPTH = 8, 2
RESOLUTION = COARSE * 2**DEPTH
STEP = 2.0 / COARSE
SMALLEST = 2.0 * STEP
"""Half width of the thinnest parts: more than the diagonal of a coarse cell, so that coarse points meet them."""


def lattice(resolution: int) -> Tensor:
    steps = torch.linspace(-1.0, 1.0, resolution + 1, dtype=torch.float64)
    return torch.cartesian_prod(steps, steps, steps)


def dense(field: Field, resolution: int) -> np.ndarray:
    """The field at every point of the lattice."""
    return field(lattice(resolution)).float().numpy().reshape((resolution + 1,) * 3)


def check_grid(grid: IsoGrid, everywhere: np.ndarray) -> None:
    """Cells that the surface crosses hold the field's own values; no point was asked for twice."""
    inside = grid.values >= grid.level
    corners = np.lib.stride_tricks.sliding_window_view(inside, (2, 2, 2)).reshape(*[grid.resolution] * 3, 8)
    for cell in np.argwhere(corners.any(axis=-1) & ~corners.all(axis=-1)):
        part = tuple(slice(first, first + 2) for first in cell)
        assert np.array_equal(grid.values[part], everywhere[part])
    assert grid.num_queries <= everywhere.size


def check_mesh(mesh: Mesh, lower: Tensor, upper: Tensor, resolution: int) -> None:
    """Closed, wound the same way everywhere, without degenerate numbers, and in the box."""
    assert len(mesh.faces) > 0 and np.isfinite(mesh.vertices).all()
    edges = np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]])
    assert (edges[:, 0] != edges[:, 1]).all()
    size = len(mesh.vertices)
    there, back = edges[:, 0] * size + edges[:, 1], edges[:, 1] * size + edges[:, 0]
    assert np.array_equal(np.sort(there), np.sort(back)), "each edge is walked once in each direction"
    lid = (upper - lower).numpy() / resolution * SNAP_FRACTION * 1.01 + 1e-6
    assert (mesh.vertices >= lower.numpy() - lid).all() and (mesh.vertices <= upper.numpy() + lid).all()
    assert mesh.normals is not None
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1.0, atol=1e-5)


def volume(mesh: Mesh) -> float:
    corners = mesh.vertices.astype(np.float64)[mesh.faces]
    return float(np.einsum("fi,fi->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6.0)


@dataclass(frozen=True)
class Shape:
    """A solid: distances to its surface, positive inside, at least in sign."""

    kind: str
    centre: tuple[float, float, float]
    size: float

    def __call__(self, points: Tensor) -> Tensor:
        x, y, z = (points - points.new_tensor(self.centre)).unbind(-1)
        if self.kind == "ball":
            return self.size - (x**2 + y**2 + z**2).sqrt()
        if self.kind == "box":
            return self.size - torch.stack((x, y, z), dim=-1).abs().amax(dim=-1)
        if self.kind == "sheet":
            return 0.6 * self.size - x.abs()
        ring = (x**2 + y**2).sqrt() - (self.size + SMALLEST)
        return SMALLEST - (ring**2 + z**2).sqrt()


@st.composite
def solids(draw: st.DrawFn) -> Field:
    """One to three solids that coarse points meet, joined or apart, some of them cut by the box."""
    kinds = st.sampled_from(("ball", "box", "sheet", "ring"))
    parts = st.builds(Shape, kinds, st.tuples(*[numbers(-1.0, 1.0)] * 3), numbers(SMALLEST, 0.9))
    shapes = draw(st.lists(parts, min_size=1, max_size=3))
    return lambda points: torch.stack([shape(points) for shape in shapes]).amax(dim=0)


@given(solids())
@share_of_examples(0.2)
def test_solids_have_the_signs_of_a_dense_grid_at_fewer_questions(field):
    everywhere = dense(field, RESOLUTION)
    assume((everywhere >= 0).any() and (everywhere < 0).any())
    # A slit between two solids, or between one and the box, may be thinner than what coarse points can meet.
    assume(not slits(everywhere >= 0))
    asked = []

    def listening(points: Tensor) -> Tensor:
        asked.append(((points + 1.0) / 2.0 * RESOLUTION).round().long())
        return field(points)

    grid = extract_iso_grid(listening, -CORNER, CORNER, COARSE, DEPTH)
    assert np.array_equal(grid.values >= 0, everywhere >= 0)
    points = torch.cat(asked)
    assert len(points) == grid.num_queries == len(points.unique(dim=0)), "no point is asked for twice"
    assert np.array_equal(grid.values[tuple(points.T.numpy())], everywhere[tuple(points.T.numpy())])
    assert grid.num_queries < everywhere.size
    check_grid(grid, everywhere)


def slits(inside: np.ndarray) -> bool:
    """Whether some straight run of equal signs along an axis is shorter than a coarse cell and a half."""
    shortest = 1.5 * RESOLUTION / COARSE
    for axis in range(3):
        rows = np.moveaxis(inside, axis, -1).reshape(-1, RESOLUTION + 1)
        for row in np.unique(rows, axis=0):
            ends = np.flatnonzero(np.diff(row))
            if len(ends) > 1 and np.diff(ends).min() < shortest:
                return True
    return False


def noise(values: np.ndarray) -> Field:
    """The field of a lattice of values over the box from -1 to 1: anything at all, at its points."""
    resolution, flat = values.shape[0] - 1, torch.from_numpy(values).flatten()

    def field(points: Tensor) -> Tensor:
        x, y, z = ((points.double() + 1.0) / 2.0 * resolution).round().long().unbind(-1)
        return flat[(x * (resolution + 1) + y) * (resolution + 1) + z]

    return field


LEVELS = st.sampled_from((0.0, 0.1, 0.7, -3.3, 1e-12, 1e6 + 0.3))


@given(
    seeds, LEVELS, st.integers(1, 4), st.integers(0, 2), st.sampled_from(("plateaus", "touching", "smooth", "rough"))
)
@share_of_examples(0.5)
def test_any_lattice_of_values_gives_exact_cells_and_a_closed_mesh(seed, level, coarse, depth, kind):
    """Noise, and plateaus that lie exactly on the level, also where float32 has no such number."""
    resolution, random = coarse * 2**depth, np.random.default_rng(seed)
    shape = (resolution + 1,) * 3
    if kind == "plateaus":
        values = level + random.choice((-1.0, 0.0, 1.0), shape)
    elif kind == "touching":
        values = level + random.choice((-1.0, 0.0), shape)
    elif kind == "rough":
        values = level + random.standard_normal(shape) * 10.0 ** random.integers(-8, 9, shape)
    else:
        places, heights = random.uniform(-1, 1, (3, 3)), random.uniform(-2, 2, 3)
        distances = np.linalg.norm(lattice(resolution).numpy()[:, None] - places, axis=-1)
        values = (level + (heights * np.exp(-4.0 * distances**2)).sum(axis=-1)).reshape(shape)
    values = values.astype(np.float32)
    config = MeshExtractionConfig(
        resolution=resolution, coarse_resolution=coarse, level=level, refine_steps=2, min_component_fraction=0.0
    )
    try:
        grid = extract_iso_grid(noise(values), -CORNER, CORNER, coarse, depth, level)
    except UserError:
        seen = values[:: 2**depth, :: 2**depth, :: 2**depth]
        assert seen.max() < level or seen.min() >= level
        return
    check_grid(grid, values)
    check_mesh(extract_mesh(config, noise(values), -CORNER, CORNER), -CORNER, CORNER, resolution)


@given(
    st.sampled_from(("ball", "box", "ring")),
    numbers(SMALLEST, 0.8),
    st.integers(17, 40),
    st.tuples(*[numbers(-5.0, 5.0)] * 3),
    st.tuples(*[numbers(0.5, 20.0)] * 3),
    numbers(0.1, 50.0),
    numbers(-3.0, 3.0),
)
@share_of_examples(0.3)
def test_meshes_follow_their_box_and_level(kind, size, resolution, middle, sides, slope, level):
    """Moved, stretched and measured otherwise, a solid has the same mesh, in any number of cells."""
    solid = Shape(kind, (0.01, -0.02, 0.03), size)
    lower = torch.tensor(middle, dtype=torch.float64) - 0.5 * torch.tensor(sides, dtype=torch.float64)
    upper = lower + torch.tensor(sides, dtype=torch.float64)

    def field(points: Tensor) -> Tensor:
        return level + slope * solid(2.0 * (points - lower) / (upper - lower) - 1.0)

    config = MeshExtractionConfig(resolution=resolution, coarse_resolution=COARSE, level=level, refine_steps=4)
    mesh = extract_mesh(config, field, lower, upper)
    cells = mesh.statistics["resolution"]
    assert cells >= resolution
    check_mesh(mesh, lower, upper, cells)
    assert volume(mesh) > 0, "faces look outwards"
    plain = extract_mesh(MeshExtractionConfig(resolution, COARSE, refine_steps=4), solid, -CORNER, CORNER)
    back = 2.0 * (mesh.vertices - lower.numpy()) / (upper - lower).numpy() - 1.0
    if len(back) == len(plain.vertices):  # a tie on a lattice point may be rounded to either side
        np.testing.assert_allclose(back, plain.vertices, atol=0.04 / cells)  # 2 % of a step
    # On the surface, except on the lid where the box cuts it.
    free = (np.abs(back) < 1.0 - 1e-3).all(axis=1)
    if kind == "ball" and free.any():
        assert np.abs(solid(torch.from_numpy(back[free])).numpy()).max() < 0.02 / cells


@given(numbers(-20.0, 20.0), numbers(-20.0, 20.0), st.integers(1, 6), st.integers(0, 2))
def test_full_and_empty_boxes_have_no_surface(value, level, coarse, depth):
    def constant(points: Tensor) -> Tensor:
        return torch.full_like(points[:, 0], value)

    with pytest.raises(UserError, match="no surface at level") as refusal:
        extract_iso_grid(constant, -CORNER, CORNER, coarse, depth, level)
    assert "\n" not in str(refusal.value)


@given(seeds, st.sampled_from((math.nan, math.inf, -math.inf, 1e39)), numbers(1e-3, 1.0))
def test_values_that_are_not_finite_end_in_one_sentence(seed, value, share):
    """Also those that only float64 can hold."""
    draw = np.random.default_rng(seed)
    values = draw.standard_normal((9, 9, 9))
    spoilt = draw.random(values.shape) < share
    spoilt[::4, ::4, ::4].flat[draw.integers(27)] = True
    values[spoilt] = value
    with pytest.raises(UserError, match="are not finite") as refusal:
        extract_iso_grid(noise(values), -CORNER, CORNER, 2, 2)
    assert "\n" not in str(refusal.value)


@given(st.integers(1, 5000), st.integers(1, 300))
def test_any_resolution_is_reached_by_halving(resolution, coarse):
    resolution0, depth = split_resolution(resolution, coarse)
    assert resolution <= resolution0 * 2**depth < resolution + 2**depth
    assert resolution0 >= min(resolution, coarse)
    assert depth == 0 or resolution0 <= 2 * coarse
