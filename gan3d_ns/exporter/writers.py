"""Mesh files that viewers show in colour: .glb, .ply and .obj, written whole or not at all.

The three formats are a few lines each and are written here, because what matters to a user is in details that general
libraries leave open: the colour space, a material that is not black metal, normals, and where the mesh came from.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Callable, Mapping, Optional

import numpy as np
from jaxtyping import Float32, UInt8

from gan3d_ns.errors import UserError, shown_path
from gan3d_ns.exporter.gltf import encode_glb, png_of
from gan3d_ns.exporter.mesh import Mesh

LONGEST_NAME = 200
"""Bytes of a file's name; systems allow 255, of which the name of the half-written file takes some more."""


def write_mesh(mesh: Mesh, path: Path, metadata: Optional[Mapping[str, str]] = None) -> Path:
    """Writes the mesh in the format of the path's suffix and returns the path; missing folders are made.

    .glb: glTF 2.0 with a rough, non-metallic, double-sided material, its texture or linear 16-bit vertex colours, and
    metadata in `asset.extras`. .ply: binary, 8-bit sRGB vertex colours, metadata in comments. .obj: text, metadata in
    comments, and either `v x y z r g b` with sRGB in [0, 1] or a .mtl and a .png of the same name beside it. All with
    normals where the mesh has them; coordinates are kept (+y up, front at +z).

    Raises:
        UserError: for another suffix, an empty mesh, a texture in a .ply, or a path that cannot be written.
    """
    path = Path(path)
    encode = _ENCODERS.get(path.suffix.lower())
    if encode is None:
        raise UserError(f"cannot write a mesh as {path.name!r}: end the name in {', '.join(_ENCODERS)}")
    if len(mesh.faces) == 0:
        raise UserError(f"the mesh for {path} has no faces; nothing was written")
    write_files_atomically(encode(mesh, dict(metadata or {}), path))
    return path


def require_folder(folder: Path) -> Path:
    """The folder, made where there is none, for files that take long to compute.

    Raises:
        UserError: it cannot be made or nothing can be written into it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{os.getpid()}.part"
        probe.touch()
        probe.unlink()
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot write into {shown_path(folder)}: {reason_of(error)}; choose another folder."
        ) from error
    return folder


def require_target(path: Path) -> None:
    """Finds out whether a file can be written to the path, before what takes long to compute.

    Raises:
        UserError: its folder cannot be made or written to, or there is a folder or a device in its place.
    """
    require_folder(path.parent)
    if "\0" in path.name:
        raise UserError(f"cannot write {shown_path(path)}: that is no name for a file; choose another path.")
    if os.path.exists(path) and not path.is_file():
        raise UserError(f"cannot write {shown_path(path)}: there is no regular file there; choose another path.")
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise UserError(f"cannot write {shown_path(path)}: its name is too long; choose a shorter one.")


def reason_of(error: OSError | ValueError) -> str:
    """Why a path cannot be used; a zero byte in it is a ValueError."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def write_atomically(path: Path, content: bytes) -> None:
    """Puts the content at the path in one step: whoever looks sees the old file or the whole new one.

    Raises:
        UserError: when the folder cannot be made or the file cannot be written.
    """
    write_files_atomically({path: content})


def write_files_atomically(contents: Mapping[Path, bytes]) -> None:
    """Puts each content at its path in one step, in this order and only when all of them have been written beside it.

    Raises:
        UserError: when a folder cannot be made or a file cannot be written.
    """
    # Beside the targets, since a rename is only atomic within one file system.
    temporaries = {path: path.with_name(f".{path.name}.{os.getpid()}.part") for path in contents}
    path = next(iter(contents))
    try:
        try:
            for path, content in contents.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                temporaries[path].write_bytes(content)
            for path in contents:
                # What a rename onto it would find out too late: a folder, or a device that it would replace by a file.
                if path.is_dir():
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
                if path.exists() and not path.is_file():
                    raise OSError(errno.EEXIST, "it is no regular file", str(path))
            for path, temporary in temporaries.items():
                os.replace(temporary, path)
        finally:
            for temporary in temporaries.values():
                with suppress(OSError, ValueError):  # what could not be made, with its own error below
                    temporary.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        place = f" ({shown_path(error.filename)})" if isinstance(error, OSError) else ""
        raise UserError(f"cannot write {shown_path(path)}: {reason_of(error)}{place}; choose another path") from error


