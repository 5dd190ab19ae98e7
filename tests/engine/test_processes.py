"""Two processes on the CPU (gloo) train as one: gradients, weights, pictures, checkpoints, stops and errors."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from process_pair import SENTENCE, all_scenarios, load
from tiny_runs import METHOD, RESOLUTION, tiny_config
from torch import Tensor, nn

from gan3d_ns.errors import UserError, user_sentence

TOLERANCE = 1e-5
LOSSES = {
    "pipeline.loss.r1_weight": 3.0,
    "pipeline.loss.r2_weight": 1.0,
    "pipeline.loss.coverage_weight": 1.0,
    "pipeline.loss.normal_weight": 0.5,
    "pipeline.loss.path_length_interval": 1,
}
GRID = {
    "pipeline.model.prior_grid.enabled": True,
    "pipeline.model.prior_grid.resolution": 12,
    "pipeline.model.prior_grid.update_interval": 1,
    "pipeline.model.prior_grid.warmup_steps": 1,
}
SAVING = {"save_only_latest_checkpoint": False, "steps_per_save": 2, "keep_best.metric": "none"}


def gradient_configs(folder: Path) -> dict[str, Any]:
    """Every method, and between them every term of a loss."""
    from gan3d_ns.engine.schedules import CurriculumStage, TopKConfig

    half = {"top_k": TopKConfig(base=0.5, interval=1.0, floor=0.5)}
    relativistic = {"pipeline.loss.adversarial": "relativistic", "pipeline.augmentation": "diffaug"}
    styled = {"pipeline.loss.style_mixing": 0.9, "pipeline.loss.path_length_weight": 2.0}
    settings: dict[str, tuple[str, dict[str, Any]]] = {
        "gof": ("gof-gan-tiny", {**half, **GRID}),
        "relativistic": ("gof-gan-tiny", {**half, **relativistic, "pipeline.share_fakes": False}),
        "uneven": ("gof-gan-tiny", {"curriculum": (CurriculumStage(0, RESOLUTION, 5),)}),
        "volumegan": ("volumegan-tiny", styled),
        "pigan": ("pi-gan-tiny", {**half, **GRID}),
        "graf": ("graf-tiny", {}),
        "giraffe": ("giraffe-tiny", {}),
        "campari": ("campari-tiny", {}),
    }
    configs = {}
    for name, (method, changes) in settings.items():
        stages = {"curriculum": (CurriculumStage(0, RESOLUTION, 4),)}
        configs[name] = tiny_config(method, folder, **{**LOSSES, **stages, **changes})
        configs[name].pipeline.datamanager.data, configs[name].timestamp = configs[name].data, name
    # Adam's first step makes a slope of 1e-9 as long as one of 1, and its rounding as well.
    configs["campari"].optimizers["discriminator"]["optimizer"].lr = 0.0
    return configs


def whole_config(folder: Path, name: str, steps: int, **settings: Any) -> Any:
    from gan3d_ns.engine.schedules import CurriculumStage

    stages = (CurriculumStage(0, RESOLUTION, 4),)
    config = tiny_config(METHOD, folder, steps=steps, curriculum=stages, **{**SAVING, **settings})
    config.pipeline.datamanager.data, config.timestamp = config.data, name
    return config


@dataclass
class Pair:
    """What two processes and one process have found."""

    folder: Path
    configs: dict[str, Any]
    ended_by: BaseException

    def both(self, name: str) -> list[Any]:
        return [load(name, rank, self.folder) for rank in (0, 1)]

    def alone(self, name: str) -> Any:
        return load(name, 0, self.folder)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    from test_hollow_check import hollow_health
    from torch.multiprocessing.spawn import ProcessRaisedException

    from benchmarks.reliability.processes import launch

    folder = tmp_path_factory.mktemp("pair")
    configs: dict[str, Any] = {"gradients": gradient_configs(folder), "alone": whole_config(folder, "alone", 5)}
    configs["hollow"], configs["outward"] = hollow_health(True), hollow_health(False)
    checked = {"hollow_check_step": 1, "hollow_reseeds": 1, "steps_per_panel": 2, "vis": "viewer+tensorboard"}
    checked |= {"keep_best.metric": "swd", "keep_best.interval": 2, "keep_best.num_pictures": 8}
    checked |= {"viewer.quit_on_train_completion": True, "viewer.websocket_port": 0}
    configs["run"] = whole_config(folder, "run", 5, **checked)
    configs["resumed"] = whole_config(folder, "resumed", 2)
    configs["one"] = copy.deepcopy(configs["run"])
    configs["one"].timestamp, configs["one"].max_num_iterations, configs["one"].vis = "one", 2, "tensorboard"
    for name, other in (("resumed", "alone"), ("one", "run")):
        configs[name].load_dir, configs[name].load_step = configs[other].get_checkpoint_dir(), 2
    for name in ("stopped", "diverged", "failed"):
        configs[name] = whole_config(folder, name, 50)
    (folder / "configs.pkl").write_bytes(pickle.dumps(configs))
    with pytest.raises(ProcessRaisedException) as end:
        launch(all_scenarios, 2, folder)
    return Pair(folder, configs, end.value)


NAMES = ["gof", "relativistic", "uneven", "volumegan", "pigan", "graf", "giraffe", "campari"]


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_one_process_with_the_whole_batch(name: str, pair: Pair) -> None:
    from benchmarks.reliability.processes import largest_differences

    right = pair.alone(f"{name}-alone")
    for found in pair.both(name):
        assert {group for group, gradients in found["gradients"].items() if gradients} >= {"generator", "discriminator"}
        differences = largest_differences(found["gradients"], right["gradients"])
        assert max(differences.values()) < TOLERANCE, differences
        assert found["terms"].keys() == right["terms"].keys()
        for term, value in right["terms"].items():
            torch.testing.assert_close(found["terms"][term], value.reshape(()), rtol=1e-4, atol=1e-6, msg=term)
        for measure in ("hit_rate", "accumulation", "score_real", "resolution"):
            assert float(found["measures"][measure]) == pytest.approx(float(right["measures"][measure]), rel=1e-4)
    for looked_at in ("real", "fake", "poses"):
        shares = [found[looked_at] for found in pair.both(name)]
        assert len(shares[0]) < len(right[looked_at])
        torch.testing.assert_close(torch.cat(shares), right[looked_at], rtol=1e-3, atol=1e-3)


def test_every_term_was_among_them(pair: Pair) -> None:
    terms = {term for name in NAMES for term in pair.both(name)[0]["terms"]}
    phases = {"d_adversarial", "d_pose", "d_r1", "d_r2", "g_adversarial", "g_pose"}
    assert terms == phases | {"g_opacity", "g_coverage", "g_normal", "g_path"}


@pytest.mark.parametrize("name", [*NAMES, "run", "resumed"])
def test_both_processes_hold_the_same_weights_to_the_last_bit(name: str, pair: Pair) -> None:
    """Generator, average, discriminator, prior grid and running mean; only what is shown is the first one's alone."""
    first, second = (found["state"] for found in pair.both(name))
    assert first.keys() == second.keys()
    for entry, tensor in first.items():
        if not entry.endswith("mean_code"):
            assert torch.equal(tensor, second[entry]), entry
    if name in ("gof", "pigan"):
        assert int(first["_model.prior_grid.num_updates"]) == 2
    if name == "volumegan":
        assert float(first["path_length.running_mean"]) > 0


