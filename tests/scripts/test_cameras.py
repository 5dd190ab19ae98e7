"""`gan3d cameras` and training with learned cameras, on a method that is not CAMPARI."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import pytest
import torch
from recorded_training import TrainedRun, train
from tiny_runs import tiny_config

from gan3d_ns.errors import UserError
from gan3d_ns.scripts.cameras import Cameras
from gan3d_ns.scripts.runs import load_run


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    settings: dict[str, Any] = {"pipeline.model.camera_law": "learned", "camera_release_step": 2, "steps_per_save": 1}
    folder = tmp_path_factory.mktemp("learned")
    config = tiny_config("gof-gan-tiny", folder, 3, **settings, save_only_latest_checkpoint=False)
    return train(config)


def test_the_adversarial_loss_reaches_the_camera_network(learned: TrainedRun) -> None:
    first, last = learned.checkpoint(1)["pipeline"], learned.checkpoint(2)["pipeline"]
    prefix = "_model.generator.camera_generator."
    weights = [name for name in first if name.startswith(prefix) and name.endswith((".weight", ".bias"))]
    assert weights and not any(torch.equal(first[name], last[name]) for name in weights)
    assert float(first[prefix + "released"]) == 0.0 and float(last[prefix + "released"]) == 1.0
    assert not torch.equal(last[weights[0]], last[weights[0].replace("generator.", "generator_ema.", 1)])


def test_pictures_are_taken_by_the_moved_cameras_of_the_given_prior(learned: TrainedRun) -> None:
    """Not of the law that was learned: it would be moved again and again."""
    pipeline, randomness = learned.trainer.pipeline, torch.Generator().manual_seed(0)
    generator = pipeline.model.generator
    with torch.no_grad():
        generator.camera_generator.fc_out.bias.add_(0.2)
    draw = pipeline.draw(4, 8, randomness)
    latents = torch.Generator().manual_seed(0)
    torch.randn(4, generator.field.latent_dim, generator=latents)
    expected = pipeline.model.cameras.drawn.sample(4, latents)
    assert torch.equal(draw.viewpoints.poses, expected)
    taken = pipeline.render(draw).poses
    torch.testing.assert_close(taken, generator.camera_generator(draw.viewpoints).poses)
    assert (taken - expected).abs().mean() > 0.05


def test_the_laws_are_written_beside_the_run(learned: TrainedRun) -> None:
    Cameras(learned.config_file, num=300).main()
    report = json.loads((learned.folder / "cameras.json").read_text())
    assert (report["method"], report["step"], report["truth"]) == ("gof-gan-tiny", 2, None)
    assert report["cameras"] == {"prior": 300, "learned": 300}
    assert imageio.imread(learned.folder / "cameras.png").ndim == 3
    with pytest.raises(UserError, match="are not known"):
        Cameras(learned.config_file, truth=learned.folder, num=300).main()


def test_fixed_cameras_have_a_law_too(tiny_run: Path, tmp_path: Path) -> None:
    Cameras(tiny_run, num=50, output=tmp_path / "laws.png").main()
    assert set(json.loads((tmp_path / "laws.json").read_text())["cameras"]) == {"prior"}


def test_impossible_wishes_are_refused_at_once() -> None:
    with pytest.raises(UserError, match="--num is 1"):
        Cameras(Path("nowhere"), num=1).main()
    with pytest.raises(UserError, match=r"name of a \.png"):
        Cameras(Path("nowhere"), output=Path("laws.jpg")).main()


def test_the_run_opens_with_its_cameras(learned: TrainedRun) -> None:
    _, pipeline, _ = load_run(learned.config_file)
    moved = pipeline.model.generator_ema.camera_generator
    assert moved is not None and float(moved.released) == 1.0
    assert pipeline.model.pose_prior.config.yaw_mean_deg != pipeline.model.config.pose_prior.yaw_mean_deg
