"""Without folders, a training's pictures and their truth are those of the built-in collection that it learnt."""

from __future__ import annotations

from pathlib import Path

import pytest

from gan3d_ns.data.procedural import ProceduralTruth, procedural_collection_folder
from gan3d_ns.data.procedural_scenes import SceneTruth, scene_collection_folder
from gan3d_ns.data.true_collection import TrueCollection
from gan3d_ns.metrics import evaluation
from gan3d_ns.metrics.evaluation import Evaluation, RealCollection
from gan3d_ns.metrics.settings import MEASURES, EvaluationConfig
from gan3d_ns.models.gan_model import GanModel


@pytest.mark.parametrize(("real", "kind"), [({}, ProceduralTruth), ({"built_in": "scenes"}, SceneTruth)])
def test_truth_follows_the_built_in_collection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real: dict, kind: type[TrueCollection]
) -> None:
    make = {"toy-cars": procedural_collection_folder, "scenes": scene_collection_folder}

    def small(built_in: str, num_images: int = 3, seed: int = 0) -> Path:
        return make[built_in](tmp_path, min(num_images, 3), 8, seed)

    monkeypatch.setattr(evaluation, "built_in_folder", small)
    pictures = RealCollection(None, None, 8, 8, **real)
    # The truth is known without looking at the model.
    measured = Evaluation(object.__new__(GanModel), pictures, EvaluationConfig())
    assert measured.available() == MEASURES
    truth, held_out = measured.truth(), measured.held_out()
    assert isinstance(truth, kind)
    assert isinstance(held_out, kind)
    assert truth.folder == pictures.path == pictures.training_path
    assert not set(truth.seeds) & set(held_out.seeds)  # pyright: ignore[reportAttributeAccessIssue]