def test_processes_look_at_different_pictures(pair: Pair) -> None:
    for name in NAMES:
        first, second = pair.both(name)
        for looked_at in ("real", "fake", "poses"):
            for picture in first[looked_at]:
                assert (second[looked_at] - picture).abs().flatten(1).amax(dim=1).min() > 1e-4, (name, looked_at)


def test_only_the_first_process_writes_and_looks(pair: Pair) -> None:
    first, second = pair.both("run")
    assert second["written"] == []
    assert second["looks"] == 0 and first["looks"] == 2
    names = {Path(path).name for path in first["written"]}
    assert "dataparser_transforms.json" in names
    folder = pair.configs["run"].get_base_dir()
    assert {"samples.png", "health.json", "scores.json", "best.yml"} <= {file.name for file in folder.iterdir()}
    assert (folder / "nerfstudio_models" / "step-000000004.ckpt").is_file()


def test_new_weights_are_those_of_the_first_process(pair: Pair) -> None:
    first, second = pair.both("run")
    assert first["started_at"] == second["started_at"] == 1
    assert first["left"] == second["left"] == 0
    assert first["losses"].keys() == second["losses"].keys()
    for step, terms in first["losses"].items():
        assert {name: float(term) for name, term in terms.items()} == {
            name: float(term) for name, term in second["losses"][step].items()
        }


def test_two_processes_go_on_from_a_checkpoint_of_one(pair: Pair) -> None:
    for found in pair.both("resumed"):
        assert list(found["losses"]) == [3, 4]
        for step, terms in found["losses"].items():
            same_losses(terms, pair.alone("alone")["losses"][step])


def test_one_process_goes_on_from_a_checkpoint_of_two(pair: Pair) -> None:
    losses = pair.both("run")[0]["losses"]
    found = pair.alone("one")["losses"]
    assert list(found) == [3, 4]
    for step, terms in found.items():
        same_losses(terms, losses[step])


