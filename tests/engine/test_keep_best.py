"""The best checkpoint is kept, opens like any other, survives whatever fails, and leaves the training as it is."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any, Optional

import pytest
import torch
import yaml
from feature_files import file_sha256, save_network
from recorded_training import TrainedRun, train
from tiny_runs import METHOD, NUM_PICTURES, same, tiny_config, weights_of, write_pictures

from gan3d_ns.engine.keep_best import BEST_CONFIG, BEST_FOLDER, SCORES_NAME, KeepBest, KeepBestConfig, Score
from gan3d_ns.engine.schedules import CurriculumStage
from gan3d_ns.engine.training_cost import TrainingCost
from gan3d_ns.errors import UserError
from gan3d_ns.metrics.records import Record


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def script(monkeypatch: pytest.MonkeyPatch, values: list[float]) -> None:
    """Measurements give these values, one after the other."""
    following = iter(values)
    monkeypatch.setattr(KeepBest, "measure", lambda *_: Record("swd", next(following), {"seed": 0}, "lower"))


def best_steps(folder: Path) -> list[int]:
    return [int(path.stem.removeprefix("step-")) for path in sorted((folder / BEST_FOLDER).iterdir())]


def scores(folder: Path) -> dict[str, Any]:
    return json.loads((folder / SCORES_NAME).read_text())


def score(value: float, step: int = 10, **changed: Any) -> Score:
    return Score(step, "swd", value, **{"resolution": 32, **changed})


@pytest.mark.parametrize(
    ("new", "best", "better"),
    [
        (score(0.4), None, True),
        (score(0.4), score(0.5), True),
        (score(0.5), score(0.5), False),
        (score(0.6), score(0.5), False),
        (score(0.9, resolution=64), score(0.5), True),
        (score(0.1, resolution=16), score(0.5), False),
        (score(0.9, start=7), score(0.5), True),
        (score(0.9, protocol={"num_pictures": 9}), score(0.5), True),
        (score(math.nan), None, False),
        (score(math.nan, resolution=64), score(0.5), False),
    ],
)
def test_what_is_better(new: Score, best: Optional[Score], better: bool) -> None:
    assert new.beats(best) == better


@pytest.mark.parametrize(
    ("settings", "end", "steps"),
    [
        ({"interval": 3}, 8, [3, 6, 7]),
        ({"interval": 3}, 7, [3, 6]),
        ({"interval": 100}, 4, [3]),
        ({"metric": "none"}, 4, []),
    ],
)
def test_measured_at_intervals_and_at_the_end(settings: Any, end: int, steps: list[int], tmp_path: Path) -> None:
    keeper = KeepBest(KeepBestConfig(**settings), tiny_config(METHOD, tmp_path))
    assert [step for step in range(end) if keeper.due(step, end)] == steps


def test_weights_that_are_new_at_a_step_are_not_measured_there(
    make_trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, [0.5, 0.3])
    trainer = make_trainer(hollow_check_step=1, **{"keep_best.interval": 1})
    trainer.health.end = 100
    monkeypatch.setattr(trainer, "check_outward_facing", lambda step: trainer.reseed(step) if step == 1 else None)
    for step in range(3):
        trainer.train_iteration(step)
    assert [entry["step"] for entry in scores(trainer.base_dir)["scores"]] == [2]


@pytest.mark.parametrize("name", ["interval", "num_pictures"])
def test_settings_that_measure_nothing_are_refused(name: str) -> None:
    settings: Any = {name: 0}
    with pytest.raises(UserError, match="measures nothing"):
        KeepBestConfig(**settings)


def test_the_best_of_a_training_is_kept_beside_the_latest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    values = [0.5, 0.3, 0.4, 0.2, 0.6, math.nan]
    script(monkeypatch, values)
    present: list[list[int]] = []
    check = KeepBest.check

    def watched(self: KeepBest, step: int, *rest: Any) -> None:
        check(self, step, *rest)
        present.append(best_steps(self.folder))

    monkeypatch.setattr(KeepBest, "check", watched)
    run = train(tiny_config(METHOD, tmp_path, steps=7, steps_per_save=2, **{"keep_best.interval": 1}))
    assert present == [[1], [2], [2], [4], [4], [4]], "one file at any time"
    assert [file.name for file in run.trainer.checkpoint_dir.iterdir()] == ["step-000000006.ckpt"]
    kept = scores(run.folder)
    assert kept["best_step"] == 4
    assert [entry["step"] for entry in kept["scores"]] == [1, 2, 3, 4, 5, 6]
    assert [entry["value"] for entry in kept["scores"]] == [*values[:5], None]
    assert [entry["kept"] for entry in kept["scores"]] == [True, True, False, True, False, False]
    seconds = [entry["cpu_seconds"] for entry in kept["scores"]]
    assert 0.0 < seconds[0] < seconds[-1]
    said = printed(capsys)
    assert f"The best: step 4, swd 0.2: --load-config {run.folder / BEST_CONFIG}" in said
    state = torch.load(run.folder / BEST_FOLDER / "step-000000004.ckpt", weights_only=True)
    assert state["step"] == 4 and state["scores"][-1]["kept"]
    assert not [path for path in run.folder.rglob("*") if "part" in path.name]


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """A run whose best step is 2 of 5, and whose pictures have grown at step 2."""
    stages = (CurriculumStage(0, 8, 2), CurriculumStage(2, 16, 2))
    with pytest.MonkeyPatch.context() as patch:
        script(patch, [0.1, 0.5, 0.6, 0.7])
        return train(
            tiny_config(METHOD, tmp_path_factory.mktemp("grown"), 5, curriculum=stages, **{"keep_best.interval": 1})
        )


def test_larger_pictures_begin_anew(grown: TrainedRun) -> None:
    assert [(entry["resolution"], entry["kept"]) for entry in scores(grown.folder)["scores"]] == [
        (8, True),
        (16, True),
        (16, False),
        (16, False),
    ]
    assert best_steps(grown.folder) == [2]


def test_the_best_opens_as_a_run(grown: TrainedRun) -> None:
    """With nerfstudio's reader and ours; config.yml goes on to open the latest."""
    from nerfstudio.utils.eval_utils import eval_setup

    from gan3d_ns.scripts.runs import load_run

    best = grown.folder / BEST_CONFIG
    state = torch.load(grown.folder / BEST_FOLDER / "step-000000002.ckpt", weights_only=True)["pipeline"]
    _, stock, path, step = eval_setup(best, test_mode="inference")
    assert (path.parent.name, step) == (BEST_FOLDER, 2)
    config, ours, step = load_run(best)
    assert (config.relative_model_dir, step) == (Path(BEST_FOLDER), 2)
    for pipeline in (stock, ours):
        torch.testing.assert_close(dict(pipeline.state_dict()), dict(state), rtol=0, atol=0)
    assert eval_setup(grown.config_file, test_mode="inference")[3] == load_run(grown.config_file)[2] == 4
    assert load_run(grown.folder)[2] == 4


