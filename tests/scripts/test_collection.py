"""`gan3d collection`: folders to train on and to measure with."""

from __future__ import annotations

from pathlib import Path

import pytest
from model_folders import write_two_models

from gan3d_ns.data.true_collection import TrueCollection
from gan3d_ns.data.truth_folders import open_truth
from gan3d_ns.errors import UserError
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
