"""Hostile picture files: damaged ones, bombs, odd names, what only looks like a file, and very many."""

import contextlib
import io
import os
import socket
import struct
import threading
import zlib
from pathlib import Path
from typing import Iterator, List, Tuple

import numpy as np
from PIL import Image, PngImagePlugin

from benchmarks.reliability.trials import Trial, damaged

SIDE = 12
ODD_NAMES = (
    b"line\nbreak.png",
    b"colour\x1b[31;5m\x1b[2J.png",
    b"title\x1b]0;owned\x07.png",
    b"carriage\rreturn.png",
    b"[bold red]markup.png",
    b"[link=x]a.png",
    b"\\[escaped]\\.png",
    b"not utf-8 \xff\xfe\x80.png",
    "right-to-left \u202e gnp.png".encode(),
    b"tab\tand\x08bell\x07.png",
    b"{braces} %s %n $HOME `x`.png",
    b"-rf.png",
    b"x" * 251 + b".png",
)


def base_files() -> List[Tuple[str, bytes]]:
    """A small whole file of each format and mode."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 48, 4), dtype=np.uint8)
    colour = Image.fromarray(pixels[..., :3].copy())
    exif = Image.Exif()
    exif[0x0112] = 6
    texts = PngImagePlugin.PngInfo()
    texts.add_text("comment", "a text", zip=True)
    profile = b"profile" * 40
    animated = {"save_all": True, "append_images": [colour.rotate(90)], "duration": 50}
    wanted = [
        ("png", colour, {"pnginfo": texts, "icc_profile": profile}),
        ("png", Image.fromarray(pixels), {}),
        ("png", Image.fromarray(pixels[..., 0].astype(np.uint16) * 257), {}),
        ("png", colour.quantize(16), {"transparency": 3}),
        ("png", colour.convert("LA"), {}),
        ("png", colour, animated),
        ("jpg", colour, {"exif": exif, "icc_profile": profile}),
        ("jpg", colour.convert("CMYK"), {"progressive": True}),
        ("webp", colour, {"lossless": True, "exif": exif}),
        ("webp", Image.fromarray(pixels), {"quality": 60}),
        ("webp", colour, animated),
        ("gif", colour.quantize(16), {}),
        ("bmp", colour, {}),
        ("bmp", colour.quantize(16), {}),
    ]
    files = []
    for suffix, image, options in wanted:
        stream = io.BytesIO()
        image.save(stream, {"jpg": "jpeg"}.get(suffix, suffix), **options)
        files.append((suffix, stream.getvalue()))
    return files


def damaged_pictures(folder: Path, count: int, randomness: np.random.Generator) -> Iterator[Trial]:
    """Cut, flipped and patched files, some under another format's name."""
    files = base_files()
    folder.mkdir()
    for number in range(count):
        suffix, content = files[number % len(files)]
        what, content = damaged(content, randomness)
        named = suffix if number % 5 else files[int(randomness.integers(len(files)))][0]
        path = folder / f"picture.{named}"
        path.write_bytes(content)
        yield f"{suffix} as {named}, {what}", lambda path=path: read(path)


def picture_bombs(folder: Path, side: int = 9_900, unpacked: int = 200 << 20) -> Iterator[Trial]:
    """Files that declare, or really unpack to, far more than they hold.

    Args:
        folder: to make.
        side: of pictures just below the largest that are decoded.
        unpacked: bytes that compressed texts and colour profiles of bombs unpack to.
    """
    folder.mkdir()
    gif, bmp, webp, jpg = (
        bytearray(next(content for suffix, content in base_files() if suffix == wanted))
        for wanted in ("gif", "bmp", "webp", "jpg")
    )
    gif[6:10] = struct.pack("<HH", 65535, 65535)
    bmp[18:26] = struct.pack("<ii", 2**31 - 1, 2**31 - 1)
    canvas = b"VP8X" + struct.pack("<I", 10) + b"\x10\0\0\0" + (16383).to_bytes(3, "little") * 2
    extended = b"WEBP" + canvas + bytes(webp[12:])
    frame = jpg.find(b"\xff\xc0")
    jpg[frame + 5 : frame + 9] = struct.pack(">HH", 65500, 65500)
    declared = {
        "gif": bytes(gif),
        "bmp": bytes(bmp),
        "webp": b"RIFF" + struct.pack("<I", len(extended)) + extended,
        "jpg": bytes(jpg),
        "png": png(60_000, 60_000, 2, b""),
        "widest.png": png(2**31 - 1, 1, 2, b""),
        "cut.png": png(side, side, 6, zeros(1 << 16)),
        "text.png": png(8, 8, 2, zeros(8 * 25), chunk(b"zTXt", b"a\0\0" + zeros(unpacked))),
        "international.png": png(8, 8, 2, zeros(8 * 25), chunk(b"iTXt", b"a\0\1\0\0\0" + zeros(unpacked))),
        "profile.png": png(8, 8, 2, zeros(8 * 25), chunk(b"iCCP", b"a\0\0" + zeros(unpacked))),
        "texts.png": png(8, 8, 2, zeros(8 * 25), chunk(b"zTXt", b"a\0\0" + zeros(1 << 19)) * 400),
        "much.png": png(8, 8, 2, zeros(unpacked)),
        "colour.png": png(side, side, 2, zeros(side * (3 * side + 1))),
        "alpha.png": png(side, side, 6, zeros(side * (4 * side + 1))),
        "deep.png": png(side, side, 0, zeros(side * (2 * side + 1)), depth=16),
        "thin.png": png(side * side, 1, 2, zeros(3 * side * side + 1)),
    }
    for name, content in declared.items():
        path = folder / (name if "." in name else f"declared.{name}")
        path.write_bytes(content)
        yield f"bomb {path.name} of {len(content)} bytes", lambda path=path: read(path, most=side * side)


