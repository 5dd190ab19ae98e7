"""A run of any registered method opens without its pictures and renders what nerfstudio asks of a model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from recorded_training import TrainedRun


@pytest.mark.parametrize("test_mode", ["test", "val", "inference"])
def test_opens_without_pictures(test_mode: Any, trained: TrainedRun, tmp_path: Path) -> None:
    from nerfstudio.utils.eval_utils import eval_setup

    def elsewhere(config: Any) -> Any:
        config.pipeline.datamanager.data = config.data = tmp_path / "gone"
        return config

    _, pipeline, checkpoint, step = eval_setup(
        trained.config_file, test_mode=test_mode, update_config_callback=elsewhere
    )
    assert step == 4
    assert checkpoint.exists()
    outputs = pipeline.model.get_outputs_for_camera(pipeline.datamanager.train_dataset.cameras[0:1])
    assert torch.isfinite(outputs["rgb"]).all()


def test_opens_from_a_copied_folder(trained: TrainedRun, tmp_path: Path) -> None:
    """Runs are copied between machines: only the paths in config.yml have to be right."""
    from nerfstudio.utils.eval_utils import eval_setup

    outputs = tmp_path / "elsewhere"
    copied = outputs / trained.folder.relative_to(trained.config.output_dir)
    shutil.copytree(trained.folder, copied)
    config = yaml.load((copied / "config.yml").read_text(), Loader=yaml.Loader)
    config.output_dir = outputs
    (copied / "config.yml").write_text(yaml.dump(config))
    _, pipeline, checkpoint, _ = eval_setup(copied / "config.yml")
    assert checkpoint.is_relative_to(outputs)
    assert set(pipeline.state_dict()) == set(trained.checkpoint(4)["pipeline"])


def test_the_best_checkpoint_opens_without_new_flags(trained: TrainedRun) -> None:
    """Measured after the last step, so that it is the same as the latest here."""
    from nerfstudio.utils.eval_utils import eval_setup

    from gan3d_ns.scripts.runs import load_run

    _, stock, checkpoint, step = eval_setup(trained.folder / "best.yml")
    assert (checkpoint.parent.name, step) == ("best_models", 4)
    ours = load_run(trained.folder / "best.yml")[1]
    for pipeline in (stock, ours):
        torch.testing.assert_close(dict(pipeline.state_dict()), trained.checkpoint(4)["pipeline"], rtol=0, atol=0)


def test_outputs_are_what_viewer_and_render_expect(pipeline: Any) -> None:
    camera = pipeline.datamanager.train_dataset.cameras[0:1]
    outputs = pipeline.model.get_outputs_for_camera(camera)
    assert next(iter(outputs)) == "rgb", "the viewer opens with the first output"
    assert {"depth", "accumulation", "normals"} <= outputs.keys()
    for name, picture in outputs.items():
        assert picture.shape[:2] == (32, 32), name
        assert picture.dtype == torch.float32, name
        assert torch.isfinite(picture).all(), name
        if name != "depth":
            assert picture.min() >= 0.0 and picture.max() <= 1.0, name
    prior = pipeline.model.bounds
    assert outputs["depth"].min() >= pipeline.model.config.pose_prior.near - 1e-4
    assert outputs["depth"].max() <= prior.farthest + 1e-4


def test_renders_the_same_twice(pipeline: Any) -> None:
    camera = pipeline.datamanager.train_dataset.cameras[1:2]
    first, second = (pipeline.model.get_outputs_for_camera(camera) for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_crop_box_hides_what_lies_outside(pipeline: Any) -> None:
    """The viewer's crop and ns-render's `crop` hand an oriented box to the model."""
    from nerfstudio.data.scene_box import OrientedBox

    box = OrientedBox(R=torch.eye(3), T=torch.tensor([5.0, 0.0, 0.0]), S=torch.full((3,), 0.01))
    outputs = pipeline.model.get_outputs_for_camera(pipeline.datamanager.train_dataset.cameras[0:1], obb_box=box)
    assert outputs["accumulation"].max() == 0
    assert outputs["surface_hit"].max() == 0


def test_seed_and_truncation_choose_the_object(trained: TrainedRun) -> None:
    """As the README says: config.yml decides what ns-render and ns-export show."""
    from nerfstudio.utils.eval_utils import eval_setup

    def picture(seed: int, truncation: float) -> torch.Tensor:
        def choose(config: Any) -> Any:
            config.pipeline.model.seed, config.pipeline.model.truncation = seed, truncation
            return config

        _, pipeline, _, _ = eval_setup(trained.config_file, test_mode="inference", update_config_callback=choose)
        return pipeline.model.get_outputs_for_camera(pipeline.model.pose_prior.cameras(centre(pipeline), 16))["rgb"]

    def centre(pipeline: Any) -> torch.Tensor:
        return pipeline.model.pose_prior.mean_pose()[None]

    assert not torch.equal(picture(0, 1.0), picture(1, 1.0))
    if trained.config.pipeline.model.field != "composite":  # its objects keep their places
        torch.testing.assert_close(picture(0, 0.0), picture(1, 0.0), atol=1e-4, rtol=1e-4)
