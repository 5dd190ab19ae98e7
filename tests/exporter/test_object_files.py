"""Every file that the viewer offers can be made of an object, and read again."""

from __future__ import annotations

import dataclasses

import pytest
import trimesh
from opened_viewer import small_pipeline

from gan3d_ns.errors import UserError
from gan3d_ns.exporter import object_files
from gan3d_ns.exporter.object_files import FILE_KINDS, MESHES, write_object


@pytest.fixture(scope="module")
def model():
    return small_pipeline().eval().model


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(object_files, "NUM_POINTS", 400)
    for kind, config in MESHES.items():
        small_config = dataclasses.replace(config, num_views=4, view_resolution=24, texture_size=64)
        monkeypatch.setitem(MESHES, kind, small_config)


@pytest.mark.parametrize("kind", FILE_KINDS)
def test_the_file_is_written_beside_others_with_progress(kind, model, tmp_path):
    told = []
    first = write_object(model, kind, 16, tmp_path, lambda share, doing: told.append((share, doing)))
    assert told
    assert all(0.0 <= share <= 1.0 and doing for share, doing in told)
    loaded = trimesh.load(first)
    assert loaded.extents.max() < 0.4, "in world units"
    before = first.read_bytes()
    second = write_object(model, kind, 16, tmp_path, lambda *_: None)
    assert second != first
    assert first.read_bytes() == before
    assert first.name.split("_")[1].startswith("seed0000")


def test_the_chosen_level_is_exported(model, tmp_path):
    def extent(level: float | None) -> float:
        model.show_level(level)
        try:
            return float(trimesh.load(write_object(model, "mesh (.ply)", 16, tmp_path, lambda *_: None)).extents.max())
        finally:
            model.show_level(None)

    assert extent(2.0) < 0.9 * extent(None)
    with pytest.raises(UserError, match="no surface"):
        extent(1000.0)
