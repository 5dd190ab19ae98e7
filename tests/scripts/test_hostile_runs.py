"""Runs of other versions and of strangers: they open or end in a sentence, no code in them runs, no file changes."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from nerfstudio.configs.method_configs import all_methods
from nerfstudio.utils.eval_utils import eval_setup
from nerfstudio.utils.rich_utils import CONSOLE
from tiny_runs import make_tiny_run

from gan3d_ns.engine.trainer_config import GanTrainerConfig
from gan3d_ns.errors import UserError, user_sentence
from gan3d_ns.scripts.runs import load_run, read_run_config

TINY_METHODS = [name for name, config in all_methods.items() if type(config) is GanTrainerConfig and "tiny" in name]


class Runs:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (os.system, (f"touch {self.mark}",))


def checkpoint_of(config: Path) -> Path:
    (path,) = config.parent.rglob("nerfstudio_models/*.ckpt")
    return path


def change(config: Path, pattern: str, replacement: str) -> None:
    text, count = re.subn(pattern, replacement, config.read_text(encoding="utf-8"), count=1, flags=re.MULTILINE)
    assert count == 1
    config.write_text(text, encoding="utf-8")


def refusal(read: Callable[[], Any]) -> str:
    with pytest.raises(UserError) as caught:
        read()
    return str(caught.value)


@pytest.mark.parametrize("method", TINY_METHODS)
def test_our_reader_finds_what_nerfstudio_reads(method: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text(yaml.dump(all_methods[method]))
    ours, theirs = read_run_config(path), yaml.load(path.read_text(), Loader=yaml.Loader)
    assert ours == theirs and repr(ours) == repr(theirs)


def test_settings_that_an_older_version_did_not_write_have_their_defaults(copied_run: Path) -> None:
    """At the top and in the parts, for gan3d and for nerfstudio's commands."""
    for line in (r"^ema_decay: .*\n", r"^  interval: 2000.0\n", r"^      max_megapixels: .*\n"):
        change(copied_run, line, "")
    ours, theirs = read_run_config(copied_run), yaml.load(copied_run.read_text(encoding="utf-8"), Loader=yaml.Loader)
    for config in (ours, theirs):
        assert config.top_k.interval == 2000
        assert config.pipeline.datamanager.collection.max_megapixels == 100.0
        assert config.ema_decay == GanTrainerConfig().ema_decay
    assert ours == theirs


def test_settings_of_a_newer_version_are_named_and_left_out(copied_run: Path) -> None:
    change(copied_run, r"^ema_decay:", "from_the_future: 3\nema_decay:")
    change(copied_run, r"^  interval: 1000$", "  interval: 1000\n  horizon: [1, 2]")
    with CONSOLE.capture() as printed:
        config = read_run_config(copied_run)
    assert "from_the_future, keep_best.horizon" in printed.get()
    assert not hasattr(config, "from_the_future") and not hasattr(config.keep_best, "horizon")
    assert not hasattr(yaml.load(copied_run.read_text(encoding="utf-8"), Loader=yaml.Loader).keep_best, "horizon")


@pytest.mark.parametrize(
    ("pattern", "replacement", "sentence"),
    [
        (r"^ema_decay: .*", "ema_decay: often", r"the setting ema_decay is 'often', which is no float"),
        (r"^fade_steps: .*", "fade_steps: 1.5", r"the setting fade_steps is 1.5, which is no int"),
        (r"^  resolution: 16", "  resolution: -16", r"stage 1 has the resolution -16"),
        (r"    plane_channels: 4", "    plane_channels: -4", r"make no model|plane_channels"),
        (r"    generator_channels: !!python/tuple", "    generator_channels:", r"generator_channels is \[8, 8, 8\]"),
        (r"^  metric: swd", "  metric: beauty", r"keep_best.metric is 'beauty'"),
        (r"^  interval: 1000$", "  interval: 0", r"keep_best are impossible.*measures nothing"),
        (r"schedules.TopKConfig", "schedules.GoneConfig", r"GoneConfig, settings that gan3d_ns .* does not have"),
        (r"engine.schedules.TopKConfig", "gone.TopKConfig", r"gone.TopKConfig, settings that gan3d_ns"),
        (
            r"^  _target: !!python/name:\S+",
            "  _target: !!python/name:torch.optim.sgd.SGD",
            r"reading it could run code",
        ),
        (r"^preset: ", "? [a, b]\n: 1\npreset: ", r"keys that are no names"),
    ],
)
def test_impossible_settings_are_named(copied_run: Path, pattern: str, replacement: str, sentence: str) -> None:
    change(copied_run, pattern, replacement)
    assert re.search(sentence, refusal(lambda: load_run(copied_run)))


def test_nerfstudio_says_what_a_config_names_that_is_gone(copied_run: Path) -> None:
    change(copied_run, r"schedules.TopKConfig", "schedules.GoneConfig")
    with pytest.raises(yaml.YAMLError) as caught:
        eval_setup(copied_run, test_mode="inference")
    sentence = user_sentence(caught.value)
    assert sentence is not None and "GoneConfig" in sentence and "with the version that wrote it" in sentence
    assert user_sentence(yaml.YAMLError("of somebody else")) is None


def test_a_config_of_windows_opens(copied_run: Path) -> None:
    copied_run.write_text(
        copied_run.read_text(encoding="utf-8").replace("pathlib.PosixPath", "pathlib.WindowsPath"), encoding="utf-8"
    )
    config = read_run_config(copied_run)
    assert isinstance(config.output_dir, Path) and config.output_dir.name == "outputs"