def test_the_copy_of_the_config_differs_in_the_folder_only(grown: TrainedRun) -> None:
    """Once they are read: the resolutions that the model is told are filled in then."""
    files = [(grown.folder / name).read_text() for name in (BEST_CONFIG, "config.yml")]
    texts = [yaml.dump(yaml.load(text, Loader=yaml.Loader)) for text in files]
    assert texts[0].replace(BEST_FOLDER, "nerfstudio_models") == texts[1]


def test_a_moved_run_takes_its_best_along(grown: TrainedRun, tmp_path: Path) -> None:
    from gan3d_ns.scripts.runs import load_run

    moved = shutil.copytree(grown.folder, tmp_path / "moved")
    path = moved / BEST_FOLDER / "step-000000002.ckpt"
    torch.save({**torch.load(path, weights_only=True), "step": 77}, path)
    assert load_run(moved / BEST_CONFIG)[2] == 77, "not the one of the old place"


@pytest.mark.parametrize("source", ["nerfstudio_models", BEST_FOLDER])
def test_a_resumed_run_goes_on_with_history_and_best(
    source: str, grown: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, [0.55, 0.45])
    before = {path: path.read_bytes() for path in (grown.folder / BEST_FOLDER).iterdir()}
    settings = {"curriculum": grown.config.curriculum, "load_dir": grown.folder / source, "keep_best.interval": 1}
    first = 5 if source == "nerfstudio_models" else 3
    present: list[list[int]] = []
    check = KeepBest.check

    def watched(self: KeepBest, step: int, *rest: Any) -> None:
        present.append(best_steps(self.folder))
        check(self, step, *rest)

    monkeypatch.setattr(KeepBest, "check", watched)
    run = train(tiny_config(METHOD, tmp_path, 2, **settings))
    assert present == [[2], [2]], "the best of the earlier run was taken over"
    history = scores(run.folder)["scores"]
    assert [entry["step"] for entry in history] == [*range(1, first), first, first + 1]
    assert best_steps(run.folder) == [first + 1]
    assert {path: path.read_bytes() for path in (grown.folder / BEST_FOLDER).iterdir()} == before


