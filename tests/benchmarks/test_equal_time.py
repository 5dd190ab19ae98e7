"""Trainings of equal cost are ordinary runs that keep checkpoints on their way, with settings that may be changed."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Optional

import pytest
from tiny_runs import tiny_config

from benchmarks.equal_time import Train, change_setting, run_for
from gan3d_ns.engine.checkpoint_files import read_checkpoint, steps_in
from gan3d_ns.engine.training_cost import TrainingCost
from gan3d_ns.errors import UserError


@dataclass
class Inner:
    flag: bool = True
    rate: float = 1.0
    count: int = 3
    side: Optional[int] = None


@dataclass
class Outer:
    inner: Inner = field(default_factory=Inner)


def test_settings_are_changed_by_their_path():
    config = Outer()
    for change in ("inner.flag=false", "inner.rate=2", "inner.count=5", "inner.side=7"):
        change_setting(config, change)
    assert config.inner == Inner(False, 2.0, 5, 7)
    change_setting(config, "inner.side=null")
    assert config.inner.side is None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("inner.nothing=1", "there is no setting inner.nothing"),
        ("outer.flag=1", "there is no setting outer.flag"),
        ("inner.flag", "give PATH=VALUE"),
        ("inner.flag=3", "like it"),
        ("inner.count=many", "like it"),
        ("inner.count=null", "like it"),
    ],
)
def test_other_changes_are_refused(change, sentence):
    with pytest.raises(UserError, match=sentence):
        change_setting(Outer(), change)


@contextmanager
def a_tenth_of_a_second(self):
    """Stands for the clock: every step takes as long."""
    yield
    self.cpu_seconds += 0.1


def test_a_training_ends_with_its_time_and_keeps_checkpoints(tmp_path, monkeypatch):
    monkeypatch.setattr(TrainingCost, "counting", a_tenth_of_a_second)
    config = tiny_config("gof-gan-tiny", tmp_path, save_only_latest_checkpoint=False)
    run_for(config, seconds=0.85, checkpoints=3)
    folder = config.get_checkpoint_dir()
    steps = steps_in(folder)
    assert steps == [2, 5, 8]  # the first beyond .28, .57 and .85 s
    spent = [read_checkpoint(folder / f"step-{step:09d}.ckpt")["cost"]["cpu_seconds"] for step in steps]
    assert spent == pytest.approx([0.3, 0.6, 0.9])


def test_what_makes_no_sense_is_said(tmp_path):
    with pytest.raises(UserError, match="there is no method nothing"):
        Train("nothing").main()
    with pytest.raises(UserError, match="at least one"):
        Train("gof-gan-tiny", checkpoints=0).main()
