"""Our .glb files against the rules of glTF 2.0, and against the public validator where it is installed."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shutil
import subprocess
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest

from gan3d_ns.exporter.gltf import encode_glb
from gan3d_ns.exporter.mesh import Mesh, normals_from_faces

COMPONENTS = {5126: "<f4", 5123: "<u2", 5125: "<u4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
VALIDATE = """
const validator = require('gltf-validator'), fs = require('fs');
validator.validateBytes(new Uint8Array(fs.readFileSync(process.argv[1])))
  .then(report => console.log(JSON.stringify(report.issues)));
"""


def octahedron() -> Mesh:
    vertices = np.concatenate([np.eye(3), -np.eye(3)]).astype(np.float32) * np.float32([0.1, 0.2, 0.3])
    faces = np.array([[0, 1, 2], [1, 3, 2], [3, 4, 2], [4, 0, 2], [1, 0, 5], [3, 1, 5], [4, 3, 5], [0, 4, 5]])
    return Mesh(vertices=vertices, faces=faces, normals=normals_from_faces(vertices, faces))


def mesh_of(kind: str) -> Mesh:
    mesh, source = octahedron(), np.random.default_rng(0)
    if kind == "coloured":
        return dataclasses.replace(mesh, colours=source.random((6, 3)).astype(np.float32))
    if kind == "textured":
        picture = source.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        return dataclasses.replace(mesh, uvs=source.random((6, 2)).astype(np.float32), texture=picture)
    return mesh


@pytest.fixture(params=["bare", "coloured", "textured"])
def mesh(request: pytest.FixtureRequest) -> Mesh:
    return mesh_of(request.param)


def chunks_of(content: bytes) -> tuple[dict, bytes]:
    """The document and the buffer of a .glb, by its own lengths."""
    assert content[:4] == b"glTF"
    version, length, json_length = np.frombuffer(content[4:16], "<u4")
    assert (version, length) == (2, len(content))
    assert content[16:20] == b"JSON" and json_length % 4 == 0
    start = 20 + int(json_length)
    (binary_length,) = np.frombuffer(content[start : start + 4], "<u4")
    assert content[start + 4 : start + 8] == b"BIN\0" and binary_length % 4 == 0
    assert start + 8 + binary_length == len(content)
    return json.loads(content[20:start]), content[start + 8 :]


def test_accessors_hold_what_the_document_says(mesh: Mesh) -> None:
    document, buffer = chunks_of(encode_glb(mesh, {"seed": "7"}))
    assert document["buffers"] == [{"byteLength": len(buffer)}]
    end = 0
    for view in document["bufferViews"]:
        assert view["byteOffset"] % 4 == 0 and view["byteOffset"] >= end
        end = view["byteOffset"] + view["byteLength"]
    assert end <= len(buffer)

    def read(index: int) -> np.ndarray:
        accessor = document["accessors"][index]
        view = document["bufferViews"][accessor["bufferView"]]
        part = buffer[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
        values = np.frombuffer(part, COMPONENTS[accessor["componentType"]]).reshape(-1, WIDTHS[accessor["type"]])
        assert len(values) == accessor["count"]
        assert (values.strides[0]) % 4 == 0, "attributes are aligned to 4 bytes"
        return values

    (primitive,) = document["meshes"][0]["primitives"]
    positions = read(primitive["attributes"]["POSITION"])
    np.testing.assert_array_equal(positions, mesh.vertices)
    accessor = document["accessors"][primitive["attributes"]["POSITION"]]
    assert accessor["min"] == positions.min(axis=0).tolist() and accessor["max"] == positions.max(axis=0).tolist()
    indices = read(primitive["indices"])
    assert indices.max() < len(positions)
    np.testing.assert_array_equal(indices.reshape(-1, 3), mesh.faces)
    np.testing.assert_allclose(np.linalg.norm(read(primitive["attributes"]["NORMAL"]), axis=1), 1.0, atol=1e-5)
    assert set(primitive["attributes"]) == {"POSITION", "NORMAL"} | (
        {"TEXCOORD_0"} if mesh.texture is not None else {"COLOR_0"} if mesh.colours is not None else set()
    ), "a viewer multiplies vertex colours with the texture"


def test_the_texture_is_a_png_of_the_same_bytes_on_a_rough_dielectric() -> None:
    mesh = mesh_of("textured")
    document, buffer = chunks_of(encode_glb(mesh, {}))
    (image,) = document["images"]
    view = document["bufferViews"][image["bufferView"]]
    assert image["mimeType"] == "image/png" and "target" not in view
    picture = imageio.imread(io.BytesIO(buffer[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]))
    np.testing.assert_array_equal(picture, mesh.texture)
    (material,) = document["materials"]
    surface = {"metallicFactor": 0.0, "roughnessFactor": 1.0, "baseColorTexture": {"index": 0}}
    assert material["pbrMetallicRoughness"] == surface
    (texture,) = document["textures"]
    assert (texture["source"], texture["sampler"]) == (0, 0)
    assert document["samplers"][0]["wrapS"] == document["samplers"][0]["wrapT"] == 33071, "clamped to the edge"


def validator_place() -> str | None:
    """NODE_PATH under which node finds the package; None where it does not."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None:
        return None
    places = [os.environ.get("NODE_PATH", "")]
    if npm is not None:
        found = subprocess.run([npm, "root", "-g"], capture_output=True, text=True, check=False)
        places.append(found.stdout.strip())
    place = os.pathsep.join(filter(None, places))
    known = subprocess.run(
        [node, "-e", "require('gltf-validator')"],
        env={**os.environ, "NODE_PATH": place},
        capture_output=True,
        check=False,
    )
    return place if known.returncode == 0 else None


def test_the_public_validator_finds_nothing_to_say(mesh: Mesh, tmp_path: Path) -> None:
    place = validator_place()
    if place is None:
        pytest.skip("needs node and its package gltf-validator: npm install -g gltf-validator, or NODE_PATH")
    path = tmp_path / "object.glb"
    path.write_bytes(encode_glb(mesh, {"method": "gof-gan", "seed": "7"}))
    report = subprocess.run(
        ["node", "-e", VALIDATE, str(path)],
        env={**os.environ, "NODE_PATH": place},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(report.stdout)["messages"] == []
