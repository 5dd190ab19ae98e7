"""`gan3d export pointcloud`: files that other libraries read, and what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gan3d_ns.errors import UserError
from gan3d_ns.scripts.export_pointcloud import ExportPointcloud


def test_open3d_reads_points_normals_and_colours(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import open3d

    ExportPointcloud(load_config=tiny_run, output_dir=tmp_path, seeds=(1, 2), num_points=400, resolution=24).main()
    paths = sorted(tmp_path.iterdir())
    assert [path.name for path in paths] == ["points_seed0001.ply", "points_seed0002.ply"]
    cloud = open3d.io.read_point_cloud(str(paths[0]))
    assert 300 < len(cloud.points) < 500
    assert cloud.has_normals() and cloud.has_colors()
    np.testing.assert_allclose(np.linalg.norm(np.asarray(cloud.normals), axis=1), 1.0, atol=1e-5)
    assert b"comment seed: 1\n" in paths[0].read_bytes()
    assert f"{paths[0]}: {len(cloud.points)} points, at least 0.0" in capsys.readouterr().out


def test_files_lie_in_the_run(copied_run: Path) -> None:
    ExportPointcloud(load_config=copied_run, num_points=50, resolution=16).main()
    assert (copied_run.parent / "pointclouds" / "points_seed0000.ply").is_file()


def test_nonsense_is_refused_before_any_work(tmp_path: Path) -> None:
    for settings in ({"num_points": 0}, {"resolution": 2}):
        with pytest.raises(UserError, match="give at least 1 and 16"):
            ExportPointcloud(load_config=tmp_path / "nowhere.yml", **settings).main()