@pytest.fixture
def harmful_run(copied_run: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A run whose checkpoint would make a file, and that file; nerfstudio's commands find the checkpoint too."""
    mark = tmp_path / "mark"
    run = copied_run.parent / "pictures" / "gof-gan-tiny" / "tiny"
    run.mkdir(parents=True)
    (copied_run.parent / "nerfstudio_models").rename(run / "nerfstudio_models")
    config = yaml.load(copied_run.read_text(encoding="utf-8"), Loader=yaml.Loader)
    config.output_dir = copied_run.parent
    moved = run / "config.yml"
    moved.write_text(yaml.dump(config))
    state = torch.load(checkpoint_of(moved), weights_only=True)
    torch.save({**state, "scores": [Runs(mark)]}, checkpoint_of(moved))
    return moved, mark


def contents(folder: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def test_a_checkpoint_never_runs_code(harmful_run: tuple[Path, Path], tmp_path: Path) -> None:
    """Not in gan3d, not in nerfstudio's commands, not when a training goes on from it."""
    config, mark = harmful_run
    before = contents(config.parent)
    torch.load(checkpoint_of(config), weights_only=False)
    assert mark.exists()  # so it would
    mark.unlink()
    assert "cannot be read" in refusal(lambda: load_run(config))
    with pytest.raises(Exception, match="eights") as caught:
        eval_setup(config, test_mode="inference")
    assert "cannot be read" in str(user_sentence(caught.value))
    folder = checkpoint_of(config).parent
    assert "cannot be read" in refusal(lambda: make_tiny_run("gof-gan-tiny", tmp_path / "again", 1, load_dir=folder))
    assert not mark.exists()
    assert contents(config.parent) == before


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"optimizers": {}}, None),
        ({"optimizers": {"somebody": {}}}, "cannot go on from .*KeyError"),
        ({"optimizers": {"discriminator": {"state": {}, "param_groups": []}}}, "cannot go on from .*ValueError"),
        ({"cost": {"minutes": 3}}, "cannot go on from .*TypeError"),
        ({"scores": [{"step": "x"}]}, "cannot go on from .*TypeError"),
        ({"started_at": "x"}, "cannot go on from .*ValueError"),
        ({"step": "x"}, "its step is x"),
        ({"step": 10**30}, "its step is 1000"),
        ({"pipeline": [1]}, "is not a training checkpoint"),
    ],
)
def test_a_training_goes_on_or_says_why_not(
    copied_run: Path, tmp_path: Path, changes: dict[str, Any], sentence: str | None
) -> None:
    path = checkpoint_of(copied_run)
    torch.save({**torch.load(path, weights_only=True), **changes}, path)
    before = contents(copied_run.parent)

    def resume() -> None:
        make_tiny_run("gof-gan-tiny", tmp_path / "again", 1, load_dir=path.parent)

    if sentence is None:
        resume()
    else:
        assert re.search(sentence, refusal(resume))
    assert contents(copied_run.parent) == before


def test_moments_of_another_size_do_not_spoil_a_training(copied_run: Path, tmp_path: Path) -> None:
    path = checkpoint_of(copied_run)
    state = torch.load(path, weights_only=True)
    moments = next(iter(state["optimizers"]["generator"]["state"].values()))
    moments["exp_avg"] = torch.zeros(3, 3, 3)
    torch.save(state, path)
    sentence = refusal(lambda: make_tiny_run("gof-gan-tiny", tmp_path / "again", 1, load_dir=path.parent))
    assert "moments of the optimizer generator have other sizes" in sentence


def test_stray_files_beside_the_checkpoints(copied_run: Path) -> None:
    folder = checkpoint_of(copied_run).parent
    for name in ("step-abc.ckpt", "step-.ckpt", "step-7.ckpt", "notes.txt"):
        (folder / name).touch()
    assert load_run(copied_run)[2] == 1


def test_objects_of_equal_names_keep_their_files() -> None:
    from gan3d_ns.scripts.objects import unique_names

    assert unique_names(["a", "a", "a-2", "b", "a"]) == ["a", "a-2", "a-2-2", "b", "a-3"]


@pytest.mark.parametrize("place", ["file/inside", "/proc/gan3d", "x" * 300, "loop/inside"])
def test_a_training_that_cannot_write_its_folder_says_so(tmp_path: Path, place: str) -> None:
    if place.startswith("/proc") and not Path("/proc").is_dir():
        pytest.skip("no such folder on this system")
    (tmp_path / "file").write_text("kept", encoding="utf-8")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises((UserError, OSError)) as caught:
        make_tiny_run("gof-gan-tiny", tmp_path / "run", 1, output_dir=tmp_path / place)
    assert re.search("cannot (write|use)", str(user_sentence(caught.value)))
    assert (tmp_path / "file").read_text(encoding="utf-8") == "kept"


def test_only_paths_that_this_package_uses_are_explained(tmp_path: Path) -> None:
    from gan3d_ns.data.cache import publish_folder

    (tmp_path / "file").touch()
    with pytest.raises(OSError) as caught:  # noqa: PT011 (which one depends on the system)
        publish_folder(tmp_path / "file" / "a" / "b", lambda _: None, lambda _: False)
    assert "choose another path" in str(user_sentence(caught.value))
    with pytest.raises(OSError) as caught:  # noqa: PT011
        (tmp_path / "file" / "a").mkdir()
    assert user_sentence(caught.value) is None
