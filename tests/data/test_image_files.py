"""Which files are images, and what becomes of each kind of file."""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan3d_ns.data.image_files import ImageReading, UnusableImage, list_image_files, read_image


def reading(resolution: int = 8, **changes) -> ImageReading:
    settings = {"background": (255, 255, 255), "crop": "centre-square", "crop_size": None, "max_pixels": 100_000_000}
    return ImageReading(resolution=resolution, **{**settings, **changes})


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(folder: Path, name: str, pixels: np.ndarray, mode: str | None = None, **options) -> Path:
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(folder / name, **options)
    return folder / name


@pytest.mark.parametrize("suffix", ["png", "PNG", "webp", "bmp"])
def test_lossless_pictures_of_the_right_size_stay_as_they_are(tmp_path: Path, suffix: str) -> None:
    pixels = noise(8, 8, 3)
    options = {"lossless": True} if suffix == "webp" else {}
    np.testing.assert_array_equal(
        read_image(save(tmp_path, f"a.{suffix}", pixels, **options), reading()), pixels.transpose(2, 0, 1)
    )


@pytest.mark.parametrize("size", [(1, 1), (3, 70), (70, 3), (64, 64), (41, 90), (500, 300)])
@pytest.mark.parametrize("crop", ["centre-square", "stretch"])
def test_every_size_becomes_the_square_and_flat_colour_stays_flat(
    tmp_path: Path, size: tuple[int, int], crop: str
) -> None:
    flat = np.broadcast_to(np.array([200, 30, 90], dtype=np.uint8), (*size, 3))
    square = read_image(save(tmp_path, "a.png", np.ascontiguousarray(flat)), reading(16, crop=crop))
    assert square.shape == (3, 16, 16)
    np.testing.assert_array_equal(square, np.broadcast_to(flat[0, 0][:, None, None], (3, 16, 16)))


def test_grey_is_rgb_of_the_same_value(tmp_path: Path) -> None:
    grey = noise(8, 8)
    coloured = save(tmp_path, "rgb.png", np.repeat(grey[..., None], 3, axis=2))
    np.testing.assert_array_equal(
        read_image(save(tmp_path, "grey.png", grey), reading()), read_image(coloured, reading())
    )


@pytest.mark.parametrize("background", [(255, 255, 255), (0, 0, 0), (10, 200, 77)])
def test_alpha_is_composited_exactly(tmp_path: Path, background: tuple[int, int, int]) -> None:
    pixels = noise(8, 8, 4)
    square = read_image(save(tmp_path, "a.png", pixels), reading(background=background))
    alpha = pixels[..., 3:].astype(np.float64) / 255
    expected = np.rint(pixels[..., :3] * alpha + np.array(background) * (1 - alpha)).transpose(2, 0, 1)
    np.testing.assert_array_equal(square, expected)


def test_grey_with_alpha_and_transparent_palette_show_the_background(tmp_path: Path) -> None:
    clear = np.zeros((8, 8, 2), dtype=np.uint8)
    Image.fromarray(clear).save(tmp_path / "la.png")
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.save(tmp_path / "p.png", transparency=0)
    for name in ("la.png", "p.png"):
        square = read_image(tmp_path / name, reading(background=(1, 2, 3)))
        np.testing.assert_array_equal(square[:, 0, 0], [1, 2, 3])


def test_palette_and_one_bit(tmp_path: Path) -> None:
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([255, 0, 0, 0, 255, 128])
    palette.save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_image(tmp_path / "p.png", reading())[:, 3, 3], [0, 255, 128])
    Image.new("1", (8, 8), 1).save(tmp_path / "one.png")
    np.testing.assert_array_equal(read_image(tmp_path / "one.png", reading())[:, 3, 3], [255, 255, 255])


def test_cmyk_jpeg(tmp_path: Path) -> None:
    # Pure cyan ink: no red light comes back.
    Image.new("CMYK", (16, 16), (255, 0, 0, 0)).save(tmp_path / "cyan.jpg", quality=95)
    red, green, blue = read_image(tmp_path / "cyan.jpg", reading())[:, 4, 4].astype(int)
    assert red < 10
    assert green > 245
    assert blue > 245


def test_sixteen_bits_are_scaled_not_cut(tmp_path: Path) -> None:
    values = np.array([0, 1, 128, 129, 257, 30000, 65279, 65535], dtype=np.uint16)
    Image.fromarray(np.tile(values, (8, 1))).save(tmp_path / "deep.png")
    square = read_image(tmp_path / "deep.png", reading())
    np.testing.assert_array_equal(square[0, 0], np.rint(values / 257.0))
    np.testing.assert_array_equal(square[0], square[2])


