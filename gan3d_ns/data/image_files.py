"""Single image files: which files of a folder are images, and one of them as a square of RGB bytes."""

from __future__ import annotations

import math
import os
import stat
import struct
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
"""Names that count as images; GIF is there so that a moving picture is refused by name, not overlooked."""
FORMATS = tuple(
    decoder.format
    for decoder in (
        PngImagePlugin.PngImageFile,
        JpegImagePlugin.JpegImageFile,
        WebPImagePlugin.WebPImageFile,
        BmpImagePlugin.BmpImageFile,
        GifImagePlugin.GifImageFile,
    )
    if decoder.format is not None
)
"""What Pillow may decode, whatever the name says: nothing that starts an external program."""
LARGE_IMAGE_PIXELS = 16_000_000
"""From this size on, images are decoded one at a time, so that many threads do not need much memory."""
STRIP_PIXELS = 4_000_000
"""So many pixels at once are brought to RGB, which takes several times their memory on the way."""
REDUCING_GAP = 3.0
"""Pillow reduces by a box filter to this multiple of the target, then resamples: visually the same, much faster."""

_one_large_image = threading.Lock()


class UnusableImage(Exception):
    """A file that cannot serve as a training image; the message is the reason."""


@dataclass(frozen=True)
class ImageReading:
    """How a file becomes a square."""

    resolution: int
    """Side of the result, in pixels."""
    background: tuple[int, int, int]
    """RGB behind transparent pixels, 0 to 255."""
    crop: Literal["centre-square", "stretch"]
    """Cut the middle square out, or stretch the whole picture."""
    crop_size: int | None
    """Side of the middle square, in pixels of the file; None: the shorter side."""
    max_pixels: int
    """Larger pictures are refused before they are decoded."""


def list_image_files(folder: Path, on_error: Callable[[OSError], object] | None = None) -> list[Path]:
    """Return all files under `folder` with an image's suffix, in any depth, sorted by their path.

    Links to folders are followed, each folder is entered once. Hidden names and macOS's archive remains are left out.

    Args:
        folder: where to look.
        on_error: called with the error of each folder that cannot be read.
    """
    files: list[Path] = []
    entered: set[tuple[int, int]] = set()
    for parent, folders, names in os.walk(folder, onerror=on_error, followlinks=True):
        try:
            status = os.stat(parent)
        except OSError:
            folders.clear()
            continue
        # Windows may give 0 for both numbers on some file systems; the real path then identifies the folder.
        identity = (status.st_dev, status.st_ino) if status.st_ino else (0, hash(os.path.realpath(parent)))
        if identity in entered:
            folders.clear()
            continue
        entered.add(identity)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        files.extend(
            Path(parent, name) for name in names if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")
        )
    return sorted(files, key=lambda file: file.parts)


def read_image(file: Path, reading: ImageReading) -> UInt8[np.ndarray, "3 row column"]:
    """Return the picture in `file` as a square of RGB bytes, row 0 on top, turned as its EXIF data says.

    Transparency is laid over the background in the file's own (sRGB) values; 16 bits are scaled to 8; colour profiles
    are not applied. Reduction is antialiased (Lanczos), enlargement bicubic.

    Raises:
        UnusableImage: for anything that is not one readable still picture; the message is the reason.
    """
    try:
        status = os.stat(file)
        # A pipe or device with an image's name would block for ever.
        if not stat.S_ISREG(status.st_mode):
            raise UnusableImage("not a regular file")
        if status.st_size == 0:
            raise UnusableImage("empty file")
        with Image.open(file, formats=FORMATS) as image:
            return _square(image, reading)
    except UnusableImage:
        raise
    except UnidentifiedImageError:
        raise UnusableImage("not a PNG, JPEG, WebP, BMP or GIF picture") from None
    except Image.DecompressionBombError:
        raise UnusableImage(f"more than {reading.max_pixels / 1e6:.0f} million pixels") from None
    except MemoryError:
        raise UnusableImage("not enough memory to decode it") from None
    except OSError as error:
        raise UnusableImage(error.strerror or str(error)) from error
    except Exception as error:
        # Pillow's decoders raise nearly anything on damaged data (SyntaxError, struct.error, ValueError, ...). One
        # bad file among thousands must not end a run; it is counted and named with this reason.
        raise UnusableImage(f"damaged ({error or type(error).__name__})") from error


