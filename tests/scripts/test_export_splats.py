"""`gan3d export splats`: files, flags, and what it says."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
import torch

from gan3d_ns.errors import UserError
from gan3d_ns.exporter.splat_file import read_splats
from gan3d_ns.scripts.export_splats import ExportSplats

SMALL = {"num_splats": 300, "resolution": 24}


def export(run: Path, folder: Path, **settings) -> list[Path]:
    ExportSplats(load_config=run, output_dir=folder, **{**SMALL, **settings}).main()
    return sorted(folder.iterdir())


def test_a_file_for_each_object_with_where_it_comes_from(tiny_run: Path, tmp_path: Path) -> None:
    first, second = export(tiny_run, tmp_path, seeds=(0, 3), truncation=0.9, refine_steps=0)
    assert [first.name, second.name] == ["splats_seed0000.ply", "splats_seed0003.ply"]
    header = second.read_bytes().partition(b"end_header\n")[0].decode("ascii")
    for line in ("method: gof-gan-tiny", "step: 1", "seed: 3", "truncation: 0.9", "refine steps: 0"):
        assert f"comment {line}\n" in header
    assert "comment PSNR to the generator: " in header
    assert not torch.equal(read_splats(first).colours[:50], read_splats(second).colours[:50])
    assert 200 < len(read_splats(first)) < 400


def test_without_a_gpu_it_says_that_nothing_was_fitted(
    copied_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    ExportSplats(load_config=copied_run, **SMALL).main()
    path = copied_run.parent / "splats" / "splats_seed0000.ply"
    assert path.is_file()
    said, wrote = capsys.readouterr().out.strip().splitlines()
    assert said.startswith("Without gsplat on a CUDA device the splats are not fitted")
    assert wrote.startswith(f"{path}: ") and " dB, " in wrote


def test_fitting_and_preview(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = read_splats(export(tiny_run, tmp_path / "plain", refine_steps=0)[0])
    picture, file = export(tiny_run, tmp_path / "fitted", refine_steps=2, preview=True)[::-1]
    assert "dB before and" in capsys.readouterr().out
    assert not torch.equal(read_splats(file).positions, plain.positions)
    assert picture.name == "splats_seed0000.png"
    pixels = imageio.imread(picture).astype(float)
    assert pixels.shape == (48, 96, 3)
    generator, splats = pixels[:24], pixels[24:]
    assert np.abs(generator - splats).mean() < 0.35 * np.abs(generator - generator.mean(axis=(0, 1))).mean() + 12.0


def test_nonsense_is_refused_before_any_work(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere.yml"
    for settings in ({"num_splats": 0}, {"resolution": 4}, {"refine_steps": -1}):
        with pytest.raises(UserError, match="give at least 1, 16 and 0"):
            ExportSplats(load_config=missing, **settings).main()
    with pytest.raises(UserError, match="there is no run at"):
        ExportSplats(load_config=missing).main()
