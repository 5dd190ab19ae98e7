"""`gan3d collection`: folders to train on and to measure with."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from model_folders import write_two_models

from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS, PosePriorConfig
from gan3d_ns.data.procedural import ProceduralTruth
from gan3d_ns.data.procedural_scenes import SceneTruth
from gan3d_ns.data.true_collection import TrueCollection
from gan3d_ns.data.truth_folders import open_truth
from gan3d_ns.errors import UserError
from gan3d_ns.scripts.camera_law import CameraLaw
from gan3d_ns.scripts.main import main

SMALL = ["--num-images", "4", "--resolution", "16"]


def test_toy_cars(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "my cars"
    output.mkdir()
    main(["collection", "toy-cars", "--output", str(output), "--seed", "5", *SMALL])
    truth = open_truth(output)
    assert isinstance(truth, TrueCollection)
    assert len(list(output.glob("*.png"))) == len(truth) == 4
    printed = capsys.readouterr().out
    assert f"ns-train gof-gan-tiny --data '{output}' --preset procedural" in printed


def test_models_turned(tmp_path: Path) -> None:
    models = write_two_models(tmp_path / "models")
    command = ["collection", "models", "--models", str(models), *SMALL]
    main([*command, "--output", str(tmp_path / "plain")])
    main([*command, "--output", str(tmp_path / "turned"), "--yaw-deg", "90"])
    plain, turned = (open_truth(tmp_path / name).mesh(0).vertices for name in ("plain", "turned"))
    # From +z towards +x.
    assert turned[:, 0].max() == pytest.approx(plain[:, 2].max().item(), rel=1e-4)
    assert turned[:, 2].max() == pytest.approx(plain[:, 0].max().item(), rel=1e-4)


def test_scenes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "scenes"
    main(["collection", "scenes", "--output", str(output), "--objects", "3", "3", *SMALL])
    truth = open_truth(output)
    assert isinstance(truth, SceneTruth)
    assert [len(truth.objects(index)) for index in range(4)] == [3, 3, 3, 3]
    assert truth.prior.config == POSE_PRIOR_PRESETS["scenes"]
    assert "--preset scenes" in capsys.readouterr().out
    for wrong in (["0", "2"], ["4", "2"], ["2", "70"]):
        with pytest.raises(UserError, match="objects cannot be made"):
            main(["collection", "scenes", "--output", str(tmp_path / "none"), "--objects", *wrong, *SMALL])


def test_cameras_of_ones_choice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    law = ["--cameras.distribution", "gaussian", "--cameras.elevation-mean-deg", "20", "--cameras.yaw-spread-deg", "35"]
    main(["collection", "toy-cars", "--output", str(tmp_path / "cars"), *law, *SMALL])
    truth = open_truth(tmp_path / "cars")
    assert isinstance(truth, ProceduralTruth)
    changes = {"distribution": "gaussian", "elevation_mean_deg": 20.0, "yaw_spread_deg": 35.0}
    assert truth.prior.config == dataclasses.replace(POSE_PRIOR_PRESETS["procedural"], **changes)
    # The command that is proposed trains with the same cameras.
    printed = capsys.readouterr().out
    assert "--preset procedural" in printed
    for flag in law:
        assert flag.replace("--cameras", "--pipeline.model.pose-prior") in printed
    with pytest.raises(UserError, match="cut off what is to be seen"):
        main(["collection", "toy-cars", "--output", str(tmp_path / "x"), "--cameras.radius", "2", *SMALL])
    with pytest.raises(UserError, match="fov_deg is 200"):
        main(["collection", "scenes", "--output", str(tmp_path / "x"), "--cameras.fov-deg", "200", *SMALL])
    assert not (tmp_path / "x").exists()


def test_every_number_of_the_law_has_a_flag() -> None:
    # All pictures of a collection have one field of view.
    fields = {one.name for one in dataclasses.fields(PosePriorConfig)} - {"_target", "fov_std_deg"}
    assert {one.name for one in dataclasses.fields(CameraLaw)} == fields


def test_what_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="exists already and is left as it is"):
        main(["collection", "toy-cars", "--output", str(tmp_path), *SMALL])
    with pytest.raises(UserError, match="exists already and is left as it is"):
        main(["collection", "toy-cars", "--output", str(tmp_path / "mine.txt"), *SMALL])
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.txt"]


def test_a_failed_collection_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no 3D models"):
        main(["collection", "models", "--models", str(tmp_path / "empty"), "--output", str(tmp_path / "x"), *SMALL])
    assert not (tmp_path / "x").exists()
    with pytest.raises(UserError, match="1 images at 16 pixels make no collection"):
        main(["collection", "toy-cars", "--output", str(tmp_path / "y"), "--num-images", "1", "--resolution", "16"])
    assert not (tmp_path / "y").exists()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        main(["collection", "toy-cars", "--output", str(tmp_path / "file" / "below"), *SMALL])
