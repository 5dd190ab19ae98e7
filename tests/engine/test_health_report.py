"""The training tells its viewer, its records and the terminal how it goes, and never stumbles over that."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from recorded_training import TrainedRun, train
from tiny_runs import METHOD, tiny_config

from gan3d_ns.engine import gan_trainer, health_report
from gan3d_ns.engine.health_report import SILENT_STEPS, averages
from gan3d_ns.metrics.alarms import Alarm
from gan3d_ns.viewer.health_panel import REPORT_NAME, HealthPanel


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def test_averages_are_over_the_steps_that_have_a_measure() -> None:
    steps = [{"a": torch.tensor(1.0), "b": torch.tensor(4)}, {"a": torch.tensor(2.0)}, {"a": torch.tensor(6.0)}]
    assert averages(steps) == {"a": 3.0, "b": 4.0}
    assert averages([]) == {}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainedRun]:
    """A short training with viewer and records, panels at steps 1 and 3."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings: dict[str, Any] = {
        "vis": "viewer+tensorboard",
        "steps_per_panel": 3,
        "viewer.websocket_port": port,
        "viewer.websocket_host": "127.0.0.1",
        "viewer.quit_on_train_completion": True,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gan_trainer, "FIRST_PANEL", 1)
        patch.setattr(health_report, "SECONDS_BETWEEN_REPORTS", 0.0)
        patch.setattr(health_report, "WINDOW_STEPS", 2)
        run = train(tiny_config(METHOD, tmp_path_factory.mktemp("watched"), steps=5, **settings))
    yield run
    run.trainer.shutdown()


def test_the_viewers_folder_is_filled(watched: TrainedRun) -> None:
    panel: HealthPanel = watched.trainer.pipeline.health
    assert panel.open
    assert "All **5** steps are done" in panel.words.content
    assert panel.progress.value == 100.0
    assert "Logit gap" in panel.losses.content
    for row in ("Rays that hit", "Space filled", "Bulge", "Depth spread", "Views disagree by", "Variety", "Score"):
        assert row in panel.geometry.content
    assert "base64" in panel.samples.content
    assert "step 4" in panel.samples.content
    assert not watched.trainer.health.faulty


def test_the_first_panel_does_not_wait_for_the_interval(watched: TrainedRun) -> None:
    assert [look.step for look in watched.trainer.health.looks] == [1, 3, 4]
    assert [window.step for window in watched.trainer.health.windows] == [1, 3]


def test_the_records_have_scores_geometry_and_alarms(watched: TrainedRun) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(watched.folder))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    wanted = {"Train Metrics Dict/logit_gap", "Train Metrics Dict/told_apart", "Geometry/occupied_fraction"}
    assert wanted | {"Geometry/relief", "Geometry/variety", "Alarms/hollow", "Alarms/dead"} <= tags
    assert {"Geometry/hit_rate", "Geometry/depth_spread", "Geometry/view_error", "Geometry/view_overlap"} <= tags
    assert {"Alarms/disagree", "Scores/swd"} <= tags
    gaps = {event.step: event.value for event in events.Scalars("Train Metrics Dict/logit_gap")}
    for name, sign in (("score_real", 1.0), ("score_fake", -1.0)):
        for event in events.Scalars(f"Train Metrics Dict/{name}"):
            gaps[event.step] -= sign * event.value
    assert max(abs(rest) for rest in gaps.values()) < 1e-5


def test_the_last_report_stays_with_the_run(watched: TrainedRun) -> None:
    kept = json.loads((watched.folder / REPORT_NAME).read_text())
    look = watched.trainer.health.looks[-1]
    assert kept["step"] == kept["looked_at"] == look.step == 4
    assert {name: kept["measures"][name] for name in look.measures} == look.measures
    assert 0.0 < look.measures["occupied_fraction"] < 1.0


