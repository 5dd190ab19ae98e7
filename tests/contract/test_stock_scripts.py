"""nerfstudio's own commands open a run of every registered method and write files that say something."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
import trimesh
from opened_viewer import connected, opened_viewer
from recorded_training import TrainedRun

from gan3d_ns.errors import user_sentence

SMALL_POINTS = {"num_points": 800, "num_rays_per_batch": 512, "remove_outliers": False}
SLACK = 0.02
"""Of the box: TSDF voxels and Poisson surfaces stand a little off the points that they were made of."""


@pytest.fixture(autouse=True)
def linked_ffmpeg(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the README says: ns-render looks for a program named ffmpeg, and imageio-ffmpeg's will do."""
    import imageio_ffmpeg

    folder = tmp_path_factory.mktemp("bin")
    (folder / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def box_of(pipeline: Any) -> np.ndarray:
    return pipeline.datamanager.train_dataset.scene_box.aabb.numpy()


def assert_inside(points: np.ndarray, pipeline: Any, slack: float = SLACK) -> None:
    low, high = box_of(pipeline)
    assert len(points) > 0
    assert np.isfinite(points).all()
    assert (points >= low - slack).all() and (points <= high + slack).all(), (points.min(0), points.max(0))


def assert_is_a_picture(path: Path, height: int, width: int) -> None:
    """Right size, and neither black nor one colour."""
    picture = imageio.imread(path)
    assert picture.shape[:2] == (height, width)
    assert np.ptp(picture[..., :3]) > 10, f"{path} is of one colour"


def camera_path_file(folder: Path, frames: int, side: int) -> Path:
    """What the viewer's render panel saves: cameras on a way around the object and off, as row-major matrices."""
    cameras = []
    for index in range(frames):
        yaw = 0.3 * index
        right, backward = (math.cos(yaw), 0.0, -math.sin(yaw)), (math.sin(yaw), 0.0, math.cos(yaw))
        matrix = np.eye(4)
        matrix[:3, 0], matrix[:3, 1], matrix[:3, 2] = right, (0.0, 1.0, 0.0), backward
        matrix[:3, 3] = (1.0 + 0.1 * index) * np.array(backward)
        cameras.append({"camera_to_world": matrix.flatten().tolist(), "fov": 14.0, "aspect": 1.0})
    path = {"camera_type": "perspective", "render_height": side, "render_width": side, "seconds": 1.0, "fps": frames}
    file = folder / "camera_path.json"
    file.write_text(json.dumps({**path, "camera_path": cameras}))
    return file


def test_render_camera_path(trained: TrainedRun, tmp_path: Path) -> None:
    from nerfstudio.scripts.render import RenderCameraPath

    RenderCameraPath(
        load_config=trained.config_file,
        camera_path_filename=camera_path_file(tmp_path, frames=2, side=16),
        output_path=tmp_path / "frames",
        output_format="images",
        rendered_output_names=["rgb", "depth", "normals", "accumulation"],
    ).main()
    frames = sorted((tmp_path / "frames").iterdir())
    assert len(frames) == 2
    for frame in frames:
        assert_is_a_picture(frame, 16, 4 * 16)


def test_render_interpolated(trained: TrainedRun, tmp_path: Path) -> None:
    from nerfstudio.scripts.render import RenderInterpolated

    RenderInterpolated(
        load_config=trained.config_file,
        output_path=tmp_path / "frames",
        output_format="images",
        image_format="png",
        interpolation_steps=1,
        rendered_output_names=["rgba"],
    ).main()
    frames = sorted((tmp_path / "frames").iterdir())
    assert frames
    picture = imageio.imread(frames[0])
    assert picture.shape == (32, 32, 4)
    assert np.ptp(picture[..., 3]) > 10, "alpha tells the object from the background"


def assert_is_a_film(path: Path, num_frames: int, height: int, width: int) -> None:
    """Right size and length, and the camera moves."""
    import av

    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    assert len(frames) == num_frames
    assert all(frame.shape == (height, width, 3) for frame in frames)
    assert np.ptp(frames[0]) > 10
    assert any(np.abs(frame - frames[0]).max() > 10 for frame in frames)


def test_render_a_camera_path_to_a_film(trained: TrainedRun, tmp_path: Path) -> None:
    from nerfstudio.scripts.render import RenderCameraPath

    RenderCameraPath(
        load_config=trained.config_file,
        camera_path_filename=camera_path_file(tmp_path, frames=3, side=16),
        output_path=tmp_path / "film.mp4",
        rendered_output_names=["rgb", "depth"],
    ).main()
    assert_is_a_film(tmp_path / "film.mp4", 3, 16, 2 * 16)


def test_render_a_spiral_to_a_film(trained: TrainedRun, tmp_path: Path) -> None:
    from nerfstudio.scripts.render import SpiralRender

    SpiralRender(load_config=trained.config_file, output_path=tmp_path / "film.mp4", seconds=0.5, frame_rate=6).main()
    assert_is_a_film(tmp_path / "film.mp4", 3, 32, 32)


def test_render_dataset(trained: TrainedRun, tmp_path: Path) -> None:
    """The object from the virtual views; the pictures beside it are the grey of views that nobody took."""
    from nerfstudio.scripts.render import DatasetRender

    DatasetRender(
        load_config=trained.config_file,
        output_path=tmp_path,
        image_format="png",
        rendered_output_names=["rgb", "raw-depth", "gt-rgb"],
    ).main()
    views = trained.config.pipeline.datamanager.dataparser.num_virtual_views
    pictures = sorted((tmp_path / "test" / "rgb").iterdir())
    assert len(pictures) == len(list((tmp_path / "test" / "raw-depth").iterdir())) == views
    for picture in pictures:
        assert_is_a_picture(picture, 32, 32)
    assert np.ptp(imageio.imread(tmp_path / "test" / "gt-rgb" / pictures[0].name)) == 0


def test_eval(trained: TrainedRun, tmp_path: Path) -> None:
    from nerfstudio.scripts.eval import ComputePSNR

    file, pictures = tmp_path / "results.json", tmp_path / "pictures"
    ComputePSNR(load_config=trained.config_file, output_path=file, render_output_path=pictures).main()
    results = json.loads(file.read_text())
    assert results["method_name"] == trained.config.method_name
    assert all(math.isfinite(value) for value in results["results"].values())
    assert len(list(pictures.iterdir())) == trained.config.pipeline.datamanager.dataparser.num_virtual_views


@pytest.mark.parametrize("normal_method", ["model_output", "open3d"])
def test_export_point_cloud(normal_method: Any, trained: TrainedRun, pipeline: Any, tmp_path: Path) -> None:
    import open3d
    from nerfstudio.scripts.exporter import ExportPointCloud

    ExportPointCloud(trained.config_file, tmp_path, normal_method=normal_method, **SMALL_POINTS).main()
    cloud = open3d.io.read_point_cloud(str(tmp_path / "point_cloud.ply"))
    assert_inside(np.asarray(cloud.points), pipeline, slack=1e-4)
    assert np.asarray(cloud.colors).shape == np.asarray(cloud.points).shape
    assert np.ptp(np.asarray(cloud.colors)) > 0.02
    lengths = np.linalg.norm(np.asarray(cloud.normals), axis=1)
    np.testing.assert_allclose(lengths, 1.0, atol=1e-2)
    outward = (np.asarray(cloud.normals) * np.asarray(cloud.points)).sum(axis=1)
    assert (outward > 0).mean() > 0.7, "the first surface is a ball: its normals point away from its centre"


def test_export_tsdf(trained: TrainedRun, pipeline: Any, tmp_path: Path) -> None:
    from nerfstudio.scripts.exporter import ExportTSDFMesh

    low, high = (tuple(side) for side in box_of(pipeline).tolist())
    ExportTSDFMesh(
        trained.config_file,
        tmp_path,
        downscale_factor=1,
        resolution=[24, 24, 24],
        bounding_box_min=low,
        bounding_box_max=high,
        texture_method="nerf",
        num_pixels_per_side=64,
    ).main()
    raw = trimesh.load(tmp_path / "tsdf_mesh.ply")
    textured = trimesh.load(tmp_path / "mesh.obj", process=False)
    for mesh in (raw, textured):
        assert isinstance(mesh, trimesh.Trimesh)
        assert len(mesh.faces) > 20
        assert_inside(mesh.vertices, pipeline)
    assert_is_a_picture(tmp_path / "material_0.png", 64, 64)


def test_export_poisson(trained: TrainedRun, pipeline: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import open3d
    from nerfstudio.scripts.exporter import ExportPoissonMesh

    reconstruct = open3d.geometry.TriangleMesh.create_from_point_cloud_poisson
    mesh_class = open3d.geometry.TriangleMesh
    # Many threads on few cores wait for each other: the same surface takes a hundred times as long.
    monkeypatch.setattr(
        mesh_class, "create_from_point_cloud_poisson", lambda cloud, depth: reconstruct(cloud, depth=depth, n_threads=1)
    )
    ExportPoissonMesh(
        trained.config_file, tmp_path, texture_method="point_cloud", save_point_cloud=True, **SMALL_POINTS
    ).main()
    mesh = open3d.io.read_triangle_mesh(str(tmp_path / "poisson_mesh.ply"))
    assert len(mesh.triangles) > 20
    assert_inside(np.asarray(mesh.vertices), pipeline, slack=0.05)
    assert (tmp_path / "point_cloud.ply").stat().st_size > 0


def test_export_cameras(trained: TrainedRun, tmp_path: Path) -> None:
    from nerfstudio.scripts.exporter import ExportCameraPoses

    ExportCameraPoses(trained.config_file, tmp_path).main()
    for name in ("transforms_train.json", "transforms_eval.json"):
        frames = json.loads((tmp_path / name).read_text())
        assert len(frames) == trained.config.pipeline.datamanager.dataparser.num_virtual_views
        positions = np.array([frame["transform"] for frame in frames])[:, :3, 3]
        radius = trained.config.pipeline.model.pose_prior.radius
        np.testing.assert_allclose(np.linalg.norm(positions, axis=1), radius, rtol=1e-3)


def test_texture_one_of_our_meshes(trained: TrainedRun, tmp_path: Path) -> None:
    """`python -m nerfstudio.scripts.texture`, for which nerfstudio has no command."""
    from nerfstudio.scripts.texture import TextureMesh

    from gan3d_ns.scripts.export_mesh import ExportMesh

    ExportMesh(load_config=trained.config_file, resolution=12, output_dir=tmp_path).main()
    (file,) = tmp_path.glob("*.glb")
    textured = tmp_path / "textured"
    TextureMesh(trained.config_file, textured, file, unwrap_method="custom", target_num_faces=200).main()
    mesh = trimesh.load(textured / "mesh.obj", process=False)
    assert isinstance(mesh, trimesh.Trimesh)
    assert len(mesh.faces) > 20
    picture = imageio.imread(textured / "material_0.png")
    assert np.ptp(picture) > 10


def test_export_gaussian_splat_names_our_command(trained: TrainedRun, tmp_path: Path) -> None:
    from nerfstudio.scripts.exporter import ExportGaussianSplat

    with pytest.raises(AssertionError) as caught:
        ExportGaussianSplat(trained.config_file, tmp_path).main()
    sentence = user_sentence(caught.value)
    assert sentence is not None
    assert f"gan3d export splats --load-config {trained.config_file}" in sentence


@pytest.mark.skipif(torch.cuda.is_available(), reason="with CUDA it works, and takes long")
def test_export_marching_cubes_names_our_command(
    trained: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what nerfstudio does after it has laid out a lattice of 512^3 points for half a minute."""
    from nerfstudio.scripts import exporter

    monkeypatch.setattr(exporter, "generate_mesh_with_multires_marching_cubes", lambda *_, **__: torch.zeros(1).cuda())
    with pytest.raises((RuntimeError, AssertionError)) as caught:
        exporter.ExportMarchingCubesMesh(trained.config_file, tmp_path).main()
    sentence = user_sentence(caught.value)
    assert sentence is not None
    assert f"gan3d export mesh --load-config {trained.config_file}" in sentence


def test_viewer(pipeline: Any, tmp_path: Path) -> None:
    """`ns-viewer` opens the run, and a browser gets pictures."""
    side = 32
    with opened_viewer(tmp_path, side, pipeline) as opened, connected(opened.port) as client:
        picture = client.picture(side)
        assert picture.shape == (side, side, 3)
        assert np.ptp(picture) > 0.01, "of one colour"
        assert client.entry("Seed")
