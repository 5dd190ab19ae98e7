"""Whole meshes of a known object: files of them look like the generator's own pictures."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from ball_model import RADIUS, ball_model
from mesh_files import agreement, read_mesh

from gan3d_ns.cameras.view_coverage import ViewCoverage
from gan3d_ns.errors import UserError
from gan3d_ns.exporter.mesh_settings import MeshExportConfig
from gan3d_ns.exporter.object_mesh import object_mesh
from gan3d_ns.exporter.seen_object import SeenObject
from gan3d_ns.exporter.writers import write_mesh
from gan3d_ns.model_components.latents import LatentSelection
from gan3d_ns.model_components.occupancy_grids import LatentGridConfig

SMALL: dict[str, Any] = {"resolution": 48, "num_views": 16, "view_resolution": 64, "texture_size": 128}


@pytest.fixture(scope="module")
def model() -> Any:
    return ball_model()


@pytest.mark.parametrize("suffix", ["glb", "ply", "obj"])
@pytest.mark.parametrize("texture", [False, True])
def test_a_rendered_file_looks_like_the_generator(model: Any, tmp_path: Path, suffix: Any, texture: bool) -> None:
    """Measured: silhouettes overlap by 0.986 or more, colours differ by 0.017 to 0.019 on average."""
    if (suffix, texture) == ("ply", True):
        pytest.skip("a .ply file has no texture")
    config = MeshExportConfig(format=suffix, texture=texture, decimate=1200 if texture else None, **SMALL)
    mesh = object_mesh(model, LatentSelection(), config)
    assert (mesh.texture is not None, mesh.colours is not None) == (texture, not texture)
    read = read_mesh(write_mesh(mesh, tmp_path / f"ball.{suffix}"))
    found = agreement(read, model)
    assert found.overlap > 0.97
    assert found.colour_error < 0.03


@pytest.mark.parametrize(("kind", "ratio"), [("soft", 1.5), ("veiled", 2.5)])
def test_colours_are_those_of_composited_pictures(kind: Any, ratio: float) -> None:
    """Measured: overlap 0.91 and 0.95, errors 0.024 and 0.030; of one query at the surface 0.046 and 0.104."""
    model = ball_model(kind=kind)
    mesh = object_mesh(model, LatentSelection(), MeshExportConfig(**SMALL))
    found = agreement(mesh, model)
    assert found.overlap > 0.9
    assert found.colour_error < 0.04
    surface = SeenObject(
        model.generator_ema, model.styles_of(LatentSelection()), ViewCoverage(model.pose_prior), level=0.0
    )
    assert mesh.normals is not None
    one_query = surface.colours(torch.from_numpy(mesh.vertices), torch.from_numpy(mesh.normals)).detach().numpy()
    assert agreement(replace(mesh, colours=one_query), model).colour_error > ratio * found.colour_error


def test_texture_keeps_detail_that_few_vertices_lose(model: Any) -> None:
    few = {**SMALL, "decimate": 300}
    plain = object_mesh(model, LatentSelection(), MeshExportConfig(**few))
    textured = object_mesh(model, LatentSelection(), MeshExportConfig(texture=True, **few))
    assert len(plain.faces) == len(textured.faces)
    assert agreement(textured, model).colour_error < 0.75 * agreement(plain, model).colour_error


@pytest.mark.parametrize(("decimate", "expected"), [(500, 500), (0.25, None)])
def test_decimation_keeps_the_shape_and_its_normals(model: Any, decimate: float, expected: int | None) -> None:
    mesh = object_mesh(model, LatentSelection(), MeshExportConfig(decimate=decimate, **SMALL))
    wanted = expected or round(0.25 * mesh.statistics["faces_found"])
    assert mesh.statistics["faces_wanted"] == wanted
    assert wanted - 2 <= len(mesh.faces) <= wanted
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert solid.is_watertight and solid.is_winding_consistent
    assert solid.volume == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.06)
    assert mesh.normals is not None and mesh.colours is not None
    outward = mesh.vertices / np.linalg.norm(mesh.vertices, axis=1, keepdims=True)
    assert (mesh.normals * outward).sum(axis=1).min() > 0.98, "the field's own normals, or those of the faces"


def test_more_faces_than_there_are_keeps_them_all(model: Any) -> None:
    bare = object_mesh(model, LatentSelection(), MeshExportConfig(**SMALL))
    mesh = object_mesh(model, LatentSelection(), MeshExportConfig(decimate=1e6, **SMALL))
    np.testing.assert_array_equal(mesh.faces, bare.faces)
    assert mesh.statistics["faces_wanted"] > mesh.statistics["faces_found"]


def test_what_no_camera_sees_has_the_fields_own_colour() -> None:
    """Cats are looked at from the front: the back of the ball shows the field's colour in the nearest direction."""
    model = ball_model("cats")
    mesh = object_mesh(model, LatentSelection(), MeshExportConfig(**SMALL))
    assert mesh.colours is not None and mesh.normals is not None
    back = mesh.normals[:, 2] < -0.8
    assert back.any()
    directions = ViewCoverage(model.pose_prior).facing_directions(torch.from_numpy(mesh.normals[back]))
    points = torch.from_numpy(mesh.vertices[back])
    field = model.generator_ema.field
    expected = field.colours(points[None], directions[None], model.styles_of(LatentSelection()))[0]
    np.testing.assert_allclose(mesh.colours[back], expected.detach().numpy(), atol=1e-5)


