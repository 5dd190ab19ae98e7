"""Objects of every registered method become meshes that look like the generator's own pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from mesh_files import agreement, read_mesh
from recorded_training import TrainedRun

from gan3d_ns.exporter.mesh_settings import MeshExportConfig
from gan3d_ns.exporter.object_mesh import object_mesh
from gan3d_ns.exporter.writers import write_mesh
from gan3d_ns.model_components.latents import LatentSelection
from gan3d_ns.model_components.scenes import Scene

SMALL: dict[str, Any] = {"resolution": 32, "num_views": 6, "view_resolution": 32, "texture_size": 64}
SELECTION = LatentSelection(seed=1, truncation=0.8)


SHARPER = 10.0
"""The start shapes are fogs as thick as they are wide, in which the silhouette depends on the samples of a ray."""

NUM_SAMPLES = 24
"""On a ray; with the few of a shrunk run pictures miss what they only graze, which the mesh has."""

COLOUR_ERROR, FINISHED_COLOUR_ERROR = 0.05, 0.065
"""Mean over the common silhouette, in [0, 1]; finished pictures mix object and background at its rim."""
FINER = 4
"""The rays of a shrunk run's neural renderer are so few that its pictures blur the object into the background."""


@pytest.fixture
def model(pipeline: Any) -> Iterator[Any]:
    """The run's model showing the object of the test, with a surface that is a surface."""
    model = pipeline.model
    field = model.generator_ema.field
    name = "start_gain" if model.config.field == "composite" else "sphere_prior_gain"
    shape = field.config if model.config.field in ("film-siren", "composite") else field.start_shape.config
    gain = getattr(shape, name)
    setattr(shape, name, SHARPER * gain)
    sampler = model.generator_ema.sampler
    sparse, sampler.config = sampler.config, dataclasses.replace(sampler.config, num_coarse_samples=NUM_SAMPLES)
    renderer = model.generator_ema.neural_renderer
    if renderer is not None:
        renderer.ray_side *= FINER
    # A mesh shows objects without their background.
    scene = Scene(background=False) if model.config.field == "composite" else None
    model.shown_selection, model._shown_object = dataclasses.replace(SELECTION, scene=scene), None
    yield model
    model.shown_selection, model._shown_object = None, None
    setattr(shape, name, gain)
    sampler.config = sparse
    if renderer is not None:
        renderer.ray_side //= FINER


@pytest.mark.parametrize("texture", [False, True])
def test_a_rendered_mesh_looks_like_the_generator(model: Any, tmp_path: Path, texture: bool) -> None:
    mesh = object_mesh(model, SELECTION, MeshExportConfig(texture=texture, decimate=800 if texture else None, **SMALL))
    read = read_mesh(write_mesh(mesh, tmp_path / "object.glb", model.provenance(SELECTION)))
    assert np.isfinite(read.vertices).all() and len(read.faces) > 100
    found = agreement(read, model, num_poses=3, resolution=40)
    assert found.overlap > 0.9
    composite = model.config.composite
    if model.config.field == "composite" and composite.objects.direction_octaves > 0:
        pytest.skip("silhouettes agree; colours of a random network change with the view, a mesh shows their mean")
    finished = model.generator_ema.neural_renderer is not None
    assert found.colour_error < (FINISHED_COLOUR_ERROR if finished else COLOUR_ERROR)


def test_the_command_writes_every_format(trained: TrainedRun, tmp_path: Path) -> None:
    from gan3d_ns.scripts.export_mesh import ExportMesh

    for suffix in ("glb", "ply", "obj"):
        settings: dict[str, Any] = {**SMALL, "num_views": 2, "format": suffix, "output_dir": tmp_path}
        ExportMesh(load_config=trained.config_file, **settings).main()
        mesh = read_mesh(tmp_path / f"mesh_seed0000.{suffix}")
        solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
        assert solid.is_watertight and solid.volume > 0
        assert mesh.colours is not None and mesh.colours.min() >= 0.0 and mesh.colours.max() <= 1.0
        assert trained.config.method_name.encode() in (tmp_path / f"mesh_seed0000.{suffix}").read_bytes()[:4000]
