"""The training loop: schedules reach what they steer, and whatever goes wrong ends in one sentence and a checkpoint."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import pytest
import torch
import yaml
from recorded_training import TrainedRun, train
from tiny_runs import METHOD, RESOLUTION, same, tiny_config, weights_of, write_pictures
from torch import Tensor

from gan3d_ns.errors import UserError


def one_sentence(error: BaseException) -> str:
    message = str(error)
    assert "\n" not in message
    assert message.endswith(".")
    return message


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """A run with panels and nerfstudio's evaluation hooks."""
    settings = {"steps_per_panel": 2, "steps_per_save": 2, "panel_objects": 3}
    hooks = {"steps_per_eval_batch": 1, "steps_per_eval_image": 2, "steps_per_eval_all_images": 2}
    return train(tiny_config(METHOD, tmp_path_factory.mktemp("logged"), steps=4, **settings, **hooks))


def test_tensorboard_has_losses_and_the_panel(logged: TrainedRun) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(logged.folder))
    events.Reload()
    tags = events.Tags()
    expected = {f"Train Loss Dict/{name}" for terms in logged.losses.values() for name in terms}
    expected |= {"Train Loss", "Train Metrics Dict/hit_rate", "Train Metrics Dict/resolution", "Geometry/relief"}
    assert expected <= set(tags["scalars"])
    steps = [event.step for event in events.Scalars("Train Loss Dict/g_adversarial")]
    assert steps == [0, 1, 2, 3]
    assert "Samples" in tags["images"]


def test_the_sample_panel_is_a_picture_of_every_object(logged: TrainedRun) -> None:
    from gan3d_ns.engine.gan_trainer import PANEL_YAWS

    panel = imageio.imread(logged.folder / "samples.png")
    side = 2 * RESOLUTION
    assert panel.shape == (3 * PANEL_YAWS * side, 3 * side, 3)
    assert panel.std() > 5


def test_only_the_latest_checkpoint_is_kept_by_default(logged: TrainedRun) -> None:
    assert [file.name for file in logged.config.get_checkpoint_dir().iterdir()] == ["step-000000003.ckpt"]


def test_the_world_frame_is_the_training_frame(logged: TrainedRun) -> None:
    """nerfstudio's scripts look for this file beside config.yml."""
    transform = yaml.safe_load((logged.folder / "dataparser_transforms.json").read_text())
    assert transform["scale"] == 1.0
    assert transform["transform"] == [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]


def test_the_next_steps_are_printed_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tiny_config(METHOD, tmp_path, steps=1)
    train(config)
    printed = capsys.readouterr().out
    assert printed.count("What next") == 1
    for command in ("ns-viewer --load-config", "gan3d export mesh", "ns-train gof-gan-tiny --load-dir"):
        assert command in printed