def test_an_export_leaves_the_model_alone_and_runs_beside_renders() -> None:
    """As in a viewer: the export in one thread, pictures of another object in this one."""
    model = ball_model(latent_grid=LatentGridConfig(enabled=False))  # which would change the pictures once it is made
    model.shown_selection = LatentSelection(seed=5)
    camera = model.pose_prior.cameras(model.pose_prior.mean_pose()[None], 32)
    before = model.get_outputs_for_camera(camera)["rgb"]
    weights = {name: tensor._version for name, tensor in model.state_dict(keep_vars=True).items()}
    meshes: list[Any] = []
    config = MeshExportConfig(texture=True, decimate=200, **SMALL)
    worker = threading.Thread(target=lambda: meshes.append(object_mesh(model, LatentSelection(), config)))
    worker.start()
    frames = 0
    while worker.is_alive():
        assert torch.equal(model.get_outputs_for_camera(camera)["rgb"], before)
        frames += 1
    worker.join()
    assert len(meshes) == 1
    assert frames > 5
    assert model.shown_selection == LatentSelection(seed=5)
    assert weights == {name: tensor._version for name, tensor in model.state_dict(keep_vars=True).items()}


class Cancelled(Exception):
    pass


@pytest.mark.parametrize(
    "stage", ["looking for the surface", "decimating", "normals", "unwrapping", "rendering views", "texturing"]
)
def test_every_stage_can_be_interrupted(model: Any, stage: str) -> None:
    def progress(now: str, done: int, total: int) -> None:
        assert 0 <= done <= max(total, 0)
        if now == stage:
            raise Cancelled

    with pytest.raises(Cancelled):
        object_mesh(model, LatentSelection(), MeshExportConfig(texture=True, decimate=200, **SMALL), progress)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"decimate": 0.0}, "decimate is 0; give a number of faces"),
        ({"decimate": -5.0}, "decimate is -5"),
        ({"texture": True, "texture_size": 0}, "texture_size is 0; give 16 to 8192 pixels"),
        ({"texture": True, "format": "ply"}, r"a \.ply file carries vertex colours and no texture"),
        ({"num_views": 0}, "colours from 0 views of 128 pixels cannot be"),
        ({"resolution": 3}, "at least 4 cells"),
        ({"decimate": 1.5}, "a number of faces is whole"),
        ({"num_views": 3}, "an even number"),
    ],
)
def test_impossible_settings_are_one_sentence(model: Any, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        object_mesh(model, LatentSelection(), MeshExportConfig(**settings))
