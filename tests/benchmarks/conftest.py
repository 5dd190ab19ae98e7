"""The benchmarks stand at the top of the repository and are not installed: the tests find them there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


@pytest.fixture
def request_of(tmp_path: Path):
    """A function from settings to a request for quick measurements in this process, one turn each."""
    from benchmarks.parts import Request
    from benchmarks.turns import TurnSettings

    def make(**settings: Any) -> Request:
        turns = settings.pop("turns", TurnSettings(rounds=1, warm_up=1, isolated=False))
        return Request(turns=turns, scratch=tmp_path, quick=True, **settings)

    return make
