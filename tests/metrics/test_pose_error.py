"""Pose errors: known differences are measured as such, and a generator's turn is found and taken away."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ball_model import ball_model
from model_folders import write_wedges

from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS, poses_from_degrees
from gan3d_ns.data.model_collection import read_models, write_model_collection
from gan3d_ns.data.true_collection import TrueCollection
from gan3d_ns.data.truth_folders import open_truth
from gan3d_ns.errors import UserError
from gan3d_ns.metrics import pose_error, pose_regressor
from gan3d_ns.metrics.generated_views import Rendered, Views
from gan3d_ns.metrics.pose_error import (
    PosePairs,
    circular_mode,
    errors_after,
    measure_pose,
    offset_between,
    read_poses,
    yaw_offset,
)
from gan3d_ns.metrics.pose_regressor import PoseRegressor, TaughtRegressor, pose_errors
from gan3d_ns.metrics.records import Measured, Subject, as_json, from_json
from gan3d_ns.metrics.settings import PoseErrorConfig, PoseRegressorConfig

SIDE = 16
SETTINGS = PoseErrorConfig(
    num_generated=48, resolution=SIDE, regressor=PoseRegressorConfig(steps=300, batch=16, channels=8)
)


def random_poses(num: int) -> torch.Tensor:
    return POSE_PRIOR_PRESETS["procedural"].setup().sample(num, torch.Generator().manual_seed(3))


def shifted(poses: torch.Tensor, elevation_deg: float = 0.0, yaw_deg: float = 0.0) -> torch.Tensor:
    return poses + torch.deg2rad(torch.tensor([-elevation_deg, yaw_deg]))


def test_known_pose_errors() -> None:
    poses = random_poses(50)
    raised = pose_errors(poses, shifted(poses, elevation_deg=10.0))
    torch.testing.assert_close(raised.direction, torch.full((50,), 10.0), atol=1e-3, rtol=0)
    torch.testing.assert_close(raised.elevation, torch.full((50,), 10.0), atol=1e-3, rtol=0)
    assert raised.yaw.max() < 1e-3
    # On a circle of latitude, 2 asin(cos(elevation) sin(angle / 2)) is left of an angle.
    turned = pose_errors(poses, shifted(poses, yaw_deg=350.0))
    torch.testing.assert_close(turned.yaw, torch.full((50,), 10.0), atol=1e-3, rtol=0)
    chord = poses[:, 0].sin() * math.sin(math.radians(5.0))
    torch.testing.assert_close(turned.direction, torch.rad2deg(2 * chord.asin()), atol=1e-3, rtol=0)
    opposite = poses_from_degrees(torch.tensor([0.0, 180.0]), torch.zeros(2))
    assert pose_errors(opposite[:1], opposite[1:]).direction.item() == pytest.approx(180.0)


def test_the_offset_wraps_around_and_withstands_confusions() -> None:
    around_pi = torch.tensor([math.pi - 0.1, -math.pi + 0.1] * 30)
    found = circular_mode(around_pi)
    assert abs(abs(found.radians) - math.pi) < 0.01
    assert found.agreement == 1.0
    confused = torch.cat([around_pi, torch.zeros(40), around_pi + 6 * math.pi])
    found = circular_mode(confused)
    assert abs(abs(found.radians) - math.pi) < 0.01
    assert found.agreement == pytest.approx(120 / 160)
    evenly = torch.linspace(-math.pi, math.pi, 361)[1:]
    assert circular_mode(evenly).agreement == pytest.approx(1 / 6, abs=0.02)


def test_pictures_that_are_no_numbers_say_nothing_of_the_offset() -> None:
    broken = torch.full((30,), math.nan)
    found = circular_mode(torch.cat([torch.full((30,), 0.5), broken]))
    assert found.radians == pytest.approx(0.5, abs=1e-6) and found.agreement == 0.5
    poses = random_poses(4)
    taught = TaughtRegressor(PoseRegressor(8, 4), poses, poses, 5, "hash")
    pairs = PosePairs(poses, torch.full_like(poses, math.nan))
    assert math.isnan(offset_between(pairs).radians)
    records = pose_error.records_of(pairs, taught, POSE_PRIOR_PRESETS["procedural"], PoseErrorConfig(num_generated=4))
    for record in records:
        assert math.isnan(record.value) and record.protocol["yaw_offset_deg"] is None
    text = as_json([Measured(Subject("m", "d", "r", 0), records)])
    assert math.isnan(from_json(text, "text")[0].records[0].value)


def test_a_turn_of_all_pictures_is_an_offset_and_not_an_error() -> None:
    true = random_poses(200)
    pairs = PosePairs(sampled=shifted(true, yaw_deg=200.0), estimated=true)
    offset = offset_between(pairs)
    assert math.degrees(offset.radians) == pytest.approx(-160.0, abs=0.01)
    assert errors_after(pairs, offset).direction.max() < 0.05


def test_a_stand_in_estimator_off_by_ten_degrees(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole measurement around an estimator that knows the poses, and says each 10 degrees too high."""
    model, settings = ball_model(), PoseErrorConfig(num_generated=20, resolution=8)
    expected = pose_error.draw_views(model, 20, settings.seed).poses
    answers = iter(shifted(expected, elevation_deg=10.0, yaw_deg=-40.0))
    pairs = read_poses(model, lambda pictures: next(answers)[None], settings)
    taught = TaughtRegressor(PoseRegressor(8, 4), expected[:5], shifted(expected[:5], elevation_deg=2.0), 5, "hash")
    records = pose_error.records_of(pairs, taught, model.pose_prior.config, settings)
    values = {record.metric: record for record in records}
    assert values["pose_error"].value == pytest.approx(10.0, abs=0.01)
    assert values["pose_error_median"].value == pytest.approx(10.0, abs=0.01)
    assert values["pose_error"].floor == pytest.approx(2.0, abs=0.01)
    assert values["yaw_error"].value == pytest.approx(0.0, abs=0.01)
    assert values["elevation_error"].value == pytest.approx(10.0, abs=0.01)
    assert values["pose_error"].protocol["yaw_offset_deg"] == pytest.approx(40.0, abs=0.01)
    assert values["pose_error"].protocol["agreement_within_30_deg"] == 1.0


