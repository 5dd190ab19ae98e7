"""The time of the steps stands in the checkpoints, and a resumed training goes on counting."""

from __future__ import annotations

import time

import pytest
from tiny_runs import make_tiny_run

from gan3d_ns.engine.checkpoint_files import checkpoint_in, read_checkpoint
from gan3d_ns.engine.training_cost import TrainingCost


def test_sleep_costs_wall_time_and_no_cpu_time():
    cost = TrainingCost(wall_seconds=1.0)
    with cost.counting():
        time.sleep(0.05)
    assert cost.wall_seconds >= 1.05
    assert cost.cpu_seconds < 0.05


def test_a_failed_step_counts():
    cost = TrainingCost()
    with pytest.raises(ValueError, match="step"), cost.counting():
        raise ValueError("step")
    assert cost.wall_seconds > 0.0


def test_a_resumed_training_adds_to_the_checkpoint(tmp_path):
    def cost_of(run):
        return TrainingCost(**read_checkpoint(checkpoint_in(run.parent / "nerfstudio_models"))["cost"])

    first = make_tiny_run("gof-gan-tiny", tmp_path)
    before = cost_of(first)
    assert before.wall_seconds > 0.0 and before.cpu_seconds > 0.0
    resumed = make_tiny_run(
        "gof-gan-tiny", tmp_path, steps=1, load_dir=first.parent / "nerfstudio_models", timestamp="later"
    )
    assert cost_of(resumed).wall_seconds > before.wall_seconds
