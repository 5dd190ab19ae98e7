"""`gan3d video`: a film of what was asked, and a sentence for what cannot be filmed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gan3d_ns.errors import UserError
from gan3d_ns.scripts.main import main
from gan3d_ns.scripts.video import Video

SIDE = 10


def shot(run: Path, output: Path, **settings: Any) -> list[np.ndarray]:
    """The frames of a film, read back."""
    quick = {"seconds": 0.4, "fps": 10, "resolution": SIDE, **settings}
    Video(load_config=run, output=output, **quick).main()
    if output.suffix == ".gif":
        with Image.open(output) as picture:
            frames = []
            for index in range(picture.n_frames):
                picture.seek(index)
                frames.append(np.asarray(picture.convert("RGB")))
            return frames
    import av

    with av.open(str(output)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize("camera", ["orbit", "front-sweep", "ellipse", "spiral"])
def test_the_camera_moves(tiny_run: Path, tmp_path: Path, camera: str) -> None:
    frames = shot(tiny_run, tmp_path / "new" / "film.mp4", camera=camera)
    assert len(frames) == 4
    assert frames[0].shape == (SIDE, SIDE, 3)
    assert np.abs(frames[1].astype(int) - frames[0]).mean() > 0.5


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif"])
def test_objects_and_kinds_side_by_side(tiny_run: Path, tmp_path: Path, suffix: str) -> None:
    settings = {"seeds": (0, 1, 2), "what": ("rgb", "normals"), "columns": 2}
    frames = shot(tiny_run, tmp_path / f"film{suffix}", **settings)
    assert len(frames) == 4
    assert frames[0].shape == (2 * SIDE, 4 * SIDE, 3)


@pytest.mark.parametrize("curve", ["linear", "slerp"])
@pytest.mark.parametrize("space", ["codes", "latents"])
def test_one_object_turns_into_the_next(tiny_run: Path, tmp_path: Path, space: str, curve: str) -> None:
    settings = {"seeds": (0, 5), "truncation": 1.0, "camera": "still", "interpolate": True}
    frames = shot(tiny_run, tmp_path / "film.mp4", space=space, curve=curve, **settings)
    assert len(frames) == 4
    assert frames[0].shape == (SIDE, SIDE, 3)
    still = {**settings, "interpolate": False}
    ends = shot(tiny_run, tmp_path / "ends.mp4", **still)[0]
    noise = 6.0  # of the encoder
    assert np.abs(frames[0].astype(int) - ends[:, :SIDE]).mean() < noise
    assert np.abs(frames[2].astype(int) - ends[:, SIDE:]).mean() < noise
    assert np.abs(frames[1].astype(int) - frames[3]).mean() < noise, "the way back is the way there"


def test_the_lengths_without_a_word(tiny_run: Path) -> None:
    assert Video(load_config=tiny_run).num_frames() == 120
    assert Video(load_config=tiny_run, seeds=(1, 2, 3), interpolate=True).num_frames() == 180
    assert Video(load_config=tiny_run, seconds=0.5, fps=24).num_frames() == 12


def test_the_file_says_what_it_shows(tiny_run: Path, tmp_path: Path) -> None:
    import av

    path = tmp_path / "film.mp4"
    shot(tiny_run, path, seeds=(3, 8), seconds=0.2)
    with av.open(str(path)) as container:
        words = dict(container.metadata)
    assert words["title"] == "gof-gan-tiny: seed0003, seed0008"
    for fact in ("method: gof-gan-tiny", "step: 1", "seed: 3, 8", "truncation: 0.7", "camera: front-sweep"):
        assert fact in words["comment"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"interpolate": True}, "at least two objects and got 1"),
        ({"seeds": (4,), "interpolate": True}, "at least two objects and got 1"),
        ({"seconds": 0.0}, "0 seconds at 30 frames a second are no film"),
        ({"seconds": 0.01}, "are no film"),
        ({"seconds": float("nan")}, "are no film"),
        ({"fps": 0}, "at 0 frames a second"),
        ({"seconds": -1.0}, "-1 seconds"),
        ({"what": ()}, "nothing to film: 0 pictures"),
        ({"resolution": 1}, "of 1 pixels"),
        ({"turns": 0}, "0 turns"),
        ({"columns": 0}, "0 columns"),
        ({"output": Path("film.avi")}, r"end the name in \.mp4, \.webm, \.gif"),
        ({"output": Path("/proc/film.mp4")}, "cannot write /proc/film.mp4"),
        ({"output": Path("film.gif"), "fps": 60}, "--fps 50 or less"),
        ({"latents": (Path("gone.safetensors"),)}, "cannot read the latent gone.safetensors"),
        (
            {"latents": (Path("one.safetensors"), Path("two.safetensors")), "interpolate": True, "space": "latents"},
            "leave out --space latents",
        ),
    ],
)
def test_what_cannot_be_filmed_is_one_sentence(settings: Any, sentence: str, tmp_path: Path) -> None:
    """Said before the run is even looked at."""
    with pytest.raises(UserError, match=sentence):
        Video(load_config=tmp_path / "no-run.yml", **{"output": tmp_path / "film.mp4", **settings}).main()
    assert not list(tmp_path.iterdir())


def test_the_command(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "film.gif"
    quick = ["--seconds", "0.2", "--fps", "10", "--resolution", "8"]
    words = ["--seeds", "1", "2", "--interpolate", "--what", "rgb", "depth", "--yaw-deg", "-20", "--camera", "ellipse"]
    main(["video", "--load-config", str(tiny_run), *quick, *words, "--output", str(path)])
    printed = capsys.readouterr().out
    assert "2 frames of 16x8 pixels, 0.2 s, ellipse, interpolated, step 1" in printed
    assert path.is_file()
