"""`gan3d eval`: results are kept in the run, taken up again, laid side by side, and nothing is lost on bad input."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import imageio.v3 as imageio
import pytest
import torch
from tiny_runs import make_tiny_run

from gan3d_ns.engine.checkpoint_files import checkpoint_in, read_checkpoint
from gan3d_ns.errors import UserError
from gan3d_ns.metrics.evaluation import Evaluation
from gan3d_ns.metrics.records import read_measured
from gan3d_ns.metrics.settings import (
    WITHOUT_TRUTH,
    CompactnessConfig,
    EvaluationConfig,
    HealthConfig,
    PictureConfig,
)
from gan3d_ns.scripts.evaluate import RESULTS_NAME, Evaluate, stamp
from gan3d_ns.scripts.main import main
from gan3d_ns.scripts.runs import load_run


def quick(**changes) -> EvaluationConfig:
    """Two small measurements that need no pictures."""
    health = HealthConfig(num_objects=2, resolution=8, **changes)
    return EvaluationConfig(health=health, compactness=CompactnessConfig(num_objects=2, resolution=8))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run with checkpoints of steps 2 and 4."""
    folder = tmp_path_factory.mktemp("run")
    return make_tiny_run("gof-gan-tiny", folder, steps=5, steps_per_save=2, save_only_latest_checkpoint=False)


@pytest.fixture(autouse=True)
def no_results(run):
    (run.parent / RESULTS_NAME).unlink(missing_ok=True)


@pytest.fixture
def measured(monkeypatch) -> list[str]:
    """The measurements that were really made."""
    made, measure = [], Evaluation.measure

    def counted(self, name, *arguments):
        made.append(name)
        return measure(self, name, *arguments)

    monkeypatch.setattr(Evaluation, "measure", counted)
    return made


def test_results_stand_in_the_run_and_are_taken_up_again(run, measured, capsys):
    for _ in range(2):
        Evaluate((run,), measures=("health", "compactness"), settings=quick()).main()
        assert "relief" in capsys.readouterr().out
    assert measured == ["health", "compactness"]
    (entry,) = read_measured(run.parent / RESULTS_NAME)
    assert entry.subject.step == 4 and entry.subject.method == "gof-gan-tiny"
    assert entry.subject.cpu_seconds is not None and entry.subject.cpu_seconds > 0
    assert {record.measure for record in entry.records} == {"health", "compactness"}


def test_other_settings_are_measured_anew_and_the_rest_is_kept(run, measured):
    Evaluate((run,), measures=("health", "compactness"), settings=quick()).main()
    Evaluate((run,), measures=("health",), settings=quick(seed=3)).main()
    assert measured == ["health", "compactness", "health"]
    (entry,) = read_measured(run.parent / RESULTS_NAME)
    assert {r.protocol["seed"] for r in entry.records if r.measure == "health"} == {3}
    assert any(record.measure == "compactness" for record in entry.records)


def test_other_weights_are_measured_anew(run, measured):
    """The same step of another training in the same folder."""
    Evaluate((run,), measures=("health",), settings=quick()).main()
    file = checkpoint_in(run.parent / "nerfstudio_models")
    before, state = file.read_bytes(), read_checkpoint(file)
    try:
        for value in state["pipeline"].values():
            if value.is_floating_point():
                value.mul_(1.01)
        torch.save(state, file)
        Evaluate((run,), measures=("health",), settings=quick()).main()
    finally:
        file.write_bytes(before)
    assert measured == ["health", "health"]


def test_results_of_another_process_are_kept(run, monkeypatch):
    """Two calls measure the same run at the same time."""
    measure = Evaluation.measure

    def interrupted(self, name, *arguments):
        if name == "health":
            Evaluate((run,), measures=("compactness",), settings=quick()).main()
        return measure(self, name, *arguments)

    monkeypatch.setattr(Evaluation, "measure", interrupted)
    Evaluate((run,), measures=("health",), settings=quick()).main()
    (entry,) = read_measured(run.parent / RESULTS_NAME)
    assert {record.measure for record in entry.records} == {"health", "compactness"}


def test_the_rest_is_measured_where_one_cannot_be(run, tmp_path, capsys):
    with pytest.raises(UserError, match="could not be made"):
        Evaluate((run,), ("pose", "health"), settings=quick(), table=True, output=tmp_path, plot_metric="relief").main()
    assert "pose could not be measured: the true cameras" in " ".join(capsys.readouterr().out.split())
    assert "## health" in (tmp_path / "comparison.md").read_text()


