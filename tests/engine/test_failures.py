"""Trainings that cannot go on: what is said, and what stays."""

from __future__ import annotations

import math
import os
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from recorded_training import train
from tiny_runs import METHOD, RESOLUTION, tiny_config

from gan3d_ns.engine.checkpoint_files import checkpoint_in, read_checkpoint
from gan3d_ns.engine.failures import Diverged, check_losses, out_of_memory
from gan3d_ns.engine.schedules import CurriculumStage, validate_stages
from gan3d_ns.errors import UserError, is_out_of_memory, user_sentence


def terms(**values: float) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value) for name, value in values.items()}


@pytest.mark.parametrize("values", [{"d_adversarial": 1.0, "d_r1": 30.0}, {"d_adversarial": -9.9e4}])
def test_losses_that_may_come_back_pass(values: dict[str, float]) -> None:
    check_losses(terms(**values), 3)


@pytest.mark.parametrize(
    ("values", "cure"),
    [
        ({"d_adversarial": math.nan, "d_r1": 1.0}, ""),
        ({"d_adversarial": 1.0, "d_r1": math.inf}, ""),
        ({"d_adversarial": 2e5, "d_r1": 1.0}, ""),
        ({"d_adversarial": 1.0, "d_r1": 2e5}, "a smaller --pipeline.loss.r1-weight"),
        ({"g_adversarial": 1.0, "g_path": 2e5}, "a smaller --pipeline.loss.path-length-weight"),
    ],
)
def test_lost_losses_are_named_with_a_cure(values: dict[str, float], cure: str) -> None:
    with pytest.raises(Diverged) as end:
        check_losses(terms(**values), 3)
    assert "at step 3" in end.value.symptom
    assert all(name in end.value.symptom for name in values)
    assert cure in end.value.advice and bool(cure) == bool(end.value.advice)


def test_an_exploding_penalty_ends_with_the_flag_that_helps(tmp_path: Path) -> None:
    config = tiny_config(METHOD, tmp_path, steps=6, steps_per_save=1, **{"pipeline.loss.r1_weight": 1e9})
    with pytest.raises(UserError, match=r"diverged; .* a smaller --pipeline\.loss\.r1-weight\.$") as end:
        train(config)
    saved = sorted(config.get_checkpoint_dir().glob("*.ckpt"))
    assert ("no checkpoint" in str(end.value)) == (not saved)
    for path in saved:
        assert all(tensor.isfinite().all() for tensor in read_checkpoint(path)["pipeline"].values())


