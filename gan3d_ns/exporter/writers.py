"""Mesh files that viewers show in colour: .glb, .ply and .obj, written whole or not at all.

The three formats are a few lines each and are written here, because what matters to a user is in details that general
libraries leave open: the colour space, a material that is not black metal, normals, and where the mesh came from.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Callable, Mapping, Optional

import numpy as np
from jaxtyping import Float, Float32, UInt8, UInt16

from gan3d_ns.errors import UserError
from gan3d_ns.exporter.mesh import Mesh

_MAX_COLOUR16 = 65535
_FLOAT, _UNSIGNED_SHORT, _UNSIGNED_INT = 5126, 5123, 5125
_ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963


def write_mesh(mesh: Mesh, path: Path, metadata: Optional[Mapping[str, str]] = None) -> Path:
    """Writes the mesh in the format of the path's suffix and returns the path; missing folders are made.

    .glb: glTF 2.0, linear 16-bit vertex colours, a rough, non-metallic, double-sided material, metadata in
    `asset.extras`. .ply: binary, 8-bit sRGB colours, metadata in comments. .obj: text, `v x y z r g b` with sRGB in
    [0, 1], metadata in comments. All with normals where the mesh has them; coordinates are kept (+y up, front at +z).

    Raises:
        UserError: for another suffix, an empty mesh, or a path that cannot be written.
    """
    path = Path(path)
    encode = _ENCODERS.get(path.suffix.lower())
    if encode is None:
        raise UserError(f"cannot write a mesh as {path.name!r}: end the name in {', '.join(_ENCODERS)}")
    if len(mesh.faces) == 0:
        raise UserError(f"the mesh for {path} has no faces; nothing was written")
    write_atomically(path, encode(mesh, dict(metadata or {})))
    return path


def write_atomically(path: Path, content: bytes) -> None:
    """Puts the content at the path in one step: whoever looks sees the old file or the whole new one.

    Raises:
        UserError: when the folder cannot be made or the file cannot be written.
    """
    # Beside the target, since a rename is only atomic within one file system.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(content)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror} ({error.filename}); choose another path") from error


def srgb_to_linear(colours: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Linear light of sRGB values in [0, 1] (IEC 61966-2-1)."""
    return np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)


def _colours8(mesh_colours: Float32[np.ndarray, "vertex 3"]) -> UInt8[np.ndarray, "vertex 3"]:
    return np.round(np.clip(mesh_colours, 0.0, 1.0) * 255.0).astype(np.uint8)


def _linear_colours16(mesh_colours: Float32[np.ndarray, "vertex 3"]) -> UInt16[np.ndarray, "vertex 4"]:
    """Linear colours and alpha 1. 16 bits, since 8 linear bits show bands in the dark; alpha keeps 4-byte alignment."""
    linear = srgb_to_linear(np.clip(mesh_colours.astype(np.float64), 0.0, 1.0))
    opaque = np.concatenate([linear, np.ones((len(linear), 1))], axis=1)
    return np.round(opaque * _MAX_COLOUR16).astype(np.uint16)


def _encode_glb(mesh: Mesh, metadata: dict[str, str]) -> bytes:
    """Binary glTF 2.0: a JSON chunk that describes the accessors, then one buffer."""
    buffer = bytearray()
    views, accessors = [], []

    def add(array: np.ndarray, component_type: int, kind: str, target: int, **extra: object) -> int:
        views.append({"buffer": 0, "byteOffset": len(buffer), "byteLength": array.nbytes, "target": target})
        accessors.append(
            {"bufferView": len(views) - 1, "componentType": component_type, "count": len(array), "type": kind, **extra}
        )
        buffer.extend(array.tobytes())
        return len(accessors) - 1

    positions = mesh.vertices.astype("<f4")
    attributes = {
        "POSITION": add(
            positions,
            _FLOAT,
            "VEC3",
            _ARRAY_BUFFER,
            min=positions.min(axis=0).tolist(),
            max=positions.max(axis=0).tolist(),
        )
    }
    if mesh.normals is not None:
        attributes["NORMAL"] = add(mesh.normals.astype("<f4"), _FLOAT, "VEC3", _ARRAY_BUFFER)
    if mesh.colours is not None:
        colours = _linear_colours16(mesh.colours).astype("<u2")
        attributes["COLOR_0"] = add(colours, _UNSIGNED_SHORT, "VEC4", _ARRAY_BUFFER, normalized=True)
    indices = add(mesh.faces.astype("<u4").ravel(), _UNSIGNED_INT, "SCALAR", _ELEMENT_ARRAY_BUFFER)
    document = {
        "asset": {"version": "2.0", "generator": "gan3d_ns", **({"extras": metadata} if metadata else {})},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "object"}],
        "meshes": [{"name": "object", "primitives": [{"attributes": attributes, "indices": indices, "material": 0}]}],
        "materials": [
            {
                # glTF's defaults are a metal and one-sided: black in most viewers.
                "name": "vertex colours",
                "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0},
                "doubleSided": True,
            }
        ],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(buffer)}],
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    # Chunks end on 4 bytes: JSON is padded with spaces; every array above is a multiple of 4 bytes.
    text += b" " * (-len(text) % 4)
    length = 12 + 8 + len(text) + 8 + len(buffer)
    return b"".join(
        [
            b"glTF" + np.array([2, length], dtype="<u4").tobytes(),
            np.array([len(text)], dtype="<u4").tobytes() + b"JSON" + text,
            np.array([len(buffer)], dtype="<u4").tobytes() + b"BIN\0" + bytes(buffer),
        ]
    )


