"""Training with the prior grid: saved, resumed exactly, and switched on or off in mid-run."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from recorded_training import TrainedRun, train
from tiny_runs import tiny_config

GRID = {
    "pipeline.model.prior_grid.enabled": True,
    "pipeline.model.prior_grid.resolution": 12,
    "pipeline.model.prior_grid.update_interval": 1,
    "pipeline.model.prior_grid.warmup_steps": 2,
    "save_only_latest_checkpoint": False,
    "steps_per_save": 2,
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    return train(tiny_config("gof-gan-tiny", tmp_path_factory.mktemp("grid"), steps=5, **GRID))


def resumed(run: TrainedRun, timestamp: str, **settings: Any) -> TrainedRun:
    config = copy.deepcopy(run.config)
    config.timestamp, config.max_num_iterations = timestamp, 2
    config.load_dir, config.load_step = run.config.get_checkpoint_dir(), 2
    for name, value in settings.items():
        setattr(config.pipeline.model.prior_grid, name, value)
    return train(config)


def test_the_grid_is_measured_and_used_after_its_warm_up(trained: TrainedRun) -> None:
    model = trained.trainer.pipeline.model
    assert model.prior_grid.num_updates == 5
    assert model.training_grid() is model.prior_grid
    assert 0.0 < model.prior_grid.occupied_fraction < 1.0


def test_resuming_with_a_grid_equals_never_having_stopped(trained: TrainedRun) -> None:
    again = resumed(trained, "again")
    for step in (3, 4):
        torch.testing.assert_close(again.losses[step], trained.losses[step], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(again.checkpoint(4)["pipeline"], trained.checkpoint(4)["pipeline"], rtol=1e-6, atol=1e-6)


def test_a_grid_is_switched_off_on_and_resized_in_mid_run(trained: TrainedRun) -> None:
    without = resumed(trained, "without", enabled=False)
    assert not any("prior_grid" in name for name in without.checkpoint(4)["pipeline"])
    resized = resumed(trained, "resized", resolution=8)
    assert resized.trainer.pipeline.model.prior_grid.num_updates == 2, "measured anew"
    config = copy.deepcopy(without.config)
    config.timestamp, config.load_dir, config.load_step = "back", without.config.get_checkpoint_dir(), None
    config.max_num_iterations, config.pipeline.model.prior_grid.enabled = 1, True
    assert train(config).trainer.pipeline.model.prior_grid.num_updates == 1
