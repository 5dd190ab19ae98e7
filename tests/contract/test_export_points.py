"""Splats and point clouds of every registered method: files that re-read, on the surface, that look like the object."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recorded_training import TrainedRun

RESOLUTION = 32
OUTWARD = 0.9
"""Of the points: the start shape is nearly a ball."""
SILHOUETTE_IOU = 0.85
SLACK = 0.02
"""Cameras also see a little beside the scene box, and soft densities reach there."""


def assert_on_the_start_shape(positions: np.ndarray, normals: np.ndarray, pipeline: Any) -> None:
    assert np.isfinite(positions).all()
    assert np.linalg.norm(positions, axis=1).max() <= pipeline.model.seen_radius
    if pipeline.model.shown_generator.background != "last-sample":  # which puts a backdrop behind the object
        low, high = pipeline.datamanager.train_dataset.scene_box.aabb.numpy()
        assert (positions >= low - SLACK).all() and (positions <= high + SLACK).all(), (
            positions.min(0),
            positions.max(0),
        )
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-3)
    assert ((positions * normals).sum(axis=1) > 0).mean() > OUTWARD


def test_export_pointcloud(trained: TrainedRun, pipeline: Any, tmp_path: Path) -> None:
    import open3d
    import trimesh

    from gan3d_ns.scripts.export_pointcloud import ExportPointcloud

    ExportPointcloud(trained.config_file, num_points=300, resolution=RESOLUTION, output_dir=tmp_path).main()
    path = tmp_path / "points_seed0000.ply"
    cloud = open3d.io.read_point_cloud(str(path))
    assert 200 < len(cloud.points) < 400
    assert_on_the_start_shape(np.asarray(cloud.points), np.asarray(cloud.normals), pipeline)
    loaded = trimesh.load(path)
    assert isinstance(loaded, trimesh.PointCloud)
    assert len(loaded.vertices) == len(cloud.points)
    assert np.ptp(np.asarray(cloud.colors)) > 0.02


def test_export_splats(trained: TrainedRun, pipeline: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from plyfile import PlyData

    from gan3d_ns.exporter.object_pictures import pictured_object
    from gan3d_ns.exporter.splat_file import SPLAT_PROPERTIES, read_splats
    from gan3d_ns.exporter.splat_refinement import held_out_pictures
    from gan3d_ns.exporter.splat_render import render_splats
    from gan3d_ns.model_components.latents import LatentSelection
    from gan3d_ns.scripts.export_splats import ExportSplats

    ExportSplats(
        trained.config_file, num_splats=1200, resolution=RESOLUTION, refine_steps=0, output_dir=tmp_path
    ).main()
    path = tmp_path / "splats_seed0000.ply"
    table = PlyData.read(str(path))["vertex"].data
    assert table.dtype.names == SPLAT_PROPERTIES
    splats = read_splats(path)
    assert len(splats) == len(table) > 700
    assert_on_the_start_shape(splats.positions.numpy(), splats.normals.numpy(), pipeline)
    pictured = pictured_object(pipeline.model, LatentSelection(truncation=0.7))
    for picture in held_out_pictures(pictured, 3, RESOLUTION):
        with torch.no_grad():
            seen = render_splats(splats, picture.camera).accumulation > 0.5
        both = (seen & picture.shows_matter).sum()
        assert both > SILHOUETTE_IOU * (seen | picture.shows_matter).sum()
