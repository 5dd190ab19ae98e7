"""Surfaces of random objects of a generator, and true ones to compare them with."""

from __future__ import annotations

from typing import Optional

import numpy as np

from gan3d_ns.data.true_collection import TrueCollection, TrueMesh
from gan3d_ns.errors import UserError
from gan3d_ns.exporter.mesh import Mesh
from gan3d_ns.exporter.mesh_settings import MeshExportConfig
from gan3d_ns.exporter.object_mesh import object_surface
from gan3d_ns.model_components.latents import LatentSelection
from gan3d_ns.models.gan_model import GanModel

SEEDS_APART = 1_000_000
"""Objects of neighbouring seeds of a measurement have different latents up to this many."""


def object_seeds(seed: int, count: int) -> list[int]:
    """Seeds of the latents of a measurement's objects, as `gan3d export mesh --seed` knows them."""
    return [seed * SEEDS_APART + number for number in range(count)]


def surface_of(model: GanModel, selection: LatentSelection, resolution: int) -> Optional[Mesh]:
    """The exporter's bare mesh of one object at the model's own level; None where it has no surface, or a broken one.

    Matter that reaches the border of what the prior's cameras see is cut off there, and the mesh has a wall (see
    `SeenObject`); small floaters are gone (`MeshExtractionConfig.min_component_fraction`); inner hollows have walls.
    """
    config = MeshExportConfig(resolution=resolution)
    config.check()
    try:
        mesh = object_surface(model, selection, config)
    except UserError:
        return None
    return mesh if bool(np.isfinite(mesh.vertices).all()) else None


def as_mesh(true: TrueMesh) -> Mesh:
    """A true surface in the form that exporter and metrics take."""
    return Mesh(true.vertices.cpu().numpy().astype(np.float32), true.faces.cpu().numpy().astype(np.int64))


def first_pictures(truth: TrueCollection) -> dict[int, int]:
    """A picture of each object that has one."""
    found: dict[int, int] = {}
    for index in range(len(truth)):
        found.setdefault(truth.object_of(index), index)
    return found
