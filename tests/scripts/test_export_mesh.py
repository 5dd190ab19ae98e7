"""`gan3d export mesh`: every format is read back by another library."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh

from gan3d_ns.errors import UserError
from gan3d_ns.scripts.export_mesh import ExportMesh


def export(run: Path, folder: Path, **settings) -> list[Path]:
    ExportMesh(load_config=run, output_dir=folder, resolution=24, **settings).main()
    return sorted(folder.iterdir())


@pytest.mark.parametrize("suffix", ["glb", "ply", "obj"])
def test_a_mesh_is_closed_coloured_and_inside_the_volume(tiny_run: Path, tmp_path: Path, suffix: str) -> None:
    (path,) = export(tiny_run, tmp_path, seeds=(3,), format=suffix)
    assert path.name == f"mesh_seed0003.{suffix}"
    read = trimesh.load(path, process=False)
    mesh = next(iter(read.geometry.values())) if isinstance(read, trimesh.Scene) else read
    assert isinstance(mesh, trimesh.Trimesh)
    assert mesh.is_watertight
    # With a material, trimesh keeps the colours of a glTF file as an attribute.
    visual = mesh.visual
    colours = visual.vertex_attributes["color"] if suffix == "glb" else visual.vertex_colors  # type: ignore[union-attr]
    assert colours.shape == (len(mesh.vertices), 4)
    assert np.abs(mesh.vertices).max() < 0.2
    # The ellipsoid that a fresh tri-plane holds faces outwards.
    assert mesh.volume > 0


def test_the_file_says_where_it_came_from(tiny_run: Path, tmp_path: Path) -> None:
    (path,) = export(tiny_run, tmp_path, truncation=0.5)
    content = path.read_bytes()
    length = int.from_bytes(content[12:16], "little")
    extras = json.loads(content[20 : 20 + length])["asset"]["extras"]
    assert extras == {"method": "gof-gan-tiny", "step": "1", "seed": "0", "truncation": "0.5"}


def test_seeds_are_different_objects_and_truncation_zero_is_one(tiny_run: Path, tmp_path: Path) -> None:
    first, second = export(tiny_run, tmp_path / "free", seeds=(0, 1), truncation=1.0)
    assert first.read_bytes() != second.read_bytes()
    first, second = (
        trimesh.load(path, force="mesh") for path in export(tiny_run, tmp_path / "mean", seeds=(0, 1), truncation=0.0)
    )
    np.testing.assert_array_equal(first.vertices, second.vertices)


def test_meshes_lie_in_the_run_and_are_announced(copied_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ExportMesh(load_config=copied_run, resolution=16, largest_component=True).main()
    path = copied_run.parent / "meshes" / "mesh_seed0000.glb"
    assert path.is_file()
    printed = capsys.readouterr().out
    assert f"{path}: " in printed and "vertices" in printed and "faces" in printed and " s\n" in printed


def test_no_surface_is_one_sentence(tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no surface at level 1e\+06: logits span \[.*train longer or pass --level"):
        export(tiny_run, tmp_path, level=1e6)
    with pytest.raises(UserError, match=r"no surface at level -1e\+06"):
        export(tiny_run, tmp_path, level=-1e6)
    assert list(tmp_path.iterdir()) == []
