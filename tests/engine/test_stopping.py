"""Ctrl-C and SIGTERM: steps are finished, weights never torn, a second Ctrl-C ends at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from recorded_training import train
from tiny_runs import METHOD, tiny_config

from gan3d_ns.engine import stopping
from gan3d_ns.engine.stopping import StopRequest

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def hearing_ctrl_c() -> Iterator[None]:
    """Tests may run in the background, where Ctrl-C is ignored from the start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def wait_for_signals() -> None:
    """Python runs handlers between two bytecodes of the main thread, not when the signal arrives."""
    for _ in range(20):
        time.sleep(0.005)


@pytest.mark.parametrize("number", SIGNALS)
def test_between_steps_a_signal_ends_the_training_right_away(number: signal.Signals) -> None:
    with StopRequest() as stop:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        assert stop.by == number


@pytest.mark.parametrize("number", SIGNALS)
def test_a_step_is_finished(number: signal.Signals, capfd: pytest.CaptureFixture[str]) -> None:
    with StopRequest() as stop:
        with stop.whole_step():
            signal.raise_signal(number)
            wait_for_signals()
            finished = True
        assert finished and stop.by == number
    assert f"{number.name}: stopping after this step" in capfd.readouterr().err


def test_patience_ends_but_weights_are_changed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "PATIENCE_SECONDS", 0.05)
    done: list[str] = []

    def work(seconds: float, name: str) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.01)
        done.append(name)

    with StopRequest() as stop, stop.whole_step():
        signal.raise_signal(signal.SIGTERM)
        with stop.changing():
            work(0.3, "weights")
        with pytest.raises(KeyboardInterrupt):
            work(20.0, "the rest")
    assert done == ["weights"]


def test_processes_that_wait_for_each_other_do_not_leave_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "PATIENCE_SECONDS", 0.01)
    with StopRequest(lambda: False) as stop:
        signal.raise_signal(signal.SIGINT)
        wait_for_signals()
        with stop.whole_step():
            wait_for_signals()
        assert stop.by == signal.SIGINT


def test_saving_is_not_cut_short_by_the_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "PATIENCE_SECONDS", 0.02)
    with StopRequest() as stop, stop.whole_step():
        signal.raise_signal(signal.SIGINT)
        stop.ending()
        time.sleep(0.05)
        signal.raise_signal(signal.SIGTERM)
        wait_for_signals()


def test_the_end_of_the_parent_is_no_second_ctrl_c() -> None:
    """Where SIGTERM goes to all processes of a job, theirs sends SIGINT to those that it has started."""
    with StopRequest() as stop, stop.whole_step():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        wait_for_signals()
        assert stop.by == signal.SIGTERM


def test_jobs_in_the_background_do_not_hear_ctrl_c() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            signal.raise_signal(signal.SIGINT)
            wait_for_signals()
        assert stop.by is None
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with StopRequest():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_twice_ctrl_c_ends_at_once() -> None:
    """In a process of its own, which says how far it came."""
    code = (
        "import signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from gan3d_ns.engine.stopping import StopRequest\n"
        "with StopRequest() as stop, stop.whole_step():\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "    print('still here', flush=True)\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "    print('too late', flush=True)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 128 + signal.SIGINT
    assert ended.stdout == "still here\n"


def interrupting(at: int, number: signal.Signals, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal arrives at this process, in a step or after it."""
    from gan3d_ns.engine.adversarial_step import AdversarialStep
    from gan3d_ns.engine.gan_trainer import GanTrainer

    owner: Any = AdversarialStep if where == "in a step" else GanTrainer
    name = "adapt_loss_scale" if where == "in a step" else "after_step"
    inner: Callable[..., Any] = getattr(owner, name)

    def interrupted(self: Any, *arguments: Any) -> Any:
        if (self.step if where == "in a step" else arguments[0]) == at:
            os.kill(os.getpid(), number)
            wait_for_signals()
        return inner(self, *arguments)

    monkeypatch.setattr(owner, name, interrupted)


@pytest.mark.skipif(os.name != "posix", reason="Windows cannot send itself these signals")
@pytest.mark.parametrize("where", ["in a step", "after a step"])
@pytest.mark.parametrize("number", SIGNALS)
def test_a_stopped_training_goes_on_as_if_it_had_not_been(
    number: signal.Signals,
    where: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = train(tiny_config(METHOD, tmp_path / "whole", steps=4))
    config = tiny_config(METHOD, tmp_path, steps=4)
    with monkeypatch.context() as patch:
        interrupting(1, number, where, patch)
        stopped = train(config)
    printed = " ".join(capsys.readouterr().out.split())
    assert "Stopped after step 1." in printed and f"--load-dir {stopped.config.get_checkpoint_dir()}" in printed
    assert [path.name for path in stopped.config.get_checkpoint_dir().iterdir()] == ["step-000000001.ckpt"]
    config = tiny_config(METHOD, tmp_path, steps=2, timestamp="on", load_dir=stopped.config.get_checkpoint_dir())
    resumed = train(config)
    expected, found = whole.checkpoint(3), resumed.checkpoint(3)
    torch.testing.assert_close(found["pipeline"], expected["pipeline"], rtol=0, atol=0)


@pytest.mark.skipif(os.name != "posix", reason="Windows cannot send itself these signals")
def test_a_signal_while_the_end_is_saved_does_not_lose_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save, calls = torch.save, []

    def interrupted(state: dict[str, Any], stream: Any) -> None:
        calls.append(state["step"])
        if len(calls) == 1:
            os.kill(os.getpid(), signal.SIGINT)
            wait_for_signals()
        save(state, stream)

    monkeypatch.setattr(torch, "save", interrupted)
    run = train(tiny_config(METHOD, tmp_path, steps=3, **{"keep_best.metric": "none"}))
    assert calls == [2, 2] and run.checkpoint(2)["step"] == 2
