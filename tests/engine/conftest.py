"""Trainers for the tests of the engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import METHOD, tiny_config


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[..., Any]:
    """A function from dotted settings to a trainer that is set up but has not trained."""

    def make(**settings: Any) -> Any:
        config = tiny_config(METHOD, tmp_path, **settings)
        config.pipeline.datamanager.data = config.data
        trainer = config.setup(local_rank=0, world_size=1)
        trainer.setup()
        return trainer

    return make
