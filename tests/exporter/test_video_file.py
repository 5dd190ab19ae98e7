"""Films read back by another library than the one that wrote them: size, length, colours, words."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan3d_ns.errors import UserError
from gan3d_ns.exporter.video_file import require_video_path, write_video

FACTS = {"title": "a cat", "method": "gof-gan-tiny", "step": "7"}
ODD, EVEN = (33, 47), (34, 48)
COLOURS = np.array([[220, 30, 30], [40, 200, 60], [30, 60, 230], [230, 220, 200]])


def film(num_frames: int, side: tuple[int, int] = ODD) -> np.ndarray:
    """A picture of one colour, another one for each frame."""
    frames = np.empty((num_frames, *side, 3), dtype=np.uint8)
    for index in range(num_frames):
        frames[index] = COLOURS[index % len(COLOURS)]
    return frames


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "h264"), (".webm", "vp9"), (".MP4", "h264")])
def test_a_video_has_its_frames_colours_and_words(tmp_path: Path, suffix: str, codec: str) -> None:
    import av

    path = write_video(tmp_path / "new" / f"film{suffix}", film(8), 10, FACTS)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == codec
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert (stream.height, stream.width) == EVEN
        assert stream.average_rate == 10
        assert stream.codec_context.colorspace == 1, "BT.709"
        words = {key.lower(): value for key, value in container.metadata.items()}
        assert words["title"] == "a cat"
        assert words["comment"] == "written by gan3d_ns; method: gof-gan-tiny; step: 7"
        frames = [frame.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray() for frame in container.decode(0)]
    assert len(frames) == 8
    for frame, colour in zip(frames, np.tile(COLOURS, (2, 1)), strict=True):
        np.testing.assert_allclose(frame.reshape(-1, 3).mean(0), colour, atol=6)


def test_a_gif_has_its_frames_colours_length_and_words(tmp_path: Path) -> None:
    path = write_video(tmp_path / "film.gif", film(8), 30, FACTS)
    with Image.open(path) as picture:
        assert picture.size == ODD[::-1]
        assert picture.n_frames == 8
        assert picture.info["loop"] == 0
        assert b"method: gof-gan-tiny; step: 7" in picture.info["comment"]
        durations = []
        for index in range(8):
            picture.seek(index)
            durations.append(picture.info["duration"])
            found = np.asarray(picture.convert("RGB")).reshape(-1, 3).mean(0)
            np.testing.assert_allclose(found, COLOURS[index % 4], atol=6)
    assert sum(durations) == 270, "8 frames at 30 a second, in hundredths"
    assert set(durations) == {30, 40}


def test_a_gif_keeps_its_background_white(tmp_path: Path) -> None:
    """A palette of means would tint what most of the picture is."""
    side = np.linspace(0, 255, 48)
    ramp = np.stack(np.broadcast_arrays(side[:, None], side[None], side[::-1][:, None]), axis=-1)
    frames = np.full((4, 96, 96, 3), 255, dtype=np.uint8)
    for index, frame in enumerate(frames):
        frame[8 * index : 8 * index + 48, 24:72] = ramp
    with Image.open(write_video(tmp_path / "film.gif", frames, 10)) as picture:
        for index in range(4):
            picture.seek(index)
            found = np.asarray(picture.convert("RGB")).astype(int)
            assert (found[frames[index].min(axis=-1) == 255] == 255).all()
            assert np.abs(found - frames[index]).mean() < 4.0


@pytest.mark.parametrize(
    ("name", "fps", "sentence"),
    [
        ("film.avi", 30, r"end the name in \.mp4, \.webm, \.gif"),
        ("film", 30, "end the name in"),
        ("film.gif", 60, "--fps 50 or less"),
    ],
)
def test_files_that_cannot_be_are_refused_at_once(tmp_path: Path, name: str, fps: int, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        require_video_path(tmp_path / name, fps)


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_paths_that_cannot_be_written_are_refused_at_once(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / f"folder{suffix}").mkdir()
    for path in (tmp_path / "file" / f"film{suffix}", tmp_path / f"folder{suffix}", Path(f"/proc/film{suffix}")):
        with pytest.raises(UserError, match=f"cannot write {path}: .*choose another path"):
            require_video_path(path, 30)


def test_no_frames_are_no_film(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no frames"):
        write_video(tmp_path / "film.mp4", film(0), 30)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_failure_leaves_the_old_film_alone(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"film{suffix}"
    path.write_bytes(b"old")

    def broken() -> Iterator[np.ndarray]:
        yield from film(2)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match="No space left on device"):
        write_video(path, broken(), 30)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_encoder_that_gives_up_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ffmpeg's own exit is not looked at by the library in between."""
    from gan3d_ns.exporter import video_file

    path = tmp_path / "film.mp4"
    path.write_bytes(b"old")
    monkeypatch.setitem(video_file.ENCODERS, ".mp4", ["-c:v", "libx264", "-crf", "17", "-frames:v", "3"])
    with pytest.raises(UserError, match="the encoder wrote 3 of 8 frames"):
        write_video(path, film(8), 30)
    monkeypatch.setitem(video_file.ENCODERS, ".mp4", ["-c:v", "no-such-encoder"])
    with pytest.raises(UserError, match="cannot write"):
        write_video(path, film(8), 30)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
