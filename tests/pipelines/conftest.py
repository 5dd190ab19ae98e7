"""Pipelines for the tests of their phases and checkpoints."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pipeline_steps import RESOLUTION, MakePipeline
from tiny_runs import tiny_config


@pytest.fixture(scope="module")
def make_pipeline(tmp_path_factory: pytest.TempPathFactory) -> MakePipeline:
    """A function from a method and dotted settings to its pipeline, with pictures loaded."""
    folder = tmp_path_factory.mktemp("pipelines")

    def make(method_name: str = "gof-gan-tiny", **settings: Any) -> Any:
        # Without a start shape the first surface may be anywhere.
        start = {"pipeline.model.film_siren.sphere_prior_gain": 6.0}
        config = tiny_config(method_name, folder, **start, **settings)
        config.pipeline.datamanager.data = config.data
        torch.manual_seed(0)
        pipeline = config.pipeline.setup(device="cpu")
        pipeline.datamanager.load_collection(RESOLUTION)
        return pipeline

    return make
