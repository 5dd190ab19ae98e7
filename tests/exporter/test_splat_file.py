"""Files of splats and points, field by field as nerfstudio writes them, and read back by other libraries."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from gan3d_ns.errors import UserError
from gan3d_ns.exporter.splat_file import read_splats, write_points, write_splats
from gan3d_ns.exporter.splats import Splats
from gan3d_ns.exporter.surface_points import SurfacePoints

METADATA = {"method": "gof-gan-tiny", "seed": "3", "name": "Käfer\nblau"}


@pytest.fixture
def splats() -> Splats:
    return Splats(torch.randn(50, 3), torch.rand(50, 3) + 0.01, torch.randn(50, 4), torch.rand(50), torch.rand(50, 3))


def header_and_body(path: Path) -> tuple[list[str], bytes]:
    header, _, body = path.read_bytes().partition(b"end_header\n")
    return header.decode("ascii").splitlines(), body


def test_layout_is_that_of_nerfstudio(splats: Splats, tmp_path: Path) -> None:
    """The arrays that `ExportGaussianSplat.main` hands to its writer, for the same Gaussians of degree 0."""
    from nerfstudio.scripts.exporter import ExportGaussianSplat

    count = len(splats)
    logits = torch.log(splats.opacities / (1.0 - splats.opacities))
    unit = splats.rotations / splats.rotations.norm(dim=-1, keepdim=True)
    columns: OrderedDict[str, np.ndarray] = OrderedDict()
    for index, name in enumerate("xyz"):
        columns[name] = splats.positions[:, index].numpy()
    for index, name in enumerate(("nx", "ny", "nz")):
        columns[name] = splats.normals[:, index].numpy()
    for index in range(3):
        columns[f"f_dc_{index}"] = ((splats.colours - 0.5) / 0.28209479177387814)[:, index, None].numpy()
    columns["opacity"] = logits[:, None].numpy()
    for index in range(3):
        columns[f"scale_{index}"] = splats.scales.log()[:, index, None].numpy()
    for index in range(4):
        columns[f"rot_{index}"] = unit[:, index, None].numpy()
    ExportGaussianSplat.write_ply(str(tmp_path / "theirs.ply"), count, columns)
    write_splats(splats, tmp_path / "ours.ply", METADATA)
    their_header, their_body = header_and_body(tmp_path / "theirs.ply")
    our_header, our_body = header_and_body(tmp_path / "ours.ply")

    def without_comments(header: list[str]) -> list[str]:
        return [line for line in header if not line.startswith("comment")]

    assert without_comments(our_header) == without_comments(their_header)
    assert len(our_body) == len(their_body)
    ours, theirs = (np.frombuffer(body, dtype="<f4").reshape(count, -1) for body in (our_body, their_body))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_comments_say_where_it_comes_from_on_one_line_each(splats: Splats, tmp_path: Path) -> None:
    header, _ = header_and_body(write_splats(splats, tmp_path / "a.ply", METADATA))
    assert "comment Vertical Axis: y" in header
    assert "comment seed: 3" in header
    assert "comment name: K\\xe4fer blau" in header


def test_what_was_written_is_read(splats: Splats, tmp_path: Path) -> None:
    read = read_splats(write_splats(splats, tmp_path / "new" / "a.ply", METADATA))
    torch.testing.assert_close(read.positions, splats.positions)
    torch.testing.assert_close(read.opacities, splats.opacities, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(read.colours, splats.colours, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(read.covariances, splats.covariances, atol=1e-4, rtol=1e-3)


def test_opaque_splats_have_finite_logits_and_broken_ones_are_left_out(splats: Splats, tmp_path: Path) -> None:
    splats.opacities[:2] = torch.tensor([0.0, 1.0])
    splats.positions[7, 1] = torch.nan
    path = write_splats(splats, tmp_path / "a.ply", {})
    read = read_splats(path)
    assert len(read) == 49
    rows = np.frombuffer(header_and_body(path)[1], dtype="<f4")
    assert np.isfinite(rows).all()


def test_points_are_read_by_open3d_and_trimesh(tmp_path: Path) -> None:
    import open3d
    import trimesh

    normals = torch.nn.functional.normalize(torch.randn(40, 3), dim=-1)
    points = SurfacePoints(torch.randn(40, 3), normals, torch.rand(40, 3), torch.ones(40), -normals)
    path = write_points(points, tmp_path / "p.ply", METADATA)
    cloud = open3d.io.read_point_cloud(str(path))
    np.testing.assert_allclose(np.asarray(cloud.points), points.positions, atol=1e-6)
    np.testing.assert_allclose(np.asarray(cloud.normals), normals, atol=1e-6)
    np.testing.assert_allclose(np.asarray(cloud.colors), points.colours, atol=0.5 / 255 + 1e-6)
    loaded = trimesh.load(path)
    assert isinstance(loaded, trimesh.PointCloud)
    np.testing.assert_allclose(loaded.vertices, points.positions, atol=1e-6)
    np.testing.assert_allclose(loaded.colors[:, :3] / 255, points.colours, atol=0.5 / 255 + 1e-6)


def test_another_file_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "mesh.ply"
    path.write_bytes(b"ply\nformat ascii 1.0\nelement vertex 0\nend_header\n")
    with pytest.raises(UserError, match=r"mesh\.ply does not hold splats"):
        read_splats(path)
