"""Mesh files read back by other people's readers, and what happens when they cannot be written."""

from __future__ import annotations

import dataclasses
import io
import json

import numpy as np
import pytest
from mesh_files import read_mesh, read_with_trimesh

from gan3d_ns.errors import UserError
from gan3d_ns.exporter.gltf import srgb_to_linear
from gan3d_ns.exporter.mesh import Mesh, normals_from_faces
from gan3d_ns.exporter.writers import MESH_SUFFIXES, require_folder, write_mesh

METADATA = {"method": "gof-gan", "seed": "7", "checkpoint": "step 2\nsecond line", "author": "Ælfric"}


@pytest.fixture
def mesh():
    """An octahedron with a colour of its own at every vertex."""
    axes = np.concatenate([np.eye(3), -np.eye(3)]).astype(np.float32) * np.float32([0.1, 0.2, 0.3])
    faces = np.array([[0, 1, 2], [1, 3, 2], [3, 4, 2], [4, 0, 2], [1, 0, 5], [3, 1, 5], [4, 3, 5], [0, 4, 5]])
    colours = np.random.default_rng(0).random((6, 3)).astype(np.float32)
    return Mesh(vertices=axes, faces=faces, normals=normals_from_faces(axes, faces), colours=colours)


def glb_document(path):
    content = path.read_bytes()
    magic, version, length = content[:4], *np.frombuffer(content[4:12], "<u4")
    assert (magic, version, length) == (b"glTF", 2, len(content))
    json_length = int(np.frombuffer(content[12:16], "<u4")[0])
    assert content[16:20] == b"JSON"
    assert json_length % 4 == 0
    return json.loads(content[20 : 20 + json_length])


@pytest.mark.parametrize("suffix", MESH_SUFFIXES)
def test_trimesh_reads_back_what_was_written(mesh, tmp_path, suffix):
    path = write_mesh(mesh, tmp_path / f"new folder/object{suffix}", METADATA)
    read = read_with_trimesh(path)
    np.testing.assert_allclose(read.vertices, mesh.vertices, atol=1e-6)
    assert np.array_equal(read.faces, mesh.faces)
    np.testing.assert_allclose(read.vertex_normals, mesh.normals, atol=1e-5)
    expected = srgb_to_linear(mesh.colours) if suffix == ".glb" else mesh.colours
    # With a material, trimesh keeps the colours of a glTF file as they are stored, as an attribute.
    colours = read.visual.vertex_attributes["color"] if suffix == ".glb" else read.visual.vertex_colors
    np.testing.assert_allclose(colours[:, :3] / np.iinfo(colours.dtype).max, expected, atol=0.51 / 255)
    assert (colours[:, 3] == np.iinfo(colours.dtype).max).all()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", MESH_SUFFIXES)
def test_open3d_reads_back_what_was_written(mesh, tmp_path, suffix):
    open3d = pytest.importorskip("open3d")
    path = write_mesh(mesh, tmp_path / f"object{suffix}", METADATA)
    read = open3d.io.read_triangle_mesh(str(path))
    np.testing.assert_allclose(np.asarray(read.vertices), mesh.vertices, atol=1e-6)
    np.testing.assert_allclose(np.asarray(read.vertex_normals), mesh.normals, atol=1e-5)
    assert np.array_equal(np.asarray(read.triangles), mesh.faces)
    expected = srgb_to_linear(mesh.colours) if suffix == ".glb" else mesh.colours
    np.testing.assert_allclose(np.asarray(read.vertex_colors), expected, atol=0.51 / 255)


@pytest.fixture
def textured(mesh):
    """The octahedron with a picture around it; its last vertex reads the lower right corner."""
    uvs = np.float32([[0.1, 0.2], [0.3, 0.4], [0.9, 0.1], [0.5, 0.6], [0.7, 0.2], [1.0, 1.0]])
    picture = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return dataclasses.replace(mesh, colours=None, uvs=uvs, texture=picture)


@pytest.mark.parametrize("suffix", [".glb", ".obj"])
def test_trimesh_reads_back_the_texture(textured, tmp_path, suffix):
    read = read_mesh(write_mesh(textured, tmp_path / f"new folder/my object{suffix}", METADATA))
    np.testing.assert_array_equal(read.faces, textured.faces)
    np.testing.assert_allclose(read.vertices, textured.vertices, atol=1e-6)
    np.testing.assert_allclose(read.normals, textured.normals, atol=1e-5)
    np.testing.assert_allclose(read.uvs, textured.uvs, atol=1e-6)
    np.testing.assert_array_equal(read.texture, textured.texture)


@pytest.mark.parametrize("suffix", [".glb", ".obj"])
def test_open3d_reads_back_the_texture(textured, tmp_path, suffix):
    open3d = pytest.importorskip("open3d")
    model = open3d.io.read_triangle_model(str(write_mesh(textured, tmp_path / f"object{suffix}")))
    (part,), (material,) = model.meshes, model.materials
    np.testing.assert_allclose(
        np.asarray(part.mesh.vertices)[np.asarray(part.mesh.triangles)], textured.vertices[textured.faces], atol=1e-6
    )
    # Open3D keeps three coordinates for each face, upwards in both formats or downwards in both.
    uvs = np.asarray(part.mesh.triangle_uvs)
    expected = textured.uvs[textured.faces.ravel()]
    assert min(np.abs(uvs - expected).max(), np.abs(uvs * [1, -1] + [0, 1] - expected).max()) < 1e-6
    np.testing.assert_array_equal(np.asarray(material.albedo_img)[..., :3], textured.texture)


