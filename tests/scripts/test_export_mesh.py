"""`gan3d export mesh`: every format is read back by another library."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from mesh_files import read_mesh

from gan3d_ns.errors import UserError
from gan3d_ns.scripts.export_mesh import ExportMesh


def export(run: Path, folder: Path, **settings) -> list[Path]:
    small = {"resolution": 24, "num_views": 4, "view_resolution": 16}
    ExportMesh(load_config=run, output_dir=folder, **{**small, **settings}).main()
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
    expected = {"method": "gof-gan-tiny", "step": "1", "seed": "0", "truncation": "0.5"}
    assert expected.items() <= extras.items()


def test_seeds_are_different_objects_and_truncation_zero_is_one(tiny_run: Path, tmp_path: Path) -> None:
    first, second = export(tiny_run, tmp_path / "free", seeds=(0, 1), truncation=1.0)
    assert first.read_bytes() != second.read_bytes()
    first, second = (
        trimesh.load(path, force="mesh") for path in export(tiny_run, tmp_path / "mean", seeds=(0, 1), truncation=0.0)
    )
    np.testing.assert_array_equal(first.vertices, second.vertices)


def test_meshes_lie_in_the_run_and_are_announced(copied_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ExportMesh(load_config=copied_run, resolution=16, num_views=2, view_resolution=8, largest_component=True).main()
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


def test_a_textured_mesh_with_few_faces(tiny_run: Path, tmp_path: Path) -> None:
    (path,) = export(tiny_run, tmp_path, texture=True, texture_size=64, decimate=200)
    mesh = read_mesh(path)
    assert mesh.texture is not None and mesh.texture.shape == (64, 64, 3)
    assert np.ptp(mesh.texture) > 10, "the texture is of one colour"
    assert 150 < len(mesh.faces) <= 200


def test_seeds_and_saved_latents_in_one_call(tiny_run: Path, tmp_path: Path) -> None:
    """A latent that was saved of a seed is the same object as the seed."""
    from gan3d_ns.model_components.latents import LatentSelection, encode_latent
    from gan3d_ns.scripts.runs import load_run

    _, pipeline, _ = load_run(tiny_run)
    selection = LatentSelection(seed=4, truncation=0.7)
    codes = pipeline.model.layer_codes(selection)[:, 0]
    (tmp_path / "kept.safetensors").write_bytes(encode_latent(codes, pipeline.model.provenance(selection)))
    latent, seed = export(
        tiny_run, tmp_path / "meshes", seeds=(4,), latents=(tmp_path / "kept.safetensors",), format="ply"
    )
    assert (latent.name, seed.name) == ("mesh_kept.ply", "mesh_seed0004.ply")
    assert latent.read_bytes().split(b"end_header")[1] == seed.read_bytes().split(b"end_header")[1]
    assert b"comment latent: kept" in latent.read_bytes()
    assert b"comment seed: 4" in seed.read_bytes()


def test_more_faces_than_there_are_is_said(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export(tiny_run, tmp_path, decimate=1_000_000)
    assert "all of them: fewer than the 1000000 asked for" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"texture": True, "format": "ply"}, "vertex colours and no texture"),
        ({"texture": True, "texture_size": -1}, "texture_size is -1"),
        ({"decimate": 0}, "decimate is 0"),
    ],
)
def test_impossible_settings_are_refused_before_the_run_is_opened(settings, sentence, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        ExportMesh(load_config=tmp_path / "no run", output_dir=tmp_path / "meshes", **settings).main()
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_leaves_the_old_file(tiny_run: Path, tmp_path: Path) -> None:
    (path,) = export(tiny_run, tmp_path)
    before = path.read_bytes()
    with pytest.raises(UserError, match="no surface"):
        export(tiny_run, tmp_path, level=1e6)
    assert path.read_bytes() == before
    with pytest.raises(UserError, match=r"cannot write into .*seed0000\.glb"):
        export(tiny_run, path)
    assert path.read_bytes() == before