def _square(image: Image.Image, reading: ImageReading) -> UInt8[np.ndarray, "3 row column"]:
    width, height = image.size
    if width * height > reading.max_pixels:
        raise UnusableImage(f"{width} x {height}, more than {reading.max_pixels / 1e6:.0f} million pixels")
    # MPO is a JPEG with a second view or a thumbnail behind it (phones, stereo cameras): its first picture is it.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise UnusableImage("animated")
    with _one_large_image if width * height > LARGE_IMAGE_PIXELS else nullcontext():
        shorter = min(width, height)
        side = float(min(reading.crop_size or shorter, shorter))
        # JPEGs decode at 1/2, 1/4 or 1/8 for nearly nothing (all other formats ignore this).
        reduction = REDUCING_GAP * reading.resolution / side
        if reduction < 1:
            drafted = image.draft(None, (math.ceil(width * reduction), math.ceil(height * reduction)))
            if drafted is not None:
                side *= drafted[1][2] / width
        image.load()
        _turn_upright(image)
        box = (0.0, 0.0, float(image.width), float(image.height))
        if reading.crop == "centre-square":
            image, box = _centre_square(image, side, whole=min(image.size) == shorter)
        image = _over_background(image, reading.background)
        target = (reading.resolution, reading.resolution)
        if image.size != target or box[0] != 0.0:
            reduces = box[2] - box[0] > reading.resolution
            resampling = Image.Resampling.LANCZOS if reduces else Image.Resampling.BICUBIC
            image = image.resize(target, resampling, box=box, reducing_gap=REDUCING_GAP)
        return np.ascontiguousarray(np.asarray(image, dtype=np.uint8).transpose(2, 0, 1))


def _centre_square(
    image: Image.Image, side: float, whole: bool
) -> tuple[Image.Image, tuple[float, float, float, float]]:
    """Cut out the pixels around the middle square; also return the square in the result's coordinates.

    `whole` keeps it to whole pixels; where a JPEG was decoded at a fraction of its size, that would shift it.
    """
    left, top = (image.width - side) / 2, (image.height - side) / 2
    if whole:
        left, top = math.floor(left), math.floor(top)
    first, upper = max(0, math.floor(left)), max(0, math.floor(top))
    last, lower = min(image.width, math.ceil(left + side)), min(image.height, math.ceil(top + side))
    box = (
        max(0.0, left - first),
        max(0.0, top - upper),
        float(min(left + side, image.width) - first),
        float(min(top + side, image.height) - upper),
    )
    if (first, upper, last, lower) == (0, 0, *image.size):
        return image, box
    return image.crop((first, upper, last, lower)), box


def _turn_upright(image: Image.Image) -> None:
    """In place: a copy of a large picture is not always to be had."""
    # The picture is fine where only its EXIF block is damaged.
    with suppress(OSError, SyntaxError, ValueError, KeyError, TypeError, IndexError, OverflowError, struct.error):
        ImageOps.exif_transpose(image, in_place=True)


def _over_background(image: Image.Image, background: Sequence[int]) -> Image.Image:
    """RGB, transparency laid over the background; large pictures strip by strip."""
    if image.width * image.height <= STRIP_PIXELS or (image.mode == "RGB" and not image.has_transparency_data):
        return _strip_over_background(image, background)
    canvas = Image.new("RGB", image.size)
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        canvas.paste(_strip_over_background(strip, background), (0, top))
    return canvas


def _strip_over_background(image: Image.Image, background: Sequence[int]) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        if image.mode == "F":
            raise UnusableImage("floating point pixels without a known range")
        # 65535 = 255 * 257: full scale stays full scale.
        values = np.asarray(image).astype(np.int64).clip(0, 65535)
        image = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        canvas = Image.new("RGB", image.size, tuple(background))
        canvas.paste(image.convert("RGB"), mask=image.getchannel("A"))
        return canvas
    return image.convert("RGB")