def test_sixteen_bit_rgb(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + struct.pack(">3H", 65535, 32896, 0) * 8
    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row * 8)) + chunk(b"IEND", b"")
    (tmp_path / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png", reading())[:, 2, 5], [255, 128, 0])


def test_exif_orientation_turns_the_picture(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    pixels[0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    file = save(tmp_path, "a.png", pixels, exif=exif)
    np.testing.assert_array_equal(read_image(file, reading()), np.rot90(pixels, -1).transpose(2, 0, 1))


def test_crops_keep_the_centre(tmp_path: Path) -> None:
    pixels = noise(8, 20, 3)
    pixels[:, :6] = pixels[:, 14:] = 0
    wide, tall = save(tmp_path, "wide.png", pixels), save(tmp_path, "tall.png", pixels.transpose(1, 0, 2).copy())
    np.testing.assert_array_equal(read_image(wide, reading(8)), pixels[:, 6:14].transpose(2, 0, 1))
    np.testing.assert_array_equal(read_image(tall, reading(8)), pixels[:, 6:14].transpose(2, 1, 0))
    np.testing.assert_array_equal(read_image(wide, reading(4, crop_size=4)), pixels[2:6, 8:12].transpose(2, 0, 1))


def test_large_jpegs_keep_the_centre_too(tmp_path: Path) -> None:
    """JPEGs are decoded at a fraction of their size: the crop has to follow."""
    pixels = np.zeros((480, 800, 3), dtype=np.uint8)
    pixels[140:340, 300:500] = 255
    square = read_image(save(tmp_path, "a.jpg", pixels, quality=95), reading(8, crop_size=200))
    # The border lies within blocks of eight pixels: it may be soft, but alike on all four sides.
    assert square[:, 1:-1, 1:-1].min() > 240
    assert square.min() > 180
    for turned in (square[:, ::-1], square[:, :, ::-1], square.transpose(0, 2, 1)):
        assert abs(turned.astype(int) - square).max() < 10
    corner = read_image(tmp_path / "a.jpg", reading(12, crop_size=400))
    assert corner[:, 4:8, 4:8].min() > 240
    assert corner[:, :2].max() < 15


def test_reduction_is_antialiased(tmp_path: Path) -> None:
    board = np.indices((64, 64)).sum(axis=0) % 2 * np.uint8(255)
    square = read_image(save(tmp_path, "a.png", board.astype(np.uint8)), reading(8)).astype(int)
    assert abs(square - 127).max() <= 4


def test_animated_pictures_are_refused(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), (40 * i, 0, 0)) for i in range(3)]
    for name in ("a.gif", "a.webp", "a.png"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], duration=50)
        with pytest.raises(UnusableImage, match="animated"):
            read_image(tmp_path / name, reading())
    frames[1].save(tmp_path / "still.gif")
    assert read_image(tmp_path / "still.gif", reading()).shape == (3, 8, 8)


def test_stereo_jpegs_are_pictures(tmp_path: Path) -> None:
    views = [Image.fromarray(noise(16, 16, 3, seed=seed)) for seed in range(2)]
    views[0].save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=views[1:])
    assert read_image(tmp_path / "a.jpg", reading()).shape == (3, 8, 8)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp"])
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5, 0.9])
def test_truncated_files_have_a_reason(tmp_path: Path, suffix: str, kept: float) -> None:
    file = save(tmp_path, f"a.{suffix}", noise(64, 64, 3))
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(UnusableImage, match="empty file" if kept == 0.0 else "."):
        read_image(file, reading())


def test_damaged_bytes_never_raise_anything_else(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for suffix in ("png", "jpg", "webp", "gif", "bmp"):
        content = np.frombuffer(save(tmp_path, f"a.{suffix}", noise(16, 16, 3)).read_bytes(), dtype=np.uint8)
        for number in range(40):
            damaged = content.copy()
            damaged[generator.integers(0, len(content), 6)] = generator.integers(0, 256, 6)
            file = tmp_path / f"{number}.{suffix}"
            file.write_bytes(damaged.tobytes())
            # Anything but UnusableImage fails the test.
            with contextlib.suppress(UnusableImage):
                assert read_image(file, reading()).shape == (3, 8, 8)


def test_foreign_content_is_not_decoded(tmp_path: Path) -> None:
    """An image's name does not let other formats in, some of which start programs."""
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n")
    (tmp_path / "b.jpg").write_text("<html>not found</html>")
    for name in ("a.png", "b.jpg"):
        with pytest.raises(UnusableImage, match="not a PNG, JPEG"):
            read_image(tmp_path / name, reading())


@pytest.mark.parametrize("side", [11_000, 60_000])
def test_huge_declared_sizes_are_refused_before_decoding(tmp_path: Path, side: int) -> None:
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    data = zlib.compress(b"\0" * 100)
    idat = struct.pack(">I", len(data)) + b"IDAT" + data + struct.pack(">I", zlib.crc32(b"IDAT" + data))
    (tmp_path / "bomb.png").write_bytes(start + idat)
    with pytest.raises(UnusableImage, match="more than 100 million pixels"):
        read_image(tmp_path / "bomb.png", reading())


def test_pipes_and_missing_files_do_not_block(tmp_path: Path) -> None:
    with pytest.raises(UnusableImage, match="No such file"):
        read_image(tmp_path / "missing.png", reading())
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(UnusableImage, match="not a regular file"):
            read_image(tmp_path / "pipe.png", reading())


def test_listing_is_sorted_nested_and_leaves_hidden_names_out(tmp_path: Path) -> None:
    names = ["b/2.png", "b/10.JPG", "a.webp", "b/c/d/e.jpeg"]
    others = ["notes.txt", ".hidden.png", "._a.jpg", ".git/x.png", "__MACOSX/a.png", "truth.npz"]
    for name in names + others:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    found = list_image_files(tmp_path)
    assert found == sorted((tmp_path / name for name in names), key=lambda file: file.parts)


def test_loops_of_links_end(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a.png").touch()
    try:
        (tmp_path / "inner" / "back").symlink_to(tmp_path, target_is_directory=True)
        (tmp_path / "again").symlink_to(tmp_path / "inner", target_is_directory=True)
    except OSError:
        pytest.skip("no symbolic links here")
    assert len(list_image_files(tmp_path)) == 1
