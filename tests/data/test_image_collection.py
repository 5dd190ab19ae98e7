"""Folders in, batches out: counts, refusals, the cache on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.utils.rich_utils import CONSOLE
from PIL import Image

from gan3d_ns.data import image_collection
from gan3d_ns.data.image_collection import ImageCollection, ImageCollectionConfig
from gan3d_ns.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("GAN3D_CACHE", str(folder))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for number in range(12):
        target = tmp_path / f"class {number % 3}" / f"{number:03d}.png"
        target.parent.mkdir(exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(target)
    return tmp_path


def load(folder: Path, resolution: int = 16, **settings) -> ImageCollection:
    return ImageCollectionConfig(**settings).setup(source=folder, resolution=resolution)


def everything(collection: ImageCollection, **arguments) -> torch.Tensor:
    return collection.batch(torch.arange(len(collection)), **arguments)


def test_batches_hold_the_files_pixels(folder: Path) -> None:
    collection = load(folder)
    assert len(collection) == len(collection.paths) == 12
    pixels = np.stack([np.asarray(Image.open(path)) for path in collection.paths]).transpose(0, 3, 1, 2)
    batch = everything(collection)
    assert batch.dtype == torch.float32
    torch.testing.assert_close(batch, torch.from_numpy(pixels / 127.5 - 1.0).float())
    assert batch.min() == -1.0
    assert batch.max() == 1.0


def test_flips_mirror_left_and_right(folder: Path) -> None:
    collection = load(folder)
    flip = torch.arange(12) % 2 == 0
    batch, flipped = everything(collection), everything(collection, flip=flip)
    assert torch.equal(flipped[~flip], batch[~flip])
    assert torch.equal(flipped[flip], batch[flip].flip(-1))


@pytest.mark.parametrize("resolution", [1, 4, 6, 8, 11])
def test_lower_stages_are_antialiased_means(folder: Path, resolution: int) -> None:
    collection = load(folder)
    batch = everything(collection, resolution=resolution)
    assert batch.shape == (12, 3, resolution, resolution)
    if 16 % resolution == 0:
        # Independent of the library's pooling: mean over blocks, which also keeps the mean of the picture.
        blocks = everything(collection).view(12, 3, resolution, 16 // resolution, resolution, 16 // resolution)
        torch.testing.assert_close(batch, blocks.mean(dim=(3, 5)))
    with pytest.raises(ValueError, match="stored at 16"):
        everything(collection, resolution=32)


def test_a_checkerboard_becomes_grey(tmp_path: Path) -> None:
    board = (np.indices((16, 16)).sum(axis=0) % 2 * 255).astype(np.uint8)
    for number in range(2):
        Image.fromarray(board).save(tmp_path / f"{number}.png")
    collection = load(tmp_path)
    assert everything(collection, resolution=8).abs().max() < 1e-6
    assert everything(collection, resolution=6).abs().mean() < 0.2


def test_bad_files_are_counted_and_named(folder: Path) -> None:
    (folder / "empty.png").touch()
    (folder / "[red]text.jpg").write_text("no picture")
    truncated = (folder / "class 0" / "000.png").read_bytes()[:200]
    (folder / "cut.png").write_bytes(truncated)
    frames = [Image.new("RGB", (8, 8), (60 * i, 0, 0)) for i in range(3)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    with CONSOLE.capture() as printed:
        collection = load(folder)
    assert len(collection) == 12
    reasons = {path.name: reason for path, reason in collection.skipped}
    assert reasons.keys() == {"empty.png", "[red]text.jpg", "cut.png", "moving.gif"}
    assert reasons["empty.png"] == "empty file"
    assert reasons["moving.gif"] == "animated"
    text = " ".join(printed.get().split())
    assert "Skipped 4 of 16 files" in text
    for name in reasons:
        assert name in text


def test_many_bad_files_print_a_few_names(folder: Path) -> None:
    for number in range(30):
        (folder / f"bad{number}.png").touch()
    with CONSOLE.capture() as printed:
        load(folder)
    text = " ".join(printed.get().split())
    assert text.count("empty file") == image_collection.NUM_NAMED
    assert "and 25 more" in text


def test_refusals_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist; give --data a folder"):
        load(tmp_path / "missing")
    Image.new("RGB", (8, 8)).save(tmp_path / "only.png")
    with pytest.raises(UserError, match=r"is a file; give --data the folder"):
        load(tmp_path / "only.png")
    with pytest.raises(UserError, match=r"1 usable image in .* at least 2"):
        load(tmp_path)
    (tmp_path / "bad.jpg").touch()
    with pytest.raises(UserError, match=r"1 usable image .* skipped: bad.jpg \(empty file\)"):
        load(tmp_path)
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match=r"no images in .* \.png, \.jpg"):
        load(tmp_path / "none")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"background": (0, 0, 256)}, "between 0 and 255"),
        ({"crop": "stretch", "crop_size": 10}, "no meaning with crop stretch"),
        ({"crop_size": 0}, "at least 1 pixel"),
        ({"min_images": 1}, "at least 2 images"),
    ],
)
def test_contradictory_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ImageCollectionConfig(**settings)


def test_a_list_of_files_is_a_collection(folder: Path) -> None:
    files = sorted(folder.rglob("*.png"))[:5]
    collection = ImageCollectionConfig().setup(source=files, resolution=16)
    assert collection.paths == files


def test_memory_and_disk_hold_the_same_bytes(folder: Path, cache: Path) -> None:
    (folder / "bad.png").touch()
    in_memory = load(folder)
    assert not list(cache.rglob("*.u8"))
    for _ in range(2):  # made, then found
        on_disk = load(folder, memory_limit_mb=0)
        assert torch.equal(in_memory.images, on_disk.images)
        assert on_disk.paths == in_memory.paths
        assert on_disk.skipped == in_memory.skipped
        assert torch.equal(everything(in_memory, resolution=8), everything(on_disk, resolution=8))
    assert len(list(cache.rglob("*.u8"))) == 1
    assert not list(cache.rglob("*partial*"))


def test_the_cache_is_used_and_follows_every_change(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(folder, memory_limit_mb=0)

    def no_decoding(*_: object) -> None:
        raise AssertionError("decoded again")

    with monkeypatch.context() as patch:
        patch.setattr(image_collection, "read_image", no_decoding)
        load(folder, memory_limit_mb=0)
        for changed in ({"background": "black"}, {"crop_size": 8}):
            with pytest.raises(AssertionError, match="decoded again"):
                load(folder, memory_limit_mb=0, **changed)
        with pytest.raises(AssertionError, match="decoded again"):
            load(folder, resolution=8, memory_limit_mb=0)
    Image.new("RGB", (16, 16), (255, 0, 0)).save(folder / "class 0" / "000.png")
    assert everything(load(folder, memory_limit_mb=0))[0, 0].min() == 1.0


def test_a_damaged_cache_is_made_again(folder: Path, cache: Path) -> None:
    expected = load(folder, memory_limit_mb=0).images.clone()
    file = next(cache.rglob("*.u8"))
    file.write_bytes(file.read_bytes()[:100])
    assert torch.equal(load(folder, memory_limit_mb=0).images, expected)


def test_slow_collections_are_kept_even_where_they_fit(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_collection, "SLOW_DECODING_SECONDS", -1.0)
    first, second = load(folder), load(folder)
    assert len(list(cache.rglob("*.u8"))) == 1
    assert torch.equal(first.images, second.images)


def test_a_cache_that_cannot_be_written(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "a file"
    blocked.touch()
    monkeypatch.setenv("GAN3D_CACHE", str(blocked))
    with pytest.raises(UserError, match="GAN3D_CACHE"):
        load(folder, memory_limit_mb=0)
    monkeypatch.setattr(image_collection, "SLOW_DECODING_SECONDS", -1.0)
    with CONSOLE.capture() as printed:
        assert len(load(folder)) == 12
    assert "were not kept" in printed.get()