def test_schedules_and_curriculum_reach_what_they_steer(make_trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from gan3d_ns.discriminators.small import SmallDiscriminator
    from gan3d_ns.engine.schedules import CurriculumStage, WindowScheduleConfig

    stages = (CurriculumStage(0, 16, 2), CurriculumStage(2, 32, 4, lr_generator=1e-4, lr_discriminator=2e-4))
    trainer = make_trainer(
        **{"pipeline.discriminator.resolution": 32, "mapping_lr_factor": 0.5, "fade_steps": 2, "curriculum": stages},
        window=WindowScheduleConfig(0.12, 0.03, 0.1),
        geometry_release_steps=2,
    )
    seen: list[tuple[int, int, float]] = []
    judge = SmallDiscriminator.forward

    def noted(self: Any, images: Tensor, fade: float = 1.0) -> Any:
        seen.append((images.shape[0], images.shape[-1], fade))
        return judge(self, images, fade)

    monkeypatch.setattr(SmallDiscriminator, "forward", noted)
    for step in range(5):
        seen.clear()
        _, terms, measures = trainer.train_iteration(step)
        batch, side, fade = (2, 16, 1.0) if step < 2 else (4, 32, min(1.0, (step - 2) / 2))
        assert set(seen) == {(batch, side, fade)}
        assert all(torch.isfinite(term) for term in terms.values())
        assert float(measures["resolution"]) == side
        for generator in (trainer.pipeline.model.generator, trainer.pipeline.model.generator_ema):
            assert float(generator.sampler.half_width) == pytest.approx(trainer.config.window.value(step))
            assert float(generator.field.start_shape.geometry_release) == pytest.approx(min(1.0, step / 2))
    rates = {name: entry.param_groups[0]["lr"] for name, entry in trainer.optimizers.optimizers.items()}
    assert rates == pytest.approx({"generator": 1e-4, "mapping": 5e-5, "discriminator": 2e-4})


@pytest.mark.parametrize("share_fakes", [True, False])
@pytest.mark.parametrize("batch_split", [1, 2])
def test_ways_to_feed_a_step(
    share_fakes: bool, batch_split: int, make_trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shared pictures are rendered once; those of split batches are rendered again, from the same search."""
    from gan3d_ns.engine.schedules import CurriculumStage

    stage = CurriculumStage(0, RESOLUTION, 4, batch_split=batch_split)
    trainer = make_trainer(**{"pipeline.share_fakes": share_fakes, "curriculum": (stage,)})
    pipeline = trainer.pipeline
    rendered: list[int] = []
    latents: list[Tensor] = []
    draws: list[int] = []
    render, draw = pipeline.render, pipeline.draw

    def noted(batch: Any, *arguments: Any) -> Any:
        rendered.append(len(batch))
        latents.append(batch.latents)
        return render(batch, *arguments)

    def drawn(count: int, *arguments: Any) -> Any:
        draws.append(count)
        return draw(count, *arguments)

    monkeypatch.setattr(pipeline, "render", noted)
    monkeypatch.setattr(pipeline, "draw", drawn)
    players = (pipeline.model.generator, pipeline.model.generator_ema, pipeline.discriminator)
    before = [weights_of(player) for player in players]
    trainer.train_iteration(0)
    assert draws == [4] * (1 if share_fakes else 2)
    once = share_fakes and batch_split == 1
    assert rendered == [4 // batch_split] * batch_split * (1 if once else 2)
    if not once:
        first, second = torch.cat(latents).chunk(2)
        assert torch.equal(first, second) == share_fakes
    assert not any(same(old, weights_of(player)) for old, player in zip(before, players, strict=True))


def test_the_relativistic_loss_trains(make_trainer: Any) -> None:
    trainer = make_trainer(**{"pipeline.loss.adversarial": "relativistic", "pipeline.loss.r2_weight": 1.0})
    for step in range(2):
        _, terms, _ = trainer.train_iteration(step)
        assert {"d_r1", "d_r2"} <= terms.keys()
        assert all(torch.isfinite(term) for term in terms.values())


@pytest.mark.parametrize("adversarial", ["non-saturating", "relativistic"])
def test_an_augmented_training_resumes_exactly(adversarial: str, make_trainer: Any) -> None:
    """With lazy penalties of both kinds, split batches and fewer and fewer pictures kept."""
    from gan3d_ns.engine.schedules import CurriculumStage, TopKConfig

    settings = {"adversarial": adversarial, "r1_weight": 1.0, "r2_weight": 1.0, "penalty_interval": 2}
    trainer = make_trainer(
        **{f"pipeline.loss.{name}": value for name, value in settings.items()},
        **{"pipeline.augmentation": "diffaug", "curriculum": (CurriculumStage(0, RESOLUTION, 4, batch_split=2),)},
        top_k=TopKConfig(base=0.5, interval=1.0, floor=0.5),
    )
    trainer.train_iteration(0)
    trainer.save_checkpoint(0)
    first = [trainer.train_iteration(step)[1] for step in (1, 2)]
    weights = weights_of(trainer.pipeline)
    trainer.config.load_dir = trainer.checkpoint_dir
    trainer._load_checkpoint()
    second = [trainer.train_iteration(step)[1] for step in (1, 2)]
    assert [("d_r1" in terms, "d_r2" in terms) for terms in first] == [(False, False), (True, True)]
    torch.testing.assert_close(second, first, rtol=0, atol=0)
    torch.testing.assert_close(weights_of(trainer.pipeline), weights, rtol=0, atol=0)


def test_penalties_come_at_their_interval(make_trainer: Any) -> None:
    trainer = make_trainer(**{"pipeline.loss.penalty_interval": 3})
    assert ["d_r1" in trainer.train_iteration(step)[1] for step in range(5)] == [True, False, False, True, False]


def poison(module: torch.nn.Module) -> None:
    with torch.no_grad():
        next(module.parameters()).fill_(torch.nan)


@pytest.mark.parametrize("which", ["generator", "discriminator"])
def test_a_diverged_training_stops_and_keeps_its_last_checkpoint(
    which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gan3d_ns.engine.checkpoint_files import read_checkpoint
    from gan3d_ns.engine.gan_trainer import GanTrainer

    iterate = GanTrainer.train_iteration

    def poisoned(trainer: Any, step: int) -> Any:
        if step == 3:
            poison(trainer.pipeline.model.generator if which == "generator" else trainer.pipeline.discriminator)
        return iterate(trainer, step)

    monkeypatch.setattr(GanTrainer, "train_iteration", poisoned)
    config = tiny_config(METHOD, tmp_path, steps=6, steps_per_save=2)
    with pytest.raises(UserError, match="the training has diverged") as stop:
        train(config)
    kept = config.get_checkpoint_dir() / "step-000000002.ckpt"
    assert str(kept) in one_sentence(stop.value)
    state = read_checkpoint(kept)
    assert all(torch.isfinite(tensor).all() for tensor in state["pipeline"].values())


def test_spoilt_weights_never_replace_a_good_checkpoint(make_trainer: Any) -> None:
    """A gradient that overflows spoils the weights after a finite loss: the step to save may come before the next."""
    trainer = make_trainer()
    trainer.train_iteration(0)
    trainer.save_checkpoint(0)
    poison(trainer.pipeline.model.generator)
    with pytest.raises(UserError, match="diverged") as stop:
        trainer.save_checkpoint(1)
    assert "step-000000000.ckpt" in one_sentence(stop.value)
    assert [file.name for file in trainer.checkpoint_dir.iterdir()] == ["step-000000000.ckpt"]


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), RuntimeError("unexpected pos 64 vs 0")])
def test_a_full_disk_costs_one_checkpoint_only(
    fault: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gan3d_ns.engine.checkpoint_files import read_checkpoint

    save, saved = torch.save, []
    config = tiny_config(METHOD, tmp_path, steps=6, steps_per_save=2, **{"keep_best.metric": "none"})

    def failing(state: dict[str, Any], stream: Any) -> None:
        saved.append(state["step"])
        if state["step"] == 4:
            stream.write(b"PK half of it")
            raise fault
        if state["step"] == 5:
            present = sorted(file.name for file in config.get_checkpoint_dir().iterdir())
            assert present == ["step-000000002.ckpt"], "the older checkpoint is whole and alone"
            read_checkpoint(config.get_checkpoint_dir() / present[0])
        save(state, stream)

    monkeypatch.setattr(torch, "save", failing)
    run = train(config)
    assert saved == [2, 4, 5]
    assert "the checkpoint of step 4 could not be written" in " ".join(capsys.readouterr().out.split())
    files = {file.name for file in run.folder.rglob("*") if file.is_file()}
    assert "step-000000005.ckpt" in files
    assert not [name for name in files if "partial" in name or "tmp" in name]


def test_a_training_that_cannot_save_its_end_says_so(make_trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer()
    trainer.training_state = "completed"

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match="No space left on device") as stop:
        trainer.save_checkpoint(7)
    assert "older checkpoints are untouched" in one_sentence(stop.value)


def resume_error(config: Any, folder: Path, **settings: Any) -> str:
    config = copy.deepcopy(config)
    config.timestamp, config.load_dir, config.max_num_iterations = "again", folder, 1
    for name, value in settings.items():
        setattr(config, name, value)
    with pytest.raises(UserError) as stop:
        train(config)
    return one_sentence(stop.value)


def test_what_cannot_be_resumed_is_said_in_a_sentence(logged: TrainedRun, tmp_path: Path) -> None:
    good = logged.config.get_checkpoint_dir() / "step-000000003.ckpt"
    cut = tmp_path / "cut" / good.name
    cut.parent.mkdir()
    cut.write_bytes(good.read_bytes()[:-200])
    (tmp_path / "empty").mkdir()
    config = logged.config
    assert f"the checkpoint {cut} cannot be read" in resume_error(config, cut.parent)
    assert "there is no checkpoint (step-*.ckpt)" in resume_error(config, tmp_path / "empty")
    assert "there is no folder" in resume_error(config, tmp_path / "missing")
    assert "there is no checkpoint of step 77" in resume_error(config, good.parent, load_step=77)
    assert "there is no checkpoint" in resume_error(config, None, load_checkpoint=tmp_path / "a.ckpt")


def test_an_unreadable_file_is_no_checkpoint(tmp_path: Path) -> None:
    from gan3d_ns.engine.checkpoint_files import read_checkpoint

    empty, other = tmp_path / "empty.ckpt", tmp_path / "other.ckpt"
    empty.touch()
    torch.save({"weights": torch.zeros(2)}, other)
    for path, reason in ((empty, "cannot be read"), (other, "is not a training checkpoint")):
        with pytest.raises(UserError, match=reason) as refusal:
            read_checkpoint(path)
        one_sentence(refusal.value)


def test_a_run_of_a_cpu_goes_on_with_mixed_precision(make_trainer: Any) -> None:
    """A CPU's scaler is off and saves nothing; a GPU's scaler refuses to load nothing."""
    trainer = make_trainer()
    trainer.train_iteration(0)
    trainer.save_checkpoint(0)
    trainer.config.load_dir = trainer.checkpoint_dir
    trainer.grad_scaler = torch.amp.GradScaler("cpu", enabled=True)
    trainer._load_checkpoint()
    assert trainer._start_step == 1


def data_error(folder: Path, tmp_path: Path) -> str:
    config = tiny_config(METHOD, tmp_path / "run")
    config.data = folder
    with pytest.raises(UserError) as stop:
        train(config)
    return one_sentence(stop.value)


def test_unusable_pictures_are_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    single = write_pictures(tmp_path / "single", num=1)
    assert "does not exist" in data_error(tmp_path / "missing", tmp_path)
    assert str(tmp_path / "empty") in data_error(tmp_path / "empty", tmp_path)
    assert "1 usable image in" in data_error(single, tmp_path)
    assert "is a file" in data_error(single / "disc0.png", tmp_path)


def test_errors_close_the_viewer(make_trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its threads would keep the process alive after the sentence was printed."""
    trainer = make_trainer()
    closed: list[bool] = []
    monkeypatch.setattr(trainer, "shutdown", lambda: closed.append(True))
    poison(trainer.pipeline.discriminator)
    with pytest.raises(UserError, match="diverged"):
        trainer.train()
    assert closed == [True]


def test_a_discriminator_that_is_too_small_is_refused(tmp_path: Path) -> None:
    from gan3d_ns.engine.schedules import CurriculumStage

    config = tiny_config(METHOD, tmp_path, curriculum=(CurriculumStage(0, 16, 2), CurriculumStage(5, 64, 2)))
    with pytest.raises(UserError, match=r"--pipeline\.discriminator\.resolution 64") as refusal:
        config.setup(local_rank=0, world_size=1)
    one_sentence(refusal.value)


@pytest.mark.parametrize("interval", [1, 2])
def test_half_precision_reaches_the_trunk_and_steps_every_optimizer(interval: int, make_trainer: Any) -> None:
    """Weights that the search casts without gradient must not be handed on to the graded pass."""
    half = {"mixed_precision": True, "half_precision": "bfloat16"}
    trainer = make_trainer(**{"pipeline.model.field": "film-siren", "pipeline.loss.penalty_interval": interval, **half})
    assert trainer.mixed_precision, "on a CPU too"
    trainer.grad_scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    before = weights_of(trainer.pipeline.discriminator)
    for step in range(3):
        _, terms, _ = trainer.train_iteration(step)
        assert all(torch.isfinite(term) for term in terms.values())
    trunk = trainer.pipeline.model.generator.field.trunk
    for name, parameter in trunk.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    assert not same(before, weights_of(trainer.pipeline.discriminator))


def test_an_earlier_run_is_not_trained_over(make_trainer: Any) -> None:
    trainer = make_trainer()
    trainer.train_iteration(0)
    trainer.save_checkpoint(0)
    kept = sorted(trainer.checkpoint_dir.iterdir())
    with pytest.raises(UserError, match="earlier run") as refusal:
        trainer.config.setup(local_rank=0, world_size=1).setup()
    one_sentence_or_two = str(refusal.value)
    assert f"--load-dir {trainer.checkpoint_dir}" in one_sentence_or_two
    assert sorted(trainer.checkpoint_dir.iterdir()) == kept


def test_an_interrupt_saves_the_last_whole_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gan3d_ns.engine.gan_trainer import GanTrainer

    original = GanTrainer.train_iteration

    def interrupted(self: GanTrainer, step: int) -> Any:
        if step == 2:
            raise KeyboardInterrupt
        return original(self, step)

    monkeypatch.setattr(GanTrainer, "train_iteration", interrupted)
    run = train(tiny_config(METHOD, tmp_path, steps=5, steps_per_save=1000))
    assert [file.name for file in run.trainer.checkpoint_dir.iterdir()] == ["step-000000001.ckpt"]
    assert "What next" in capsys.readouterr().out


def test_a_panel_that_cannot_be_written_does_not_end_the_training(
    make_trainer: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = make_trainer()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    trainer.write_panel(1)
    assert "sample panel of step 1: cannot write" in " ".join(capsys.readouterr().out.split())


def test_without_data_the_toy_cars_are_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The preset of the built-in collection applies, and config.yml holds it for viewer and exporters."""
    from gan3d_ns.data import datamanager

    folder = write_pictures(tmp_path / "cars")
    monkeypatch.setattr(datamanager, "built_in_folder", lambda built_in: folder)
    config = tiny_config(METHOD, tmp_path, steps=1)
    config.data = None
    run = train(config)
    assert run.folder.parent.parent.name == "toy-cars"
    saved = yaml.load(run.config_file.read_text(), Loader=yaml.Loader)
    for model in (saved.pipeline.model, run.trainer.pipeline.model.config):
        assert model.background == "white"
        assert model.pose_prior.yaw_spread_deg == 180.0
    assert run.trainer.pipeline.periodic_yaw


def test_a_preset_is_applied_and_saved(tmp_path: Path) -> None:
    config = tiny_config(METHOD, tmp_path, steps=1, preset="carla", **{"pipeline.model.pose_prior.fov_deg": 20.0})
    run = train(config)
    saved = yaml.load(run.config_file.read_text(), Loader=yaml.Loader)
    assert saved.pipeline.model.background == "white"
    assert saved.pipeline.model.pose_prior.fov_deg == 20.0
    assert saved.pipeline.datamanager.horizontal_flip is False
    assert saved.preset == saved.base_preset == "carla"