def test_a_nan_in_a_gradient_never_reaches_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss was finite: the spoilt weights are found before they are saved, or by the next loss."""
    from gan3d_ns.engine.adversarial_step import AdversarialStep

    step_optimizers = AdversarialStep.step_optimizers

    def spoiling(self: Any, groups: list[str]) -> None:
        if self.step == 2 and "generator" in groups:
            next(p for p in self.pipeline.model.generator.parameters() if p.grad is not None).grad.fill_(math.nan)
        step_optimizers(self, groups)

    monkeypatch.setattr(AdversarialStep, "step_optimizers", spoiling)
    config = tiny_config(METHOD, tmp_path, steps=6, steps_per_save=1)
    with pytest.raises(UserError, match="not finite at step 2") as end:
        train(config)
    kept = checkpoint_in(config.get_checkpoint_dir())
    assert kept.name == "step-000000001.ckpt" and str(kept) in str(end.value)
    assert all(tensor.isfinite().all() for tensor in read_checkpoint(kept)["pipeline"].values())


def test_memory_that_a_cpu_has_not_got_is_known() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**55, dtype=torch.uint8)
    assert is_out_of_memory(refused.value)
    assert user_sentence(refused.value) is None, "another package's error, for all that is known"
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes do not match"))


def greedy() -> torch.Tensor:
    return torch.empty(2**55, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("module", "cure"), [("scripts.sample", "a smaller --resolution"), ("data.x", "smaller pictures")]
)
def test_this_package_says_what_saves_memory(module: str, cure: str) -> None:
    of_package = types.FunctionType(greedy.__code__, {"__name__": f"gan3d_ns.{module}", "torch": torch})
    with pytest.raises(RuntimeError) as refused:
        of_package()
    assert cure in str(user_sentence(refused.value))


@pytest.mark.parametrize(
    ("batch", "split", "cure"),
    [(4, 1, "batch-split 2"), (24, 8, "batch-split 24"), (6, 2, "batch-split 6"), (3, 1, "batch-split 3"), (4, 4, "")],
)
def test_the_flag_that_saves_memory(batch: int, split: int, cure: str, tmp_path: Path) -> None:
    stages = (CurriculumStage(0, 16, 8), CurriculumStage(10, 32, batch, batch_split=split))
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...")
    sentence = str(out_of_memory(error, 12, stages, tmp_path))
    assert f"{batch} pictures of 32 x 32" in sentence and "2.00 GiB" in sentence
    assert (f"--curriculum.1.{cure} computes" if cure else "--patches.size 32") in sentence
    if cure:
        validate_stages((stages[0], CurriculumStage(10, 32, batch, batch_split=int(cure.split()[1]))))


def test_too_little_memory_keeps_the_steps_so_far_and_resumes_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gan3d_ns.pipelines.gan_pipeline import GanPipeline

    render = GanPipeline.render

    def limited(self: Any, draw: Any, *arguments: Any) -> Any:
        if self.model.step == 2 and len(draw) > 1:
            torch.empty(2**55, dtype=torch.uint8)
        return render(self, draw, *arguments)

    monkeypatch.setattr(GanPipeline, "render", limited)
    config = tiny_config(METHOD, tmp_path, steps=6)
    with pytest.raises(UserError, match="the memory is too small for step 3") as end:
        train(config)
    kept = checkpoint_in(config.get_checkpoint_dir())
    assert kept.name == "step-000000002.ckpt" and str(kept) in str(end.value)
    assert "--curriculum.0.batch-split 2" in str(end.value)
    config = tiny_config(METHOD, tmp_path, steps=2, timestamp="in-parts", load_checkpoint=kept)
    config.curriculum = (CurriculumStage(0, RESOLUTION, 2, batch_split=2),)
    assert sorted(train(config).losses) == [3, 4]


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The system refuses to write beyond this many bytes into any file, as a full disk does."""
    resource = pytest.importorskip("resource", reason="the system has no limits for sizes of files")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [20_000, 500])
def test_a_disk_that_is_full_costs_files_and_not_the_older_ones(
    room: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Checkpoints do not fit; at 500 bytes neither do the panel, the scores and the lines for tensorboard."""
    from gan3d_ns.engine.gan_trainer import GanTrainer

    config = tiny_config(METHOD, tmp_path, steps=4, steps_per_save=1, steps_per_panel=2)
    config.keep_best.interval, config.keep_best.num_pictures = 2, 4
    iterate = GanTrainer.train_iteration
    limits: list[Any] = []

    def limited(trainer: Any, step: int) -> Any:
        if step == 2:
            limits.append(files_of_at_most(room))
            limits[0].__enter__()
        return iterate(trainer, step)

    monkeypatch.setattr(GanTrainer, "train_iteration", limited)
    try:
        with pytest.raises(UserError, match="Free some space and resume") as end:
            train(config)
    finally:
        limits[0].__exit__(None, None, None)
    kept = checkpoint_in(config.get_checkpoint_dir())
    assert kept.name == "step-000000001.ckpt"
    assert read_checkpoint(kept)["step"] == 1
    assert "the checkpoint of step 3 could not be written" in str(end.value)
    assert "the checkpoint of step 2 could not be written" in " ".join(capsys.readouterr().out.split())
    left = [path.name for path in config.get_base_dir().rglob("*") if "part" in path.name]
    assert not left
    assert os.path.getsize(config.get_base_dir() / "config.yml") > 1000


def test_a_dead_discriminator_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that gives every picture the same score can teach nothing."""
    from gan3d_ns.discriminators.small import SmallDiscriminator
    from gan3d_ns.engine import health_report

    monkeypatch.setattr(health_report, "WINDOW_STEPS", 1)
    forward = SmallDiscriminator.forward

    def dead(self: Any, images: torch.Tensor, fade: float = 1.0) -> Any:
        output = forward(self, images, fade)
        return type(output)(**{**vars(output), "score": 0.0 * output.score})

    monkeypatch.setattr(SmallDiscriminator, "forward", dead)
    train(tiny_config(METHOD, tmp_path, steps=14))
    printed = " ".join(capsys.readouterr().out.split())
    assert "discriminator" in printed and "Step 9:" in printed
