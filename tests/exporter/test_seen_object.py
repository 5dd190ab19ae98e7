"""Objects cut to what the cameras saw: closed, inside the region, and no mesh where there is no surface."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import trimesh

from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS, PosePrior
from gan3d_ns.cameras.view_coverage import ViewCoverage
from gan3d_ns.errors import UserError
from gan3d_ns.exporter.mesh import Mesh, MeshExtractionConfig, extract_mesh
from gan3d_ns.exporter.seen_object import SeenObject
from gan3d_ns.fields.base_field import GenerativeField, Styles
from gan3d_ns.model_components.ray_samplers import SurfaceWindowSamplerConfig
from gan3d_ns.models.generator import Generator


@dataclass(frozen=True)
class NoStyles(Styles):
    nothing: torch.Tensor


class SphereField(GenerativeField):
    """Matter within a radius; colours are the view direction, so that a test can read it."""

    latent_dim = code_dim = 1

    def __init__(self, radius: float) -> None:
        super().__init__()
        self.radius = radius

    def geometry_logits(self, positions, styles):
        return 50.0 * (self.radius - positions.norm(dim=-1))

    def forward(self, positions, directions, styles):
        return self.geometry_logits(positions, styles), directions / 2 + 0.5


def object_of(radius: float, level: float = 0.0) -> SeenObject:
    coverage = ViewCoverage(PosePrior(POSE_PRIOR_PRESETS["cats"]))
    generator = Generator(SphereField(radius), SurfaceWindowSamplerConfig().setup(), "black")
    return SeenObject(generator, NoStyles(torch.zeros(1, 1)), coverage, level)


def mesh_of(surface: SeenObject, resolution: int = 32) -> Mesh:
    lower, upper = surface.bounds()
    return extract_mesh(
        MeshExtractionConfig(resolution=resolution, level=surface.level),
        surface.logits,
        lower,
        upper,
        normal_fn=surface.normals,
        colour_fn=surface.colours,
    )


def test_an_object_that_was_seen_is_left_alone() -> None:
    mesh = mesh_of(object_of(0.05))
    radii = torch.from_numpy(mesh.vertices).norm(dim=-1)
    torch.testing.assert_close(radii, torch.full_like(radii, 0.05), atol=3e-4, rtol=0)
    assert mesh.normals is not None and mesh.colours is not None
    torch.testing.assert_close(
        torch.from_numpy(mesh.normals) * 0.05, torch.from_numpy(mesh.vertices), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("half_sides", [None, (0.14, 0.15, 0.13)])
def test_matter_beyond_the_cameras_and_the_box_is_cut_by_walls(half_sides) -> None:
    surface = object_of(0.16)
    surface.field.half_sides = half_sides
    mesh = mesh_of(surface)
    assert trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).is_watertight
    vertices = torch.from_numpy(mesh.vertices)
    margin = surface.margin(vertices)
    assert (margin > -1e-3).all()
    on_wall = vertices.norm(dim=-1) < 0.15
    assert on_wall.any() and (~on_wall).any()
    assert mesh.normals is not None
    if half_sides is not None:
        back = vertices[:, 2] < -0.1299
        assert (torch.from_numpy(mesh.normals)[back & (vertices[:, :2].norm(dim=-1) < 0.05)][:, 2] < -0.99).all()
    norms = torch.from_numpy(mesh.normals).norm(dim=-1)
    torch.testing.assert_close(norms, torch.ones_like(norms), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("radius", "level"), [(9.0, 0.0), (0.05, 100.0)])
def test_full_or_empty_space_is_no_object(radius: float, level: float) -> None:
    surface = object_of(radius, level)
    lower, upper = surface.bounds()
    surface.logits(lower + (upper - lower) * torch.rand(1000, 3))
    with pytest.raises(UserError, match=r"no surface at level .*: logits span \[.*pass --level"):
        surface.require_surface()