def test_the_best_of_a_resumed_run_opens_without_the_earlier_one(grown: TrainedRun, tmp_path: Path) -> None:
    from nerfstudio.utils.eval_utils import eval_setup

    settings = {"curriculum": grown.config.curriculum, "load_dir": grown.folder / "nerfstudio_models", "load_step": 4}
    run = train(tiny_config(METHOD, tmp_path, 1, **{**settings, "keep_best.num_pictures": 3}))
    saved = yaml.load((run.folder / BEST_CONFIG).read_text(), Loader=yaml.Loader)
    assert (saved.load_dir, saved.load_step, saved.load_checkpoint) == (None, None, None)
    assert eval_setup(run.folder / BEST_CONFIG, test_mode="inference")[3] == 5


def test_training_by_the_best_config_is_refused(grown: TrainedRun) -> None:
    """Before it takes the place of config.yml."""
    from nerfstudio.scripts.train import main

    before = grown.config_file.read_bytes()
    config = tiny_config(METHOD, grown.folder.parent)
    config.load_config = grown.folder / BEST_CONFIG
    with pytest.raises(UserError, match=r"best\.yml opens .* not for training; go on from it with --load-dir"):
        main(config)
    assert grown.config_file.read_bytes() == before
    opened = yaml.load((grown.folder / BEST_CONFIG).read_text(), Loader=yaml.Loader)
    with pytest.raises(UserError, match="not for training"):
        opened.setup(local_rank=0, world_size=1)


def resumed(folder: Path, history: list[Score], metric: Any = "swd") -> KeepBest:
    """A keeper in a folder whose best is of step 9, after a resume from a checkpoint with this history."""
    config = tiny_config(METHOD, folder)
    earlier = KeepBest(KeepBestConfig(), config)
    earlier.history = [score(0.1, 9, kept=True)]
    assert earlier.publish(9, lambda path: (path.parent.mkdir(parents=True), path.touch())[1])
    earlier.write_scores()
    keeper = KeepBest(KeepBestConfig(metric=metric), config)
    state = [dataclasses.asdict(entry) for entry in history]
    keeper.resume(state, keeper.folder / "nerfstudio_models" / "step-000000005.ckpt")
    return keeper


@pytest.mark.parametrize("metric", ["swd", "none"])
@pytest.mark.parametrize("history", [[], [score(0.5, 3, kept=True), score(0.6, 4)]])
def test_the_best_of_steps_that_were_given_up_opens_no_more(history: list[Score], metric: str, tmp_path: Path) -> None:
    keeper = resumed(tmp_path, history, metric)
    assert not (keeper.folder / BEST_CONFIG).exists()
    kept = scores(keeper.folder)
    assert kept["best_step"] is None and [entry["step"] for entry in kept["scores"]] == [e.step for e in history]
    assert keeper.best is None


def test_resuming_without_a_metric_leaves_the_best_and_says_nothing_of_it(tmp_path: Path) -> None:
    keeper = resumed(tmp_path, [score(0.1, 9, kept=True)], "none")
    assert (keeper.folder / BEST_CONFIG).exists() and best_steps(keeper.folder) == [9]
    assert scores(keeper.folder)["best_step"] == 9
    assert (keeper.words(), keeper.next_steps(20), keeper.state()) == ("", [], [])


def test_resuming_where_the_best_lies_opens_it_again(tmp_path: Path) -> None:
    keeper = resumed(tmp_path, [])
    keeper.resume([dataclasses.asdict(score(0.1, 9, kept=True))], keeper.folder / "nerfstudio_models" / "last.ckpt")
    assert (keeper.folder / BEST_CONFIG).exists() and keeper.best is not None