def test_the_gap_is_that_of_the_scores_that_the_step_computes(make_trainer: Any, monkeypatch: Any) -> None:
    """No forward pass of its own."""
    trainer = make_trainer()
    scores: list[Any] = []
    judge = type(trainer.pipeline.discriminator).forward

    def noted(self: Any, images: Any, fade: float = 1.0) -> Any:
        output = judge(self, images, fade)
        scores.append(output.score.detach())
        return output

    monkeypatch.setattr(type(trainer.pipeline.discriminator), "forward", noted)
    _, _, measures = trainer.train_iteration(0)
    assert len(scores) == 3
    assert float(measures["logit_gap"]) == pytest.approx(float(scores[0].mean() - scores[1].mean()))


def test_without_a_viewer_steps_make_no_reports(make_trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer()
    monkeypatch.setattr(health_report, "SECONDS_BETWEEN_REPORTS", 0.0)
    monkeypatch.setattr(trainer.health, "report", lambda _: pytest.fail("a report for nobody"))
    for step in range(3):
        trainer.train_iteration(step)
    assert not trainer.health.faulty
    assert len(trainer.health.steps) == 3


def test_a_fault_in_the_report_does_not_end_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> None:
        raise ValueError("injected [fault]")

    monkeypatch.setattr(health_report, "alarms", broken)
    run = train(tiny_config(METHOD, tmp_path, steps=4, steps_per_panel=1))
    said = printed(capsys)
    assert said.count("The health report has failed (ValueError: injected [fault])") == 1
    assert (run.folder / "samples.png").exists()
    assert sorted(run.losses) == [0, 1, 2, 3]


def test_a_report_that_cannot_be_kept_is_said(
    make_trainer: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    trainer = make_trainer()
    monkeypatch.setattr(health_report, "write_report", full)
    trainer.write_panel(1)
    assert "the health report of step 1 could not be written" in printed(capsys)
    assert not trainer.health.faulty


def test_an_alarm_is_printed_once_until_it_has_been_gone_for_long(
    make_trainer: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    heard = [Alarm("hollow", "Hollow surfaces in [all] of them.")]
    monkeypatch.setattr(health_report, "alarms", lambda *_: list(heard))
    monitor = make_trainer().health
    for step in (100, 150, 200 + SILENT_STEPS // 2):
        monitor.judge(step)
    assert printed(capsys).count("Hollow surfaces in [all] of them.") == 1
    assert monitor.report(300).alarms == ("Hollow surfaces in [all] of them.",)
    last = heard.pop()
    monitor.judge(5000)
    assert monitor.report(5000).alarms == ()
    heard.append(last)
    monitor.judge(5050)
    assert "Step 5050: Hollow surfaces" in printed(capsys)


def test_new_weights_are_judged_by_themselves(make_trainer: Any) -> None:
    trainer = make_trainer()
    trainer.train_iteration(0)
    trainer.write_panel(0)
    assert trainer.health.looks
    trainer.reseed(1)
    assert not trainer.health.looks and not trainer.health.windows and not trainer.health.steps
    trainer.train_iteration(1)
    trainer.write_panel(1)
    assert "change" not in trainer.health.looks[0].measures


def test_the_speed_is_that_of_the_last_minute_without_pauses(
    make_trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitor = make_trainer().health
    now = [1000.0]
    monkeypatch.setattr(health_report.time, "monotonic", lambda: now[0])

    def steps(first: int, count: int, seconds: float) -> None:
        for step in range(first, first + count):
            now[0] += seconds
            monitor.after_step(step, {"g_adversarial": torch.tensor(1.0)})

    steps(0, 1, 2.0)
    assert monitor.steps_per_second() is None
    steps(1, 200, 2.0)
    assert monitor.steps_per_second() == pytest.approx(0.5)
    steps(201, 400, 0.25)
    assert monitor.steps_per_second() == pytest.approx(4.0)
    now[0] += 3600.0
    steps(601, 10, 0.25)
    assert monitor.steps_per_second() == pytest.approx(4.0)
    assert monitor.report(610).steps_per_second == pytest.approx(4.0)


def test_the_same_step_is_looked_at_once(make_trainer: Any) -> None:
    """Compared with itself a picture would seem frozen."""
    trainer = make_trainer()
    for step in (1, 2, 2):
        trainer.write_panel(step)
    assert [look.step for look in trainer.health.looks] == [1, 2]
