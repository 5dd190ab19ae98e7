"""The check that surfaces face outwards: what it says, and that it starts over when asked to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from recorded_training import train
from tiny_runs import METHOD, same, tiny_config, weights_of


def hollow_health(hollow: bool) -> Any:
    from gan3d_ns.metrics.geometry_health import geometry_health

    steps = torch.linspace(-1.0, 1.0, 16)
    bowl = 1.0 - 0.05 * (steps[:, None] ** 2 + steps**2)
    depth = (bowl if hollow else 2.0 - bowl)[None].expand(4, 16, 16)
    return geometry_health(depth, torch.ones(4, 16, 16, dtype=torch.bool))


@pytest.mark.parametrize(("hollow", "reseeds"), [(False, 1), (True, 0), (True, 1)])
def test_hollow_surfaces_are_announced_and_reseeded(
    hollow: bool, reseeds: int, make_trainer: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gan3d_ns.engine import gan_trainer

    trainer = make_trainer(hollow_check_step=1, hollow_reseeds=reseeds)
    panel = torch.zeros(8, 8, 3)
    monkeypatch.setattr(gan_trainer, "sample_panel", lambda *_: (panel, hollow_health(hollow)))
    pipeline = trainer.pipeline
    trainer.train_iteration(0)
    before, optimizer = weights_of(pipeline), trainer.optimizers.optimizers["generator"]
    trainer.check_outward_facing(1)
    printed = capsys.readouterr().out
    assert ("surfaces are hollow" in " ".join(printed.split())) == hollow
    reseeded = hollow and reseeds > 0
    assert same(before, weights_of(pipeline)) != reseeded
    assert (trainer.optimizers.optimizers["generator"] is optimizer) != reseeded
    if reseeded:
        model = pipeline.model
        assert same(weights_of(model.generator), weights_of(model.generator_ema))
        assert trainer.reseeds_left == 0
        trainer.check_outward_facing(2)
        after = weights_of(pipeline)
        trainer.check_outward_facing(3)
        assert same(after, weights_of(pipeline)), "no tries are left"
    trainer.train_iteration(2)


def test_the_check_comes_at_its_step(make_trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(hollow_check_step=1)
    checked: list[int] = []
    monkeypatch.setattr(trainer, "check_outward_facing", checked.append)
    for step in range(3):
        trainer.train_iteration(step)
    assert checked == [1]


def test_every_new_start_is_checked_and_holds_geometry_again(
    make_trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gan3d_ns.engine import gan_trainer

    trainer = make_trainer(hollow_check_step=2, hollow_reseeds=2, geometry_release_steps=4)
    panel = torch.zeros(8, 8, 3)
    monkeypatch.setattr(gan_trainer, "sample_panel", lambda *_: (panel, hollow_health(True)))
    left, released = [], []
    for step in range(8):
        released.append(trainer.plan(step).geometry_release)
        trainer.train_iteration(step)
        left.append(trainer.reseeds_left)
    assert left == [2, 2, 1, 1, 0, 0, 0, 0]
    assert released == [0.0, 0.25, 0.5, 0.25, 0.5, 0.25, 0.5, 0.75]


def test_too_few_surfaces_are_not_called_outward_facing(
    make_trainer: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gan3d_ns.engine import gan_trainer
    from gan3d_ns.metrics.geometry_health import geometry_health

    trainer = make_trainer()
    empty = geometry_health(torch.ones(2, 16, 16), torch.zeros(2, 16, 16, dtype=torch.bool))
    monkeypatch.setattr(gan_trainer, "sample_panel", lambda *_: (torch.zeros(8, 8, 3), empty))
    trainer.check_outward_facing(1)
    printed = " ".join(capsys.readouterr().out.split())
    assert "too few" in printed and "outwards" not in printed


def test_a_resumed_run_starts_over_as_it_would_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same fresh weights, and no more often."""
    from gan3d_ns.engine import gan_trainer

    panel = torch.zeros(8, 8, 3)
    monkeypatch.setattr(gan_trainer, "sample_panel", lambda *_: (panel, hollow_health(True)))
    monkeypatch.setattr(gan_trainer.GanTrainer, "print_next_steps", lambda *_: None)
    settings: dict[str, Any] = {"steps_per_save": 1, "save_only_latest_checkpoint": False}

    def config(timestamp: str, steps: int) -> Any:
        made = tiny_config(METHOD, tmp_path, steps, **settings, timestamp=timestamp)
        made.hollow_check_step, made.hollow_reseeds = 2, 2
        return made

    whole = train(config("whole", 8))
    again = config("again", 3)
    again.load_checkpoint = whole.config.get_checkpoint_dir() / "step-000000002.ckpt"
    resumed = train(again)
    for step in (3, 4, 5):
        expected, found = whole.checkpoint(step), resumed.checkpoint(step)
        torch.testing.assert_close(found["pipeline"], expected["pipeline"], rtol=0, atol=0)
        assert found["reseeds"] == expected["reseeds"] == (1 if step < 4 else 2)
    assert whole.checkpoint(7)["started_at"] == 4, "no tries are left for the third check"
