"""A damaged checkpoint under ns-viewer, ns-export or ns-render: what they raise becomes our sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from nerfstudio.utils.eval_utils import eval_setup

from gan3d_ns.errors import user_sentence
from gan3d_ns.pipelines.gan_pipeline import GanPipeline


def stock_error(run: Path) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011 (whatever nerfstudio and torch raise)
        eval_setup(run, test_mode="inference")
    return caught.value


@pytest.fixture
def movable_run(copied_run: Path) -> Path:
    """A copied run that nerfstudio finds: it goes by the names in the config, not by where the config lies."""
    run = copied_run.parent / "pictures" / "gof-gan-tiny" / "tiny"
    run.mkdir(parents=True)
    (copied_run.parent / "nerfstudio_models").rename(run / "nerfstudio_models")
    config = yaml.load(copied_run.read_text(encoding="utf-8"), Loader=yaml.Loader)
    config.output_dir = copied_run.parent
    copied_run.write_text(yaml.dump(config), encoding="utf-8")
    return copied_run


def test_stock_commands_open_the_run(movable_run: Path) -> None:
    assert eval_setup(movable_run, test_mode="inference")[3] == 1


def test_a_checkpoint_that_is_cut_off_or_missing(movable_run: Path) -> None:
    (checkpoint,) = movable_run.parent.rglob("nerfstudio_models/*.ckpt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    sentence = user_sentence(stock_error(movable_run))
    assert sentence is not None and "cut off" in sentence and str(checkpoint) in sentence
    checkpoint.unlink()
    sentence = user_sentence(stock_error(movable_run))
    assert sentence is not None and "there is no checkpoint" in sentence


def test_a_file_that_nerfstudio_takes_for_a_checkpoint(movable_run: Path) -> None:
    (checkpoint,) = movable_run.parent.rglob("nerfstudio_models/*.ckpt")
    (checkpoint.parent / "notes.txt").touch()
    sentence = user_sentence(stock_error(movable_run))
    assert sentence is not None and "notes.txt is no checkpoint; move it away" in sentence


def test_errors_elsewhere_are_not_explained(movable_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A healthy checkpoint that our own code stumbles over keeps its traceback."""
    monkeypatch.setattr(GanPipeline, "load_pipeline", lambda *arguments: 1 / 0)
    error = stock_error(movable_run)
    assert isinstance(error, ZeroDivisionError)
    assert user_sentence(error) is None
    assert user_sentence(ValueError("elsewhere")) is None