def test_obj_names_its_material_and_picture_without_spaces(textured, tmp_path):
    path = write_mesh(textured, tmp_path / "my object.obj", METADATA)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["my object.obj", "my_object.mtl", "my_object.png"]
    lines = path.read_text().splitlines()
    assert "mtllib my_object.mtl" in lines and "usemtl object" in lines
    material = (tmp_path / "my_object.mtl").read_text()
    assert "newmtl object" in material and "map_Kd my_object.png" in material
    assert "# method: gof-gan" in material


def test_ply_refuses_a_texture(textured, tmp_path):
    with pytest.raises(UserError, match=r"vertex colours and no texture; write object\.glb or object\.obj"):
        write_mesh(textured, tmp_path / "object.ply")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_of_three_files_leaves_the_old_three(textured, tmp_path):
    path = write_mesh(textured, tmp_path / "object.obj")
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    path.unlink()
    path.mkdir()  # the last file cannot be put in its place, and none of the others may have changed before
    other = dataclasses.replace(textured, texture=255 - textured.texture)
    with pytest.raises(UserError, match="cannot write"):
        write_mesh(other, path)
    path.rmdir()
    assert (tmp_path / "object.png").read_bytes() == before["object.png"]
    assert (tmp_path / "object.mtl").read_bytes() == before["object.mtl"]


def test_a_folder_that_cannot_be_made_is_a_sentence_before_the_work(tmp_path):
    assert require_folder(tmp_path / "a" / "b").is_dir()
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot write into .*file/meshes: .*choose another folder"):
        require_folder(tmp_path / "file" / "meshes")


@pytest.mark.parametrize("suffix", MESH_SUFFIXES)
def test_colours_and_normals_are_optional(mesh, tmp_path, suffix):
    bare = Mesh(vertices=mesh.vertices, faces=mesh.faces)
    read = read_with_trimesh(write_mesh(bare, tmp_path / f"bare{suffix}"))
    np.testing.assert_allclose(read.vertices, mesh.vertices, atol=1e-6)
    assert np.array_equal(read.faces, mesh.faces)


def test_glb_is_not_black_metal_and_tells_its_origin(mesh, tmp_path):
    document = glb_document(write_mesh(mesh, tmp_path / "object.glb", METADATA))
    (material,) = document["materials"]
    assert material["pbrMetallicRoughness"] == {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    assert material["doubleSided"] is True
    assert document["asset"]["extras"] == METADATA
    (primitive,) = document["meshes"][0]["primitives"]
    colour = document["accessors"][primitive["attributes"]["COLOR_0"]]
    assert colour["normalized"] is True
    assert all(view["byteOffset"] % 4 == 0 for view in document["bufferViews"])
    position = document["accessors"][primitive["attributes"]["POSITION"]]
    assert position["min"] == mesh.vertices.min(axis=0).tolist()
    assert position["max"] == mesh.vertices.max(axis=0).tolist()


@pytest.mark.parametrize(("suffix", "mark"), [(".ply", "comment "), (".obj", "# ")])
def test_text_headers_tell_the_origin_on_one_line_each(mesh, tmp_path, suffix, mark):
    content = write_mesh(mesh, tmp_path / f"object{suffix}", METADATA).read_bytes()
    lines = content.split(b"end_header")[0].decode("ascii").splitlines()
    comments = [line.removeprefix(mark) for line in lines if line.startswith(mark)]
    assert comments[1:] == ["method: gof-gan", "seed: 7", "checkpoint: step 2 second line", r"author: \xc6lfric"]


def test_srgb_to_linear_has_the_values_of_the_standard():
    np.testing.assert_allclose(
        srgb_to_linear(np.array([0.0, 0.04045, 0.5, 1.0])), [0, 0.0031308, 0.2140411, 1], atol=1e-6
    )


def test_an_unknown_suffix_names_the_known_ones(mesh, tmp_path):
    with pytest.raises(UserError, match=r"'object\.fbx'.* \.glb, \.ply, \.obj"):
        write_mesh(mesh, tmp_path / "object.fbx")


def test_a_mesh_without_faces_is_refused(mesh, tmp_path):
    with pytest.raises(UserError, match="no faces"):
        write_mesh(Mesh(vertices=mesh.vertices, faces=mesh.faces[:0]), tmp_path / "object.glb")
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_path_is_a_sentence(mesh, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot write .*object\.glb: .*choose another path"):
        write_mesh(mesh, tmp_path / "file" / "object.glb")
    (tmp_path / "folder.glb").mkdir()
    with pytest.raises(UserError, match="Is a directory"):
        write_mesh(mesh, tmp_path / "folder.glb")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder.glb"]


def test_a_failed_write_leaves_the_old_file(mesh, tmp_path, monkeypatch):
    path = write_mesh(mesh, tmp_path / "object.ply")
    before = path.read_bytes()

    def disk_full(*_):
        raise OSError(28, "No space left on device", "object.ply")

    monkeypatch.setattr("os.replace", disk_full)
    with pytest.raises(UserError, match="No space left on device"):
        write_mesh(mesh, path, METADATA)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["object.ply"]


def test_obj_rows_are_what_a_text_reader_parses(mesh, tmp_path):
    text = write_mesh(mesh, tmp_path / "object.obj").read_text()
    rows = [line[2:] for line in text.splitlines() if line.startswith("v ")]
    parsed = np.loadtxt(io.StringIO("\n".join(rows)))
    np.testing.assert_allclose(parsed[:, :3], mesh.vertices, rtol=1e-6)
    np.testing.assert_allclose(parsed[:, 3:], mesh.colours, rtol=1e-4)
