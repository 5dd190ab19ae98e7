"""Points and splats as PLY files: one element, one row a point, where they come from in comments."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gan3d_ns.errors import UserError
from gan3d_ns.exporter.splats import Splats
from gan3d_ns.exporter.surface_points import SurfacePoints
from gan3d_ns.exporter.writers import write_atomically

CONSTANT_HARMONIC = 0.28209479177387814
"""The spherical harmonic of degree 0, 1 / (2 sqrt(pi)): a colour is 1/2 + this times its coefficient."""
OPACITY_MARGIN = 1e-6
"""Opacities keep this distance from 0 and 1, where their logits are endless."""
SPLAT_PROPERTIES = (
    *("x", "y", "z", "nx", "ny", "nz"),
    *("f_dc_0", "f_dc_1", "f_dc_2", "opacity"),
    *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)
"""In the order of Kerbl et al. 2023, gsplat's viewers and `ns-export gaussian-splat`; coefficients of higher degrees
(f_rest) are left out, as by those for splats of one colour."""


def splat_columns(splats: Splats) -> Float[np.ndarray, "splat property"]:
    """Rows of `SPLAT_PROPERTIES`: logits of opacity, logarithms of scales, unit quaternions (w, x, y, z)."""
    splats = splats.detached().to("cpu")
    columns = (
        splats.positions,
        splats.normals,
        (splats.colours - 0.5) / CONSTANT_HARMONIC,
        splats.opacities.clamp(OPACITY_MARGIN, 1.0 - OPACITY_MARGIN).logit()[:, None],
        splats.scales.log(),
        torch.nn.functional.normalize(splats.rotations, dim=-1),
    )
    return torch.cat(columns, dim=1).numpy().astype(np.float32)


def write_splats(splats: Splats, path: Path, metadata: Mapping[str, str]) -> Path:
    """Writes the layout that splat viewers read, in our frame, and returns the path.

    Normals, which nerfstudio writes as zeros, are those of the flat splats.

    Raises:
        UserError: the file cannot be written.
    """
    rows = splat_columns(splats)
    finite = np.isfinite(rows).all(axis=1)
    return _write(path, [(name, "float") for name in SPLAT_PROPERTIES], rows[finite], metadata)


def read_splats(path: Path) -> Splats:
    """Splats from a file of `write_splats`.

    Raises:
        UserError: it is no such file.
    """
    header, _, body = path.read_bytes().partition(b"end_header\n")
    names = [line.split()[-1].decode() for line in header.splitlines() if line.startswith(b"property float ")]
    rows = np.frombuffer(body, dtype="<f4")
    if tuple(names) != SPLAT_PROPERTIES or len(rows) % len(names) != 0:
        raise UserError(f"{path} does not hold splats as `gan3d export splats` writes them.")
    values: Tensor = torch.from_numpy(rows.reshape(-1, len(names)).copy())
    positions, _, colours, logits, shapes, rotations = values.split([3, 3, 3, 1, 3, 4], dim=1)
    return Splats(positions, shapes.exp(), rotations, torch.sigmoid(logits[:, 0]), 0.5 + CONSTANT_HARMONIC * colours)


def write_points(points: SurfacePoints, path: Path, metadata: Mapping[str, str]) -> Path:
    """Writes positions, normals and 8-bit sRGB colours, and returns the path.

    Raises:
        UserError: the file cannot be written.
    """
    kinds = [(name, "float") for name in ("x", "y", "z", "nx", "ny", "nz")]
    kinds += [(name, "uchar") for name in ("red", "green", "blue")]
    colours = (points.colours.clamp(0.0, 1.0) * 255.0).round()
    rows = torch.cat((points.positions, points.normals, colours), dim=1).cpu().numpy()
    return _write(path, kinds, rows, metadata)


def _write(
    path: Path, kinds: list[tuple[str, str]], rows: Float[np.ndarray, "point property"], metadata: Mapping[str, str]
) -> Path:
    """A binary little-endian PLY file with one element."""
    table = np.empty(len(rows), dtype=[(name, {"float": "<f4", "uchar": "u1"}[kind]) for name, kind in kinds])
    for column, (name, _) in enumerate(kinds):
        table[name] = rows[:, column]
    comments = ["written by gan3d_ns; front at +z", "Vertical Axis: y"]
    comments += [f"{key}: {value}" for key, value in metadata.items()]
    header = [
        "ply",
        "format binary_little_endian 1.0",
        *("comment " + " ".join(line.split()) for line in comments),
        f"element vertex {len(rows)}",
        *(f"property {kind} {name}" for name, kind in kinds),
        "end_header",
        "",
    ]
    write_atomically(path, "\n".join(header).encode("ascii", "backslashreplace") + table.tobytes())
    return path