def odd_names(folder: Path) -> Iterator[Trial]:
    """A collection whose files all have harmful names: some are pictures, some are skipped by name."""
    folder.mkdir()
    good = next(content for suffix, content in base_files() if suffix == "png")
    for number, name in enumerate(ODD_NAMES):
        with contextlib.suppress(OSError, ValueError):  # some systems refuse such names themselves
            (folder / os.fsdecode(name)).write_bytes(good if number % 2 else b"none")
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(good)
    yield "names with line breaks, escape codes, markup and no text", lambda: quietly_collected(folder)
    parent = folder / os.fsdecode(b"in \x1b[31m \xff [b]")
    parent.mkdir()
    (parent / "one.png").write_bytes(good)
    yield "a folder with such a name", lambda: quietly_collected(parent)


def no_files(folder: Path) -> Iterator[Trial]:
    """Links, pipes, devices, sockets and folders that are named like pictures, beside two real ones."""
    folder.mkdir()
    good = next(content for suffix, content in base_files() if suffix == "png")
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(good)
    (folder / "folder.png").mkdir()
    odd = [
        lambda: (folder / "dangling.png").symlink_to("nowhere"),
        lambda: (folder / "itself.png").symlink_to("itself.png"),
        lambda: (folder / "loop").symlink_to(folder, target_is_directory=True),
        lambda: (folder / "zero.png").symlink_to("/dev/zero"),
        lambda: (folder / "memory.png").symlink_to("/proc/self/mem"),
        lambda: os.mkfifo(folder / "pipe.png"),
        lambda: socket.socket(socket.AF_UNIX).bind(str(folder / "socket.png")),
    ]
    for make in odd:
        with contextlib.suppress(OSError, AttributeError, NotImplementedError):
            make()
    (folder / "closed.png").write_bytes(good)
    (folder / "closed.png").chmod(0)  # root may read it all the same
    yield "links, pipes, devices and a closed file", lambda: quietly_collected(folder)
    (folder / "gone").symlink_to("gone")
    yield "a link to itself as the folder", lambda: quietly_collected(folder / "gone")
    yield "a file as the folder", lambda: quietly_collected(folder / "a.png")
    yield "no folder", lambda: quietly_collected(folder / "none")
    yield "a name of 5,000 letters", lambda: quietly_collected(folder / ("x" * 5000))
    yield "a name with a zero byte", lambda: quietly_collected(folder / "a\0b")
    yield "an empty name below a file", lambda: quietly_collected(folder / "a.png" / "x")


def changing_files(folder: Path, rounds: int = 20) -> Iterator[Trial]:
    """Files that are cut, filled and taken away while the collection is read."""
    folder.mkdir()
    good = base_files()
    paths = [folder / f"{number}.{good[number % len(good)][0]}" for number in range(30)]

    def put(number: int) -> None:
        paths[number].write_bytes(good[number % len(good)][1])

    for _ in range(rounds):
        for number in range(len(paths)):
            put(number)
        over = threading.Event()

        def disturb(over: threading.Event = over) -> None:
            number = 2  # two stay as they are
            while not over.is_set():
                number = 2 + (number - 1) % (len(paths) - 2)
                paths[number].write_bytes(b"")
                paths[number].unlink()
                put(number)

        def collect(over: threading.Event = over, disturb=disturb) -> None:
            thread = threading.Thread(target=disturb)
            thread.start()
            try:
                quietly_collected(folder)
            finally:
                over.set()
                thread.join()

        yield "files that change while they are read", collect


def many_files(folder: Path, count: int) -> Iterator[Trial]:
    """A collection of very many files, of which two are pictures."""
    good = next(content for suffix, content in base_files() if suffix == "png")
    for number in range(count):
        path = folder / f"{number // 1000:04d}" / f"{number:07d}.png"
        if number % 1000 == 0:
            path.parent.mkdir(parents=True)
        if number in (0, count - 1):
            path.write_bytes(good)
        else:
            path.touch()
    yield f"{count} files", lambda: quietly_collected(folder)


def read(path: Path, most: int = 10**8) -> None:
    """Reads one picture as a collection does."""
    from gan3d_ns.data.image_files import ImageReading, read_image

    square = read_image(path, ImageReading(SIDE, (255, 255, 255), "centre-square", None, most))
    if square.shape != (3, SIDE, SIDE):
        raise AssertionError(f"a square of {square.shape}")


def quietly_collected(folder: Path) -> None:
    """Opens the collection, and looks at what it prints.

    Raises:
        AssertionError: something that would harm a terminal was printed.
    """
    from nerfstudio.utils.rich_utils import CONSOLE

    from gan3d_ns.data.image_collection import ImageCollection, ImageCollectionConfig

    with CONSOLE.capture() as printed:
        collection = ImageCollection(ImageCollectionConfig(), folder, SIDE)
    harmful = [letter for letter in printed.get() if not letter.isprintable() and letter != "\n"]
    if harmful or len(collection) < 2:
        raise AssertionError(f"{len(collection)} pictures, and printed were {harmful[:5]}")


def chunk(kind: bytes, data: bytes) -> bytes:
    """A piece of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, colours: int, packed: bytes, before: bytes = b"", depth: int = 8) -> bytes:
    """A PNG file of packed pixels; colours: 0 grey, 2 RGB, 6 RGBA."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + before + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def zeros(count: int) -> bytes:
    """So many zero bytes, packed without ever being in memory together."""
    packer, piece = zlib.compressobj(9), bytes(1 << 20)
    parts = [packer.compress(piece) for _ in range(count >> 20)]
    return b"".join([*parts, packer.compress(bytes(count % (1 << 20))), packer.flush()])
