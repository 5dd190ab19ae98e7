"""Films as files that every player opens: .mp4, .webm and .gif, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from gan3d_ns.errors import UserError, shown_path

# Without these words players guess the colour matrix from the size of the picture, and guess differently.
BT709 = "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p"
BT709_TAGS = ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"]
ENCODERS: dict[str, list[str]] = {
    # Constant quality; H.264 with 4:2:0 colours is what browsers, phones and editors all play.
    ".mp4": ["-c:v", "libx264", "-crf", "17", "-preset", "medium", "-movflags", "+faststart"],
    ".webm": ["-c:v", "libvpx-vp9", "-crf", "24", "-b:v", "0", "-deadline", "good", "-cpu-used", "4", "-row-mt", "1"],
}
SUFFIXES = (*ENCODERS, ".gif")
"""File name endings of films."""
LARGEST_GIF_RATE = 50
"""Frames a second; players show shorter frames for a tenth of a second."""
GIF_COLOURS, GIF_SAMPLED_FRAMES = 256, 16
LONGEST_GIF_COMMENT = 255
"""Bytes of the one block that every reader shows."""

Frame = UInt8[np.ndarray, "height width 3"]


def require_video_path(path: Path, fps: int) -> None:
    """Finds out what would go wrong with this file, before hours of rendering.

    Raises:
        UserError: unknown suffix, a frame rate that the format cannot show, or a folder that cannot be written to.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"cannot write a video as {path.name!r}: end the name in {', '.join(SUFFIXES)}")
    if suffix == ".gif" and fps > LARGEST_GIF_RATE:
        raise UserError(
            f"a GIF cannot show {fps} frames a second: give --fps {LARGEST_GIF_RATE} or less, or write .mp4 or .webm"
        )
    if suffix in ENCODERS:
        ffmpeg_program()
    with _whole_file(path) as temporary:
        temporary.touch()
        temporary.unlink()


def ffmpeg_program() -> str:
    """The path of the ffmpeg program that imageio-ffmpeg brings or, where its wheel has none, finds.

    Raises:
        UserError: there is none.
    """
    import imageio_ffmpeg

    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise UserError(
            "there is no ffmpeg for this platform in imageio-ffmpeg: install ffmpeg, or write a .gif"
        ) from error


def write_video(path: Path, frames: Iterable[Frame], fps: int, metadata: Mapping[str, str] | None = None) -> Path:
    """Writes the film in the format of the path's suffix and returns the path; missing folders are made.

    .mp4: H.264; .webm: VP9; both BT.709, 4:2:0, with even sides (an odd one gets a copy of its last row or column).
    .gif: endless, one palette for all frames, which is steadier than one each. `title` of the metadata becomes the
    title where the format has one, everything else the comment.

    Args:
        path: the file.
        frames: sRGB pictures of one size; each is asked for when the one before is encoded, for a GIF all at once.
        fps: frames a second.
        metadata: what to say of the film inside of the file.

    Raises:
        UserError: for a path that `require_video_path` refuses, no frames, or an encoder that gives up.
    """
    require_video_path(path, fps)
    facts, remaining = dict(metadata or {}), iter(frames)
    first = next(remaining, None)
    if first is None:
        raise UserError(f"the video for {path} has no frames; nothing was written")
    frames = chain((first,), remaining)
    with _whole_file(path) as temporary:
        if path.suffix.lower() == ".gif":
            _write_gif(temporary, list(frames), fps, comment_of(facts))
        else:
            _encode(temporary, frames, first.shape, fps, facts)
        os.replace(temporary, path)
    return path


def comment_of(metadata: Mapping[str, str]) -> str:
    """All facts but the title in one line."""
    facts = "; ".join(f"{key}: {value}" for key, value in metadata.items() if key != "title")
    return " ".join(f"written by gan3d_ns; {facts}".split())


@contextmanager
def _whole_file(path: Path) -> Iterator[Path]:
    """A place beside the path, for the file while it is made: whatever fails there leaves the old file alone."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix.lower()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(None, "it is a folder", str(path))
        if path.exists() and not path.is_file():
            raise OSError(None, "it is no regular file", str(path))
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) and "\0" not in str(path):
            raise
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error).splitlines()[0]
        raise UserError(f"cannot write {shown_path(path)}: {reason}; choose another path") from error


def _encode(path: Path, frames: Iterable[Frame], shape: tuple[int, ...], fps: int, metadata: Mapping[str, str]) -> None:
    """Pipes the frames through ffmpeg and counts what arrived: imageio-ffmpeg does not ask how ffmpeg ended."""
    import imageio_ffmpeg

    height, width = shape[:2]
    padding = ((0, height % 2), (0, width % 2), (0, 0))
    options, sent = ENCODERS[path.suffix], 0
    title = metadata.get("title", path.stem)
    facts = ["-metadata", f"title={title}", "-metadata", f"comment={comment_of(metadata)}"]
    writer = imageio_ffmpeg.write_frames(
        str(path),
        (width + width % 2, height + height % 2),
        fps=fps,
        codec=options[1],
        quality=None,  # pyright: ignore[reportArgumentType]  (documented: leaves it to the parameters below)
        macro_block_size=2,
        ffmpeg_log_level="fatal",
        output_params=["-vf", BT709, *options[2:], *BT709_TAGS, *facts],
    )
    writer.send(None)
    try:
        for frame in frames:
            writer.send(np.ascontiguousarray(np.pad(frame, padding, mode="edge")))
            sent += 1
    finally:
        writer.close()
    arrived = imageio_ffmpeg.count_frames_and_secs(str(path))[0] if path.exists() else 0
    if arrived != sent:
        raise OSError(None, f"the encoder wrote {arrived} of {sent} frames, is the disk full?", str(path))


def _write_gif(path: Path, frames: list[Frame], fps: int, comment: str) -> None:
    """Pillow's GIF; times are hundredths of a second, rounded so that they add up to the film's length."""
    from PIL import Image

    step = max(1, len(frames) // GIF_SAMPLED_FRAMES)
    palette = Image.fromarray(np.concatenate(frames[::step])).quantize(GIF_COLOURS, Image.Quantize.MAXCOVERAGE)
    ends_ms = [10 * round(100 * index / fps) for index in range(len(frames) + 1)]
    # Dithering would flicker, and be several times larger.
    plain = Image.Dither.NONE
    pictures = (Image.fromarray(frame).quantize(palette=palette, dither=plain) for frame in frames)
    next(pictures).save(
        path,
        save_all=True,
        append_images=pictures,
        duration=[end - start for start, end in pairwise(ends_ms)],
        loop=0,
        comment=comment.encode("ascii", "backslashreplace")[:LONGEST_GIF_COMMENT],
    )