def test_a_file_that_changes_has_another_stamp(tmp_path):
    assert stamp(tmp_path / "none") == stamp(tmp_path) == ""
    (tmp_path / "a").write_text("1")
    stamps = [stamp(tmp_path), stamp(tmp_path / "a")]
    (tmp_path / "a").write_text("12")
    stamps += [stamp(tmp_path), stamp(tmp_path / "a")]
    assert len(set(stamps)) == 4


def test_the_same_digits_again(run):
    texts = []
    for _ in range(2):
        Evaluate((run,), measures=("health", "compactness"), settings=quick(), again=True).main()
        texts.append((run.parent / RESULTS_NAME).read_text())
    assert texts[0] == texts[1]


def test_every_checkpoint_and_a_table(run, tmp_path, capsys):
    Evaluate(
        (run,),
        measures=("compactness",),
        settings=quick(),
        all_checkpoints=True,
        table=True,
        output=tmp_path,
        plot_metric="opaque_rays",
    ).main()
    assert [entry.subject.step for entry in read_measured(run.parent / RESULTS_NAME)] == [2, 4]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "comparison.csv").read_text())))
    assert {row["step"] for row in rows} == {"2", "4"}
    assert "## compactness" in (tmp_path / "comparison.md").read_text()
    assert len(json.loads((tmp_path / "comparison.json").read_text())["results"]) == 2
    assert imageio.imread(tmp_path / "quality.png").ndim == 3
    assert "quality.png" in capsys.readouterr().out


def test_the_command_line_reaches_the_settings(run, capsys):
    arguments = ["eval", "--load-config", str(run), "--measures", "health", "--health.num-objects", "2"]
    main([*arguments, "--health.resolution", "9"])
    (entry,) = read_measured(run.parent / RESULTS_NAME)
    assert entry.settings["health"]["resolution"] == 9
    assert {record.protocol["objects"] for record in entry.records} == {2}


def test_what_was_measured_survives_a_failure(run, monkeypatch):
    def fail(self, report):
        raise UserError("no pictures")

    measure = Evaluation.measure
    monkeypatch.setattr(
        Evaluation,
        "measure",
        lambda self, name, report: fail(self, report) if name == "compactness" else measure(self, name, report),
    )
    with pytest.raises(UserError, match="could not be made"):
        Evaluate((run,), measures=("health", "compactness"), settings=quick()).main()
    (entry,) = read_measured(run.parent / RESULTS_NAME)
    assert {record.measure for record in entry.records} == {"health"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"load_config": ()}, "at least one run"),
        ({"load_config": (Path("nowhere/config.yml"),)}, "there is no run at"),
        ({"load_step": 1, "all_checkpoints": True}, "leave one of them out"),
        ({"load_step": 7}, "there is no checkpoint of step 7"),
        ({"measures": ("pose",)}, "true cameras and shapes"),
        ({"measures": ("pictures",), "data": Path("no-such-folder")}, "no-such-folder"),
        (
            {"measures": ("pictures",), "settings": EvaluationConfig(pictures=PictureConfig(resolution=128))},
            "pictures of 128 pixels a side are asked for, but those in .* have 32",
        ),
    ],
)
def test_bad_input_is_said(run, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        Evaluate(**{"load_config": (run,), "measures": ("health",), "settings": quick(), **changes}).main()


def test_imported_weights_are_not_compared_with_toy_cars(run):
    """Their run has no pictures, as that of the built-in collection, and another preset."""
    config, pipeline, _ = load_run(run)
    assert pipeline.real_pictures().known
    config.data = config.pipeline.datamanager.data = config.pipeline.datamanager.dataparser.data = None
    for preset, known in (("procedural", True), ("celeba", False)):
        config.base_preset = preset
        config.note_pictures()
        pipeline.config.knows_pictures = config.pipeline.knows_pictures
        assert pipeline.real_pictures().known is known
    evaluation = Evaluation(pipeline.model, replace(pipeline.real_pictures(), trained=None), quick())
    assert evaluation.available() == WITHOUT_TRUTH
    with pytest.raises(UserError, match="what this run was trained on is not known"):
        evaluation.measure("pictures")
    with pytest.raises(UserError, match="of this run are not known"):
        evaluation.measure("pose")
    assert pipeline.real_pictures(run.parent).known


def test_torn_results_are_not_replaced(run):
    file = run.parent / RESULTS_NAME
    file.write_text("{")
    with pytest.raises(UserError, match="holds no results"):
        Evaluate((run,), measures=("health",), settings=quick()).main()
    assert file.read_text() == "{"
