"""Killed at 20 moments, a training loses no file and ends as one that was left alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the experiment forks processes")
def test_twenty_kills_cost_nothing(tmp_path: Path) -> None:
    """In a process of its own: one that has computed with several threads must not be forked."""
    command = [sys.executable, "-m", "benchmarks.reliability", "kills", "--times", "20", "--steps", "70"]
    ended = subprocess.run(
        command,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    printed = ended.stdout + ended.stderr
    assert ended.returncode == 0, printed[-3000:]
    assert len(re.findall("^kill ", printed, re.MULTILINE)) == 20
    torn = re.search(r"20 kills, (\d+) of them in the middle of writing a checkpoint; 0 unreadable files", printed)
    assert torn is not None and int(torn[1]) >= 5, "kills that wait for a checkpoint should meet it half-written"
    assert "largest difference of a weight or a moment at the end: 0\n" in printed


def test_differences_of_checkpoints_are_seen() -> None:
    import torch

    from benchmarks.reliability.kills import largest_difference

    one = {"step": 1, "weights": {"a": torch.zeros(2)}, "groups": [{"lr": 0.1}]}
    other = {"step": 1, "weights": {"a": torch.tensor([0.0, 0.5])}, "groups": [{"lr": 0.1}]}
    assert largest_difference(one, one) == 0.0
    assert largest_difference(one, other) == 0.5
    assert largest_difference(one, {**one, "step": 2}) == float("inf")
    assert largest_difference(one, {**one, "groups": []}) == float("inf")


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    from benchmarks.reliability.kills import unreadable_files

    (tmp_path / "nerfstudio_models").mkdir()
    (tmp_path / "nerfstudio_models/step-000000001.ckpt").write_bytes(b"PK torn")
    (tmp_path / "health.json").write_text('{"torn', encoding="utf-8")
    (tmp_path / "scores.json").write_text("{}", encoding="utf-8")
    (tmp_path / "config.yml").write_text("!!python/tor", encoding="utf-8")
    names = [fault.partition(":")[0] for fault in unreadable_files(tmp_path)]
    assert sorted(names) == ["config.yml", "health.json", str(Path("nerfstudio_models/step-000000001.ckpt"))]