def same_losses(found: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert found.keys() == right.keys()
    for name, value in right.items():
        assert float(found[name]) == pytest.approx(float(value), rel=1e-3, abs=1e-5), name


def test_a_stop_that_one_is_asked_for_ends_both_after_the_same_step(pair: Pair) -> None:
    assert [found["last"] for found in pair.both("stopped")] == [1, 1]
    checkpoints = pair.configs["stopped"].get_checkpoint_dir()
    assert [file.name for file in checkpoints.iterdir()] == ["step-000000001.ckpt"]


def test_a_loss_that_diverges_in_one_ends_both_with_the_same_words(pair: Pair) -> None:
    first, second = (found["message"] for found in pair.both("diverged"))
    assert first == second
    assert "the loss is nan at step 1" in first


def test_an_error_in_one_ends_both_with_its_sentence(pair: Pair) -> None:
    assert user_sentence(pair.ended_by) == SENTENCE


def test_more_processes_than_pictures_are_refused(tmp_path: Path) -> None:
    from gan3d_ns.engine.schedules import CurriculumStage

    config = tiny_config(METHOD, tmp_path, curriculum=(CurriculumStage(0, 16, 4), CurriculumStage(9, 32, 2)))
    config.pipeline.discriminator.resolution = 32
    with pytest.raises(UserError, match=r"3 processes cannot share a batch of 2 pictures.*take 2"):
        config.setup(local_rank=0, world_size=3)


def test_processes_that_were_not_started_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="do not know of each other"):
        tiny_config(METHOD, tmp_path).setup(local_rank=0, world_size=2)


@pytest.mark.parametrize(
    ("settings", "cuda_devices", "words"),
    [
        ({"num_devices": 2, "device_type": "cpu"}, 0, "--machine.num-devices 1"),
        ({"num_devices": 2, "device_type": "cuda"}, 0, "this one has 0"),
        ({"num_devices": 4, "device_type": "cuda"}, 2, "--machine.num-devices 2"),
        ({"num_devices": 1, "num_machines": 2, "device_type": "cuda"}, 1, "--machine.dist-url tcp://HOST:PORT"),
        ({"num_devices": 0}, 0, "1 or more"),
        ({"num_machines": 2, "machine_rank": 2}, 1, "--machine.machine-rank"),
    ],
)
def test_what_cannot_be_started_is_refused_before_anything_is_written(
    settings: dict[str, Any], cuda_devices: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda_devices > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda_devices)
    config = tiny_config(METHOD, tmp_path, **{f"machine.{name}": value for name, value in settings.items()})
    with pytest.raises(UserError) as refusal:
        config.save_config()
    assert words in str(refusal.value) and "\n" not in str(refusal.value)
    assert not config.output_dir.exists()


def test_the_second_machine_writes_no_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    machine = {"num_machines": 2, "machine_rank": 1, "device_type": "cuda", "dist_url": "tcp://10.0.0.1:9000"}
    config = tiny_config(METHOD, tmp_path, **{f"machine.{name}": value for name, value in machine.items()})
    config.save_config()
    assert not config.output_dir.exists()
    config.machine.machine_rank = 0
    config.save_config()
    assert (config.get_base_dir() / "config.yml").is_file()


def test_a_process_alone_sends_nothing() -> None:
    from gan3d_ns.engine.processes import Processes

    processes, layer = Processes(), nn.Linear(2, 1)
    numbers = torch.ones(3)
    assert processes.total(numbers).data_ptr() == numbers.data_ptr()
    assert processes.any(True) and not processes.any(False)
    layer(torch.ones(1, 2)).sum().backward()
    before = [entry.grad.clone() for entry in layer.parameters() if entry.grad is not None]
    processes.add_gradients(layer.parameters())
    processes.share(layer)
    processes.wait()
    assert all(torch.equal(entry.grad, old) for entry, old in zip(layer.parameters(), before, strict=True))  # pyright: ignore


@pytest.mark.parametrize(("mine", "other", "agreed"), [(7, 7, True), (7, 4, False), (7, -2, False), (None, 7, True)])
def test_processes_go_on_from_the_same_step(
    mine: int | None, other: int, agreed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which has read nothing says why itself."""
    from gan3d_ns.engine.processes import Processes

    processes = Processes()
    monkeypatch.setattr(processes, "count", 2)
    monkeypatch.setattr(processes, "total", lambda numbers: numbers + torch.tensor([0.0, float(other)]))
    if agreed:
        processes.go_on_from(mine)
    else:
        with pytest.raises(UserError, match="would go on from different steps"):
            processes.go_on_from(mine)