def _encode_ply(mesh: Mesh, metadata: dict[str, str]) -> bytes:
    """Binary little-endian PLY."""
    fields = [(name, "<f4", "float") for name in ("x", "y", "z")]
    columns = [*mesh.vertices.T]
    if mesh.normals is not None:
        fields += [(name, "<f4", "float") for name in ("nx", "ny", "nz")]
        columns += [*mesh.normals.T]
    if mesh.colours is not None:
        fields += [(name, "u1", "uchar") for name in ("red", "green", "blue")]
        columns += [*_colours8(mesh.colours).T]
    vertices = np.empty(len(mesh.vertices), dtype=[(name, code) for name, code, _ in fields])
    for (name, _, _), column in zip(fields, columns, strict=True):
        vertices[name] = column
    faces = np.empty(len(mesh.faces), dtype=[("count", "u1"), ("index", "<i4", (3,))])
    faces["count"], faces["index"] = 3, mesh.faces
    header = [
        "ply",
        "format binary_little_endian 1.0",
        *(f"comment {line}" for line in _comment_lines(metadata)),
        f"element vertex {len(vertices)}",
        *(f"property {kind} {name}" for name, _, kind in fields),
        f"element face {len(faces)}",
        "property list uchar int vertex_indices",
        "end_header",
        "",
    ]
    return "\n".join(header).encode("ascii") + vertices.tobytes() + faces.tobytes()


def _encode_obj(mesh: Mesh, metadata: dict[str, str]) -> bytes:
    """Wavefront OBJ; vertex colours follow the position, as MeshLab, Blender and Open3D read them."""
    parts = [f"# {line}\n" for line in _comment_lines(metadata)]
    if mesh.colours is None:
        parts.append(_lines("v %.7g %.7g %.7g\n", mesh.vertices))
    else:
        rows = np.concatenate([mesh.vertices, mesh.colours], axis=1)
        parts.append(_lines("v %.7g %.7g %.7g %.5g %.5g %.5g\n", rows))
    corners = mesh.faces + 1
    if mesh.normals is None:
        parts.append(_lines("f %d %d %d\n", corners))
    else:
        parts.append(_lines("vn %.6g %.6g %.6g\n", mesh.normals))
        parts.append(_lines("f %d//%d %d//%d %d//%d\n", np.repeat(corners, 2, axis=1)))
    return "".join(parts).encode("ascii")


def _lines(pattern: str, rows: np.ndarray) -> str:
    """One formatted line a row; one big format operation is many times faster than a loop."""
    return (pattern * len(rows)) % tuple(rows.ravel().tolist())


def _comment_lines(metadata: Mapping[str, str]) -> list[str]:
    """`key: value`, on one line each and in ASCII, as both text headers need."""
    lines = ["written by gan3d_ns; +y up, front at +z"]
    lines += [f"{key}: {value}" for key, value in metadata.items()]
    return [" ".join(line.split()).encode("ascii", "backslashreplace").decode() for line in lines]


_ENCODERS: dict[str, Callable[[Mesh, dict[str, str]], bytes]] = {
    ".glb": _encode_glb,
    ".ply": _encode_ply,
    ".obj": _encode_obj,
}

MESH_SUFFIXES = tuple(_ENCODERS)
"""File name endings that `write_mesh` knows."""
