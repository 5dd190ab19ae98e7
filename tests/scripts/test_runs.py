"""Opening runs: moved ones open, damaged and foreign ones end in a sentence and run no code."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gan3d_ns.errors import UserError
from gan3d_ns.scripts.runs import load_run, read_run_config


def checkpoint_of(config: Path) -> Path:
    (path,) = (config.parent / "nerfstudio_models").glob("*.ckpt")
    return path


def test_a_run_opens_without_its_pictures_and_after_a_move(copied_run: Path) -> None:
    config, pipeline, step = load_run(copied_run)
    assert (config.method_name, step) == ("gof-gan-tiny", 1)
    assert not pipeline.training
    saved = torch.load(checkpoint_of(copied_run), weights_only=True)["pipeline"]
    for name, value in pipeline.state_dict().items():
        torch.testing.assert_close(value, saved[name])


def test_the_folder_of_a_run_will_do(copied_run: Path) -> None:
    assert load_run(copied_run.parent)[2] == 1


def test_a_missing_run() -> None:
    with pytest.raises(UserError, match=r"no run at nowhere/config\.yml; give the config\.yml"):
        load_run(Path("nowhere/config.yml"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("!!python/object:nerfstudio.engine.trainer.TrainerConfig\nmethod_name: nerfacto\n", "its method is nerfacto"),
        ("data: 3\n", "it names no method"),
        ("", "it names no method"),
        ("a: [1, 2\n", "cannot be read as YAML"),
        ("\x00\x01", "cannot be read as YAML"),
    ],
)
def test_another_file_is_not_a_run(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "config.yml"
    path.write_text(text)
    with pytest.raises(UserError, match=sentence):
        load_run(path)


@pytest.mark.parametrize(
    "entry",
    [
        "!!python/object/apply:os.system ['touch {mark}']",
        "!!python/object/apply:nerfstudio.utils.scripts.run_command ['touch {mark}']",
        "!!python/name:shutil.rmtree ''",
        "!!python/object/new:subprocess.Popen [['touch', '{mark}']]",
        "!!python/object:gan3d_ns.x;os.y {{}}",
    ],
)
def test_a_config_that_could_run_code_is_not_read(copied_run: Path, tmp_path: Path, entry: str) -> None:
    mark = tmp_path / "mark"
    with copied_run.open("a", encoding="utf-8") as stream:
        stream.write(f"zz_extra: {entry.format(mark=mark)}\n")
    with pytest.raises(UserError, match="no run of gan3d_ns contains"):
        load_run(copied_run)
    assert not mark.exists()


def test_a_run_from_before_its_settings_moved_opens(copied_run: Path) -> None:
    text = copied_run.read_text(encoding="utf-8")
    now, before = "gan3d_ns.pipelines.loss_config.GanLossConfig", "gan3d_ns.pipelines.gan_pipeline.GanLossConfig"
    assert now in text
    copied_run.write_text(text.replace(now, before), encoding="utf-8")
    assert type(read_run_config(copied_run).pipeline.loss).__name__ == "GanLossConfig"


def test_a_missing_checkpoint(copied_run: Path) -> None:
    with pytest.raises(UserError, match=r"no checkpoint of step 7 in .*there are: 1"):
        load_run(copied_run, step=7)
    checkpoint_of(copied_run).unlink()
    with pytest.raises(UserError, match="no checkpoint"):
        load_run(copied_run)


def test_a_checkpoint_that_is_cut_off(copied_run: Path) -> None:
    path = checkpoint_of(copied_run)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=r"cannot be read .*cut off"):
        load_run(copied_run)


def test_a_checkpoint_of_other_sizes(copied_run: Path) -> None:
    copied_run.write_text(
        copied_run.read_text(encoding="utf-8").replace("plane_channels: 4", "plane_channels: 5"), encoding="utf-8"
    )
    with pytest.raises(UserError, match="does not fit this method"):
        load_run(copied_run)
