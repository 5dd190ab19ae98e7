"""Collections of photographed models: pictures show them where they are, in their colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from model_folders import HALF_SIDES, coloured_box, write_two_models
from PIL import Image
from ray_hits import first_hits

from gan3d_ns.cameras.pose_prior import poses_from_degrees
from gan3d_ns.data import model_rendering
from gan3d_ns.data.image_collection import ImageCollectionConfig
from gan3d_ns.data.model_collection import ModelTruth, models_hash, read_models, write_model_collection
from gan3d_ns.data.model_files import UnusableModel, from_bytes, placed, read_model
from gan3d_ns.data.procedural_cars import FIT_RADIUS
from gan3d_ns.data.true_collection import TrueCollection
from gan3d_ns.data.truth_folders import open_truth
from gan3d_ns.errors import UserError

SIDE = 48
BOX, SQUARE = 0, 1


def pose(yaw_deg: float, elevation_deg: float = 0.0) -> torch.Tensor:
    return poses_from_degrees(torch.tensor(yaw_deg), torch.tensor(elevation_deg))


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> TrueCollection:
    models = write_two_models(tmp_path_factory.mktemp("given") / "models")
    made = tmp_path_factory.mktemp("made")
    write_model_collection(made, read_models(models), num_images=5, resolution=16, seed=0)
    # The models are not needed any more.
    for file in models.rglob("*.glb"):
        file.unlink()
    return open_truth(made)


def test_the_folder_is_a_true_collection(truth: TrueCollection) -> None:
    assert isinstance(truth, TrueCollection)
    assert isinstance(truth, ModelTruth)
    assert truth.names == ["a_box.glb", "more/b_square.glb"]
    assert truth.num_objects == 2
    assert [truth.object_of(index) for index in range(len(truth))] == [0, 1, 0, 1, 0]


def test_the_folder_is_an_image_collection(truth: TrueCollection) -> None:
    collection = ImageCollectionConfig().setup(source=truth.folder, resolution=16)
    assert len(collection) == len(truth)
    for index in range(len(truth)):
        shown = truth.view(index, 16).rgb
        torch.testing.assert_close(collection.images[index] / 255.0, shown, atol=0.51 / 255, rtol=0)


@pytest.mark.parametrize("view_pose", [pose(0.0), pose(50.0, 30.0), pose(-120.0, 10.0)])
def test_the_silhouette_is_that_of_the_box(truth: TrueCollection, view_pose: torch.Tensor) -> None:
    """Against the distance of a box by its six planes; it stands centred with its corners at the fit radius."""
    half = torch.tensor(HALF_SIDES * FIT_RADIUS / np.linalg.norm(HALF_SIDES), dtype=torch.float32)
    rays = truth.prior.rays(view_pose[None], SIDE)
    bounds = [(sign * half - rays.origins[0]) / rays.directions[0] for sign in (-1, 1)]
    enters = torch.minimum(*bounds).amax(dim=-1)
    leaves = torch.maximum(*bounds).amin(dim=-1)
    view = truth.view(BOX, SIDE, view_pose)
    clear = (enters - leaves).abs() > 1e-4
    assert clear.float().mean() > 0.95
    assert torch.equal(view.mask.flatten()[clear], (enters < leaves)[clear])
    hit = view.mask.flatten() & clear
    assert 0.1 < hit.float().mean() < 0.9
    torch.testing.assert_close(view.depth.flatten()[hit], enters[hit], atol=1e-5, rtol=0)


def test_plus_x_is_on_the_right_of_the_frontal_view(truth: TrueCollection) -> None:
    red, green, blue = truth.view(BOX, SIDE, pose(0.0)).rgb
    assert (green[SIDE // 2] < 0.05).sum() > SIDE / 2
    right, left = (SIDE // 2, 5 * SIDE // 8), (SIDE // 2, 3 * SIDE // 8)
    assert red[right] > 0.4 and blue[right] < 0.05
    assert blue[left] > 0.4 and red[left] < 0.05
    behind = truth.view(BOX, SIDE, pose(180.0)).rgb
    assert behind[0][left] > 0.3 and behind[2][left] < 0.05


def test_the_frontal_view_sees_what_faces_plus_z_upright(truth: TrueCollection) -> None:
    front, back = (truth.view(SQUARE, SIDE, pose(yaw_deg)).rgb for yaw_deg in (0.0, 180.0))
    above, below, left, right = 3 * SIDE // 8, 5 * SIDE // 8, 3 * SIDE // 8, 5 * SIDE // 8
    assert front[1, above, left] > 0.5 and front[0, above, left] < 0.05
    for place in ((above, right), (below, left), (below, right)):
        assert front[(slice(None), *place)].min() > 0.5
        assert front[(slice(None), *place)].max() < 0.999
    assert back[:, above, left].max() < 0.02


@pytest.mark.parametrize("index", [BOX, SQUARE])
def test_depth_normals_and_mesh_of_a_model_agree(truth: TrueCollection, index: int) -> None:
    view_pose = pose(35.0, 25.0)
    view = truth.view(index, SIDE, view_pose)
    rays = truth.prior.rays(view_pose[None], SIDE)
    distances, normals = first_hits(truth.mesh(truth.object_of(index)), rays.origins[0], rays.directions[0])
    seen = view.mask.flatten()
    assert torch.equal(seen, distances.isfinite())
    torch.testing.assert_close(view.depth.flatten()[seen], distances[seen])
    own = view.normals.view(-1, 3)
    assert ((own * normals).sum(dim=-1)[seen].abs() > 0.9999).all()
    assert ((own * rays.directions[0]).sum(dim=-1)[seen] < 0).all()
    assert (own[~seen] == 0).all()
    assert (view.depth.flatten()[~seen] == truth.prior.config.far).all()


def test_what_no_camera_sees_is_not_in_the_mesh(truth: TrueCollection) -> None:
    # A square of two faces and a box of twelve; the twelve of the inner box are hidden.
    assert len(truth.mesh(SQUARE).faces) == 14


def test_hidden_faces_are_the_same_in_small_lots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = read_models(write_two_models(tmp_path / "models"))["more/b_square.glb"]
    scene, largest = model_rendering.ModelScene(model), 0
    cast = scene.cast

    def counted(origins: torch.Tensor, directions: torch.Tensor) -> model_rendering.Hits:
        nonlocal largest
        largest = max(largest, len(origins))
        return cast(origins, directions)

    monkeypatch.setattr(scene, "cast", counted)
    at_once = model_rendering.faces_in_sight(scene)
    assert at_once.sum() == 14 and len(at_once) == 26
    assert largest == 26 * model_rendering.ESCAPES
    largest = 0
    monkeypatch.setattr(model_rendering, "FACES_AT_ONCE", 5)
    np.testing.assert_array_equal(model_rendering.faces_in_sight(scene), at_once)
    assert largest == 5 * model_rendering.ESCAPES


def test_faces_shrunk_to_a_point_are_no_model(tmp_path: Path) -> None:
    """Vertices that no face uses do not give it an extent."""
    vertices = ["1 2 3", "1 2 3", "1 2 3", "0 0 0", "9 9 9"]
    (tmp_path / "point.off").write_text("\n".join(["OFF", "5 1 0", *vertices, "3 0 1 2", ""]))
    with pytest.raises(UnusableModel, match="no extent"):
        read_model(tmp_path / "point.off")


def test_models_are_turned_upright_and_to_the_front(tmp_path: Path) -> None:
    nose = trimesh.creation.box((0.2, 0.2, 0.2)).apply_translation([0, 0, 1])
    body = trimesh.creation.box((1, 1, 1))
    path = tmp_path / "nosed.ply"
    trimesh.util.concatenate([body, nose]).export(path)
    model = read_model(path)
    for turned, axis in ((placed(model), 2), (placed(model, yaw_deg=90.0), 0), (placed(model, z_up=True), 1)):
        extents = np.ptp(turned.vertices, axis=0)
        assert extents.argmax() == axis
        tip = turned.vertices[turned.vertices[:, axis].argmax()]
        assert np.abs(np.delete(tip, axis)).max() < 0.11 * extents[axis]
        assert np.linalg.norm(turned.vertices, axis=1).max() == pytest.approx(FIT_RADIUS)
        middle = (turned.vertices.max(axis=0) + turned.vertices.min(axis=0)) / 2
        np.testing.assert_allclose(middle, 0, atol=1e-6)


def test_vertex_colours_of_ply_are_kept(tmp_path: Path) -> None:
    box = trimesh.creation.box((1, 1, 1))
    box.visual = trimesh.visual.ColorVisuals(box, vertex_colors=np.tile([255, 102, 0, 255], (8, 1)))
    box.export(tmp_path / "box.ply")
    np.testing.assert_allclose(read_model(tmp_path / "box.ply").colours[0, 0], [1.0, 0.4, 0.0], atol=1e-6)


def test_gltf_colours_are_linear(tmp_path: Path) -> None:
    coloured_box((1, 1, 1), (255, 55, 0)).export(tmp_path / "box.glb")
    # IEC 61966-2-1: 55 / 255 = 0.2157 of linear light is 0.502.
    np.testing.assert_allclose(read_model(tmp_path / "box.glb").colours[0, 0], [1.0, 0.502, 0.0], atol=2e-3)
    assert from_bytes(np.array([255, 0]), linear=True).tolist() == pytest.approx([1.0, 0.0])


def test_the_same_models_give_the_same_files(tmp_path: Path) -> None:
    models = read_models(write_two_models(tmp_path / "models"))
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
        write_model_collection(folder, models, num_images=3, resolution=8, seed=4)
    for picture in folders[0].glob("*.png"):
        other = np.array(Image.open(folders[1] / picture.name))
        np.testing.assert_array_equal(np.array(Image.open(picture)), other)
    first, second = (ModelTruth(folder) for folder in folders)
    assert torch.equal(first.poses, second.poses)
    assert first.models_sha256 == second.models_sha256 == models_hash(models)
    turned = read_models(tmp_path / "models", yaw_deg=90.0)
    assert models_hash(turned) != first.models_sha256


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        read_models(tmp_path / "none")
    with pytest.raises(UserError, match=r"\.glb, \.gltf"):
        read_models(tmp_path)
    coloured_box((1, 1, 1), (255, 0, 0)).export(tmp_path / "good.glb")
    (tmp_path / "bad.glb").write_bytes(b"not a model")
    (tmp_path / "empty.obj").write_text("# nothing\n")
    with pytest.raises(UserError, match="holds 1 usable 3D models of 3"):
        read_models(tmp_path)
    printed = capsys.readouterr().out
    assert "bad.glb is left out: it cannot be read" in printed
    assert "empty.obj is left out" in printed
    with pytest.raises(UnusableModel):
        read_model(tmp_path / "bad.glb")
    models = read_models(write_two_models(tmp_path / "models"))
    with pytest.raises(UserError, match="make no collection"):
        write_model_collection(tmp_path, models, num_images=1, resolution=16, seed=0)


def test_damaged_truth_is_refused(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "truth.npz").write_bytes(b"damaged")
    with pytest.raises(UserError, match="is not a collection of models"):
        open_truth(tmp_path)
