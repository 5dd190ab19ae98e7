"""Every method can be measured in every way, by `gan3d eval` and by nerfstudio's `ns-eval` alike."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from recorded_training import TrainedRun

from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS
from gan3d_ns.data.procedural import ProceduralTruth, procedural_collection_folder
from gan3d_ns.errors import UserError
from gan3d_ns.metrics.records import read_measured
from gan3d_ns.metrics.settings import (
    MEASURES,
    CompactnessConfig,
    EvaluationConfig,
    HealthConfig,
    InversionConfig,
    PictureConfig,
    PoseErrorConfig,
    PoseRegressorConfig,
    ReprojectionConfig,
    ShapeSetsConfig,
    SurfaceConfig,
)
from gan3d_ns.metrics.surface_truth import SHARED_CAMERA
from gan3d_ns.scripts.evaluate import RESULTS_NAME, Evaluate

NUM_TRUE, SIDE = 64, 16
SMALL = EvaluationConfig(
    pictures=PictureConfig(num_generated=4),
    health=HealthConfig(num_objects=2, resolution=8),
    compactness=CompactnessConfig(num_objects=2, resolution=8),
    reprojection=ReprojectionConfig(num_objects=2, num_views=2, resolution=12, mesh_resolution=24),
    pose=PoseErrorConfig(num_generated=4, resolution=SIDE, regressor=PoseRegressorConfig(steps=4, channels=4)),
    shapes=ShapeSetsConfig(num_generated=2, num_true=2, points=64, mesh_resolution=24),
    surface=SurfaceConfig(num_pictures=1, resolution=12, inversion=InversionConfig(num_steps=2, num_candidates=1)),
)
EXPECTED = {
    "pictures": {"fid", "kid", "precision", "recall", "diversity"},
    "health": {"relief", "hollow_fraction", "depth_spread", "hit_rate", "occupied_fraction", "view_error"},
    "compactness": {"depth_variance", "depth_variance_untouched", "depth_variance_own_samples"},
    "reprojection": {"reprojection_error", "reprojection_share"},
    "pose": {"pose_error", "yaw_error", "elevation_error"},
    "shapes": {"shape_matching_distance", "shape_coverage"},
    "surface": {"depth_error", "scale_invariant_depth_error", "normal_angle", "mask_iou", "inversion_error"},
}


@pytest.fixture(scope="session")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Toy cars whose surfaces are computed once, although every method is compared with them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("rendering", "mesh"):
            remember(patch, name)
        yield procedural_collection_folder(tmp_path_factory.mktemp("truth"), NUM_TRUE, SIDE)


def remember(patch: pytest.MonkeyPatch, name: str) -> None:
    """Let a method of the toy cars give what it gave before to the same numbers."""
    compute, known = getattr(ProceduralTruth, name), {}

    def remembered(collection: ProceduralTruth, *arguments: Any, **options: Any) -> Any:
        key = (collection.folder, str(arguments), str(options))
        if key not in known:
            known[key] = compute(collection, *arguments, **options)
        return known[key]

    patch.setattr(ProceduralTruth, name, remembered)


def shares_camera(config: Any) -> bool:
    """Surfaces can be compared only where the method has the camera of the truth."""
    model, true = config.pipeline.model, POSE_PRIOR_PRESETS["procedural"]
    moved, own = model.camera_generator, model.pose_prior
    if model.camera_law == "learned" and (moved.learn_fov or moved.learn_radius):
        return False
    return all(getattr(own, name) == getattr(true, name) for name in SHARED_CAMERA)


def test_every_measurement(trained: TrainedRun, truth: Path) -> None:
    measures: Any = tuple(name for name in MEASURES if name != "surface" or shares_camera(trained.config))
    evaluate = Evaluate((trained.config_file,), measures, truth=truth, settings=SMALL)
    evaluate.main()
    file = trained.config_file.parent / RESULTS_NAME
    (entry,) = read_measured(file)
    assert {key.split()[0] for key in entry.settings} == set(measures)
    for measure, metrics in EXPECTED.items() if "surface" in measures else list(EXPECTED.items())[:-1]:
        found = {record.metric: record for record in entry.records if record.measure == measure}
        assert metrics <= found.keys()
        assert all("seed" in record.protocol for record in found.values())
    headline = {record.metric: record.value for record in entry.records}
    for metric in ("fid", "kid", "depth_variance_own_samples", "relief", "pose_error"):
        assert math.isfinite(headline[metric]), metric
    if trained.config.method_name.endswith("-tiny"):  # the other sizes have the same parts
        first = file.read_text(encoding="utf-8")
        Evaluate((trained.config_file,), measures, truth=truth, settings=SMALL, again=True).main()
        assert file.read_text(encoding="utf-8") == first


def test_a_camera_that_is_not_the_truths_is_said(trained: TrainedRun, truth: Path) -> None:
    if shares_camera(trained.config):
        pytest.skip("this method has the camera of the truth")
    with pytest.raises(UserError, match=r"near|fov|radius"):
        Evaluate((trained.config_file,), ("surface",), truth=truth, settings=SMALL).main()


def test_ns_eval_gives_the_same_numbers(trained: TrainedRun, tmp_path: Path) -> None:
    from nerfstudio.scripts.eval import ComputePSNR

    ComputePSNR(load_config=trained.config_file, output_path=tmp_path / "results.json").main()
    results = json.loads((tmp_path / "results.json").read_text())["results"]
    Evaluate((trained.config_file,), measures=("pictures",)).main()
    (entry,) = read_measured(trained.config_file.parent / RESULTS_NAME)
    records = [record for record in entry.records if record.measure == "pictures"]
    assert {record.metric for record in records} == EXPECTED["pictures"]
    for record in records:
        assert results[record.heading] == record.value
        assert results[f"{record.heading} floor"] == record.floor