def test_a_best_that_is_gone_begins_anew(grown: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = shutil.copytree(grown.folder, tmp_path / "moved")
    shutil.rmtree(moved / BEST_FOLDER)
    script(monkeypatch, [0.9])
    settings = {"curriculum": grown.config.curriculum, "load_dir": moved / "nerfstudio_models"}
    run = train(tiny_config(METHOD, tmp_path, 1, **settings))
    assert best_steps(run.folder) == [5]
    assert [entry["kept"] for entry in scores(run.folder)["scores"]] == [False, False, False, False, True]


def test_new_weights_begin_anew(make_trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, [0.1, 0.5])
    trainer = make_trainer(**{"keep_best.interval": 1})
    trainer.health.end = 100
    for step in range(2):
        trainer.train_iteration(step)
    trainer.reseed(1)
    trainer.train_iteration(2)
    assert best_steps(trainer.base_dir) == [2]
    assert [entry["start"] for entry in scores(trainer.base_dir)["scores"]] == [0, 1]


def test_a_full_disk_leaves_the_older_best(
    make_trainer: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script(monkeypatch, [0.5, 0.3, 0.4])
    trainer = make_trainer(**{"keep_best.interval": 1})
    trainer.health.end = 100
    for step in range(2):
        trainer.train_iteration(step)
    before = (trainer.base_dir / BEST_FOLDER / "step-000000001.ckpt").read_bytes()
    save = torch.save

    def full(_: Any, stream: Any) -> None:
        stream.write(b"PK half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    trainer.train_iteration(2)
    assert "best checkpoint, of step 2, could not be kept" in printed(capsys)
    assert best_steps(trainer.base_dir) == [1]
    assert (trainer.base_dir / BEST_FOLDER / "step-000000001.ckpt").read_bytes() == before
    assert scores(trainer.base_dir)["best_step"] == 1
    monkeypatch.setattr(torch, "save", save)
    trainer.train_iteration(3)
    assert best_steps(trainer.base_dir) == [3], "better than the one that is kept"


def test_a_config_that_cannot_be_written_leaves_the_older_best(
    make_trainer: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gan3d_ns.engine import keep_best

    script(monkeypatch, [0.5, 0.3])
    trainer = make_trainer(**{"keep_best.interval": 1})
    trainer.health.end = 100
    for step in range(2):
        trainer.train_iteration(step)

    def full(path: Path, content: bytes) -> None:
        raise UserError(f"cannot write {path}")

    monkeypatch.setattr(keep_best, "write_atomically", full)
    trainer.train_iteration(2)
    said = printed(capsys)
    assert "of step 2, could not be kept" in said and "The scores could not be kept" in said
    assert best_steps(trainer.base_dir) == [1]


def test_a_fault_in_measuring_is_told_once(
    make_trainer: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> Any:
        raise ValueError("injected [fault]")

    monkeypatch.setattr(KeepBest, "measure", broken)
    trainer = make_trainer(**{"keep_best.interval": 1})
    for step in range(4):
        trainer.train_iteration(step)
    assert printed(capsys).count("could not be measured (ValueError: injected [fault])") == 1
    assert not (trainer.base_dir / BEST_FOLDER).exists()


def test_spoilt_weights_are_never_the_best(make_trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, [0.5])
    trainer = make_trainer(**{"keep_best.interval": 1})
    trainer.train_iteration(0)
    with torch.no_grad():
        next(trainer.pipeline.discriminator.parameters()).fill_(torch.nan)
    with pytest.raises(UserError, match="diverged"):
        trainer.best.check(1, trainer.pipeline, 16, 0, TrainingCost(), trainer.whole_state)
    assert not (trainer.base_dir / BEST_FOLDER).exists()


@pytest.mark.parametrize("method", [METHOD, "pi-gan-tiny"])
def test_weights_do_not_depend_on_it(method: str, tmp_path: Path) -> None:
    runs = []
    for name, settings in (("with", {"interval": 1, "num_pictures": 4}), ("without", {"metric": "none"})):
        overrides = {f"keep_best.{key}": value for key, value in settings.items()}
        torch.manual_seed(0)
        runs.append(train(tiny_config(method, tmp_path / name, 4, steps_per_panel=2, **overrides)))
    assert same(*(weights_of(run.trainer.pipeline) for run in runs))
    first, second = (run.checkpoint(3) for run in runs)
    for part in ("pipeline", "optimizers"):
        torch.testing.assert_close(first[part], second[part], rtol=0, atol=0)
    assert best_steps(runs[0].folder) and not (runs[1].folder / BEST_FOLDER).exists()
    assert not (runs[1].folder / SCORES_NAME).exists()


def test_a_check_leaves_the_model_as_it_is_and_measures_the_same_twice(make_trainer: Any) -> None:
    trainer = make_trainer(**{"keep_best.interval": 1000})
    trainer.train_iteration(0)
    pipeline = trainer.pipeline
    before = {name: value.clone() for name, value in pipeline.state_dict().items()}
    modes = [module.training for module in pipeline.modules()]
    randomness = torch.get_rng_state()
    records = [trainer.best.measure(pipeline, 16) for _ in range(2)]
    assert records[0] == records[1] and records[0].protocol["num_pictures"] == NUM_PICTURES
    assert torch.equal(torch.get_rng_state(), randomness)
    assert [module.training for module in pipeline.modules()] == modes
    torch.testing.assert_close(dict(pipeline.state_dict()), before, rtol=0, atol=0)
    with torch.no_grad():
        for parameter in pipeline.model.generator.parameters():
            parameter.add_(1.0)
    assert trainer.best.measure(pipeline, 16) == records[0], "it is the average that is measured"


def test_the_score_reaches_records_and_report(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train(tiny_config(METHOD, tmp_path, steps=4, **{"keep_best.interval": 2}))
    events = EventAccumulator(str(run.folder))
    events.Reload()
    shown = {event.step: event.value for event in events.Scalars("Scores/swd")}
    assert shown == pytest.approx({entry["step"]: entry["value"] for entry in scores(run.folder)["scores"]})
    assert sorted(shown) == [2, 3]
    words = json.loads((run.folder / "health.json").read_text())["score"]
    assert words == run.trainer.best.words() and "at step 3" in words


@pytest.mark.parametrize("metric", ["fid", "kid"])
def test_other_metrics_choose_too(metric: str, tmp_path: Path) -> None:
    features = str(save_network(tmp_path / "cells.pt"))
    settings = {"keep_best.metric": metric, "keep_best.num_pictures": 5, "keep_best.features": features}
    config = tiny_config(METHOD, tmp_path, steps=2, **settings)
    config.data = write_pictures(tmp_path / "more", num=12)
    (entry,) = scores(train(config).folder)["scores"]
    assert (entry["metric"], entry["kept"], entry["resolution"]) == (metric, True, 16)
    assert (entry["protocol"]["num_generated"], entry["protocol"]["resolution"]) == (5, 16)
    assert entry["protocol"]["features_sha256"] == file_sha256(tmp_path / "cells.pt")


def test_opening_a_network_leaves_the_global_generator(
    tmp_path: Path, make_trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gan3d_ns.metrics import feature_networks

    opened, open_features = [], feature_networks.open_features

    def drawing(*given: Any, **named: Any) -> Any:
        opened.append(torch.randn(3))
        return open_features(*given, **named)

    monkeypatch.setattr(feature_networks, "open_features", drawing)
    trainer = make_trainer()
    trainer.best.settings = KeepBestConfig("fid", num_pictures=4, features=str(save_network(tmp_path / "cells.pt")))
    before = torch.get_rng_state()
    trainer.best.prepare(trainer.pipeline)
    assert opened and torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("features", "said"), [("nowhere.pt", "nowhere.pt"), ("", "too few")])
def test_what_a_metric_lacks_is_said_before_training(
    features: str, said: str, tmp_path: Path, make_trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gan3d_ns.metrics.picture_quality.MOST_NEEDED", NUM_PICTURES)
    network = features or str(save_network(tmp_path / "cells.pt"))
    with pytest.raises(UserError, match=said):
        make_trainer(**{"keep_best.metric": "fid", "keep_best.features": network})


def test_extra_files_do_not_stop_a_start(tmp_path: Path) -> None:
    """Only nerfstudio_models says that a run was here; old configs know nothing of all this and open."""
    config = tiny_config(METHOD, tmp_path, steps=1)
    (config.get_base_dir() / BEST_FOLDER).mkdir(parents=True)
    (config.get_base_dir() / BEST_FOLDER / "step-000000009.ckpt").touch()
    run = train(config)
    assert best_steps(run.folder) == [0]
    text = run.config_file.read_text()
    saved = yaml.load(text, Loader=yaml.Loader)
    state = vars(saved).copy()
    del state["keep_best"]
    fresh = type(saved)()
    fresh.__setstate__(state)
    assert fresh.keep_best == KeepBestConfig()