def _colours8(mesh_colours: Float32[np.ndarray, "vertex 3"]) -> UInt8[np.ndarray, "vertex 3"]:
    return np.round(np.clip(mesh_colours, 0.0, 1.0) * 255.0).astype(np.uint8)


def _encode_glb(mesh: Mesh, metadata: dict[str, str], path: Path) -> dict[Path, bytes]:
    return {path: encode_glb(mesh, metadata)}


def _encode_ply(mesh: Mesh, metadata: dict[str, str], path: Path) -> dict[Path, bytes]:
    """Binary little-endian PLY."""
    if mesh.texture is not None:
        raise UserError(f"a .ply file carries vertex colours and no texture; write {path.stem}.glb or {path.stem}.obj.")
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
    return {path: "\n".join(header).encode("ascii") + vertices.tobytes() + faces.tobytes()}


def _encode_obj(mesh: Mesh, metadata: dict[str, str], path: Path) -> dict[Path, bytes]:
    """Wavefront OBJ; vertex colours follow the position, as MeshLab, Blender and Open3D read them.

    A texture lies in a .png that a .mtl names; their names have no spaces, at which many readers stop.
    """
    comments = "".join(f"# {line}\n" for line in _comment_lines(metadata))
    parts, files = [comments], {}
    if mesh.texture is not None:
        name = "_".join(path.stem.split())
        material, picture = path.with_name(f"{name}.mtl"), path.with_name(f"{name}.png")
        lines = ["newmtl object", "Ka 1 1 1", "Kd 1 1 1", "Ks 0 0 0", "illum 1", f"map_Kd {picture.name}", ""]
        files = {picture: png_of(mesh.texture), material: (comments + "\n".join(lines)).encode("utf-8")}
        parts.append(f"mtllib {material.name}\nusemtl object\n")
    if mesh.colours is None:
        parts.append(_lines("v %.7g %.7g %.7g\n", mesh.vertices))
    else:
        rows = np.concatenate([mesh.vertices, mesh.colours], axis=1)
        parts.append(_lines("v %.7g %.7g %.7g %.5g %.5g %.5g\n", rows))
    corner = "%d"
    if mesh.uvs is not None:
        # Upwards from the lower left corner, in this format.
        parts.append(_lines("vt %.7g %.7g\n", np.stack([mesh.uvs[:, 0], 1.0 - mesh.uvs[:, 1]], axis=1)))
        corner += "/%d"
    if mesh.normals is not None:
        parts.append(_lines("vn %.6g %.6g %.6g\n", mesh.normals))
        corner += "/%d" if mesh.uvs is not None else "//%d"
    corners = np.repeat(mesh.faces + 1, corner.count("%d"), axis=1)
    parts.append(_lines(f"f {corner} {corner} {corner}\n", corners))
    return {**files, path: "".join(parts).encode("utf-8")}


def _lines(pattern: str, rows: np.ndarray) -> str:
    """One formatted line a row; one big format operation is many times faster than a loop."""
    return (pattern * len(rows)) % tuple(rows.ravel().tolist())


def _comment_lines(metadata: Mapping[str, str]) -> list[str]:
    """`key: value`, on one line each and in ASCII, as both text headers need."""
    lines = ["written by gan3d_ns; +y up, front at +z"]
    lines += [f"{key}: {value}" for key, value in metadata.items()]
    return [" ".join(line.split()).encode("ascii", "backslashreplace").decode() for line in lines]


_ENCODERS: dict[str, Callable[[Mesh, dict[str, str], Path], dict[Path, bytes]]] = {
    ".glb": _encode_glb,
    ".ply": _encode_ply,
    ".obj": _encode_obj,
}

MESH_SUFFIXES = tuple(_ENCODERS)
"""File name endings that `write_mesh` knows."""