@pytest.fixture(scope="module")
def wedges(tmp_path_factory: pytest.TempPathFactory) -> TrueCollection:
    folder = tmp_path_factory.mktemp("wedges")
    write_model_collection(
        folder, read_models(write_wedges(folder / ".given")), num_images=240, resolution=SIDE, seed=0
    )
    return open_truth(folder)


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN3D_CACHE", str(folder))
        yield folder


def turned_world(truth: TrueCollection, turn: float) -> Any:
    """In place of the generator: true objects, turned about +y so that model yaw = true yaw + turn."""

    def render(_: object, views: Views, resolution: int, *__: object) -> Iterator[Rendered]:
        for index, pose in enumerate(views.poses):
            view = truth.view(index, resolution, pose - torch.tensor([0.0, turn]))
            yield Rendered(view.rgb[None], view.depth[None], view.mask[None])

    return render


def test_poses_are_learnt_and_a_known_turn_is_found(
    wedges: TrueCollection, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught = pose_regressor.pose_regressor(wedges, SIDE, SETTINGS.regressor)
    assert len(taught.held_out) == 36 and taught.num_taught == 204
    # A guess would be off by 90 degrees in yaw, and by 12 in elevation.
    assert taught.floor.yaw.median() < 12
    assert taught.floor.elevation.median() < 6
    model = ball_model()
    monkeypatch.setattr(pose_error, "render_views", turned_world(wedges, math.radians(100.0)))
    offset = yaw_offset(model, wedges, SETTINGS)
    assert math.degrees(offset.radians) == pytest.approx(100.0, abs=6.0)
    assert offset.agreement > 0.75
    records = measure_pose(model, wedges, SETTINGS)
    assert records == measure_pose(model, wedges, SETTINGS)
    assert records[0].protocol["truth"] == wedges.folder.name and records[0].protocol["truth_objects"] == 2
    assert records[1].metric == "pose_error_median"
    assert records[1].floor is not None
    assert records[1].value < records[1].floor + 5.0


def test_the_cache_holds_the_same_network(
    wedges: TrueCollection, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = PoseRegressorConfig(steps=3, batch=4, channels=4)
    first = pose_regressor.pose_regressor(wedges, SIDE, quick)
    path = own_cache / "pose_regressors" / f"{first.sha256}.safetensors"
    path.write_bytes(b"damaged")
    again = pose_regressor.pose_regressor(wedges, SIDE, quick)
    assert torch.equal(first.estimated, again.estimated)

    def no_teaching(*_: object) -> None:
        raise AssertionError("taught again")

    monkeypatch.setattr(pose_regressor, "teach", no_teaching)
    assert torch.equal(pose_regressor.pose_regressor(wedges, SIDE, quick).estimated, first.estimated)
    with pytest.raises(AssertionError, match="taught again"):
        pose_regressor.pose_regressor(wedges, SIDE, PoseRegressorConfig(steps=3, batch=4, channels=4, seed=1))
    assert [file for file in path.parent.iterdir() if "partial" in file.name] == []


def test_mirrored_pictures_have_mirrored_poses() -> None:
    network = PoseRegressor(SIDE, 4)
    pictures = torch.rand(5, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    plain, mirrored = network.estimate(pictures), network.estimate(pictures.flip(-1))
    torch.testing.assert_close(plain[:, 0], mirrored[:, 0])
    sums = plain[:, 1] + mirrored[:, 1] - torch.pi
    assert torch.atan2(sums.sin(), sums.cos()).abs().max() < 1e-5


def test_refusals(wedges: TrueCollection, tmp_path: Path) -> None:
    few = tmp_path / "few"
    few.mkdir()
    write_model_collection(few, read_models(write_wedges(tmp_path / "models")), num_images=4, resolution=8, seed=0)
    with pytest.raises(UserError, match="holds 4 pictures; poses can be learnt from 64 or more"):
        pose_regressor.pose_regressor(open_truth(few), 8, PoseRegressorConfig())
    with pytest.raises(UserError, match=f"holds pictures of {SIDE} pixels, .* pictures of {SIDE + 1}; lower"):
        pose_regressor.pose_regressor(wedges, SIDE + 1, PoseRegressorConfig())
    with pytest.raises(UserError, match="held_out"):
        PoseRegressorConfig(held_out=1.0)
    with pytest.raises(UserError, match="multiple of 4"):
        PoseRegressorConfig(channels=6)
    with pytest.raises(UserError, match="8 pixels"):
        PoseRegressor(4, 4)
    with pytest.raises(UserError, match="2 pictures or more"):
        PoseErrorConfig(num_generated=1)
