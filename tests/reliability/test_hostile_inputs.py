"""The corpus of hostile files in small: used, or refused with a sentence; nothing runs and nothing changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from nerfstudio.utils.rich_utils import CONSOLE
from PIL import Image

from gan3d_ns.data import image_collection
from gan3d_ns.data.image_collection import ImageCollection, ImageCollectionConfig
from gan3d_ns.errors import UserError, printable

# How many damaged files of each kind, at most how much memory above the start, and what must have been used.
KINDS = {
    "pictures": (150, 100.0, 10),
    "bombs": (1, 150.0, 4),
    "names": (1, 60.0, 1),
    "no-files": (1, 60.0, 1),
    "changing": (200, 60.0, 1),
    "many": (1, 60.0, 1),
    "settings": (24, 100.0, 3),
    "reports": (30, 100.0, 10),
    "releases": (60, 100.0, 5),
    "latents": (60, 200.0, 5),
    "targets": (1, 100.0, 0),
}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAN3D_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.mark.parametrize("kind", [*KINDS, pytest.param("checkpoints", marks=pytest.mark.slow)])
def test_hostile_input_is_used_or_refused(kind: str, tmp_path: Path) -> None:
    from benchmarks.reliability.inputs import Inputs

    count, most_mb, fewest = KINDS.get(kind, (30, 700.0, 5))
    (tally,) = Inputs(variants=count, many_files=2000, largest_side=1000, large=False, kinds=(kind,)).run(tmp_path)
    assert tally.tracebacks == []
    assert tally.changed == []
    assert tally.tried == tally.used + tally.refused
    assert tally.used >= fewest
    assert tally.used == 0 or kind != "targets"
    assert tally.refused > 0 or kind in ("names", "changing", "many")
    assert not tally.peak_mb > most_mb  # NaN where the system does not tell


def test_the_experiment_notices_code_that_runs_and_errors_without_a_sentence(tmp_path: Path) -> None:
    from benchmarks.reliability.trials import feed

    (tmp_path / "kept").write_text("a")
    trials = [
        ("a traceback", lambda: 1 / 0),
        ("code", lambda: (tmp_path / "mark").touch()),
        ("a change", lambda: (tmp_path / "kept").write_text("b")),
    ]
    tally = feed("broken", trials, tmp_path)
    assert not tally.good
    assert len(tally.tracebacks) == 1 and "ZeroDivisionError" in tally.tracebacks[0]
    assert tally.changed == ["'kept'", "'mark'"]


@pytest.mark.parametrize("text", ["a\nb", "\x1b[31m", "\x9b31m", "\udcff", "\u202e", "\r", "\x07", "\u2028"])
def test_nothing_that_moves_a_terminal_is_printed(text: str) -> None:
    shown = printable(f"1 {text} 2")
    assert shown.isprintable() and shown.startswith("1 ") and shown.endswith(" 2")
    shown.encode("utf-8")
    assert printable("Grüße, 世界 [bold]") == "Grüße, 世界 [bold]"


def test_the_work_before_decoding_grows_with_the_number_of_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One look at each file for the cache's key, one at each folder: twice the files, twice the calls."""
    calls = []
    stat = os.stat
    monkeypatch.setattr(image_collection, "_decode", lambda files, *_: (list(range(2)), [(f, "") for f in files[2:]]))

    def counted(*arguments, **options):
        calls.append(arguments)
        return stat(*arguments, **options)

    counts = []
    for number in (200, 400):
        folder = tmp_path / str(number)
        folder.mkdir()
        for index in range(number):
            (folder / f"{index}.png").touch()
        calls.clear()
        with monkeypatch.context() as patch:
            patch.setattr(os, "stat", counted)
            ImageCollection(ImageCollectionConfig(), folder, 4)
        counts.append(len(calls))
    assert 200 <= counts[0] <= 220
    assert 195 <= counts[1] - counts[0] <= 205


def test_a_damaged_index_of_the_cache_is_made_again(tmp_path: Path) -> None:
    for number in range(4):
        Image.new("RGB", (4, 4), (number * 40, 0, 0)).save(tmp_path / f"{number}.png")
    settings = ImageCollectionConfig(memory_limit_mb=0)
    expected = ImageCollection(settings, tmp_path, 4).images.clone()
    (index,) = Path(os.environ["GAN3D_CACHE"]).rglob("index.json")
    for content in (
        '{"kept": [0, 1, 2, 99], "skipped": []}',
        '{"kept": [0, 1, 2, -1], "skipped": []}',
        "[]",
        "[" * 9999,
    ):
        index.write_text(content)
        with CONSOLE.capture():
            assert (ImageCollection(settings, tmp_path, 4).images == expected).all()


def test_the_strips_of_large_pictures_join_without_a_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    from gan3d_ns.data import image_files
    from gan3d_ns.data.image_files import ImageReading, read_image

    generator = np.random.default_rng(0)
    Image.fromarray(generator.integers(0, 256, (33, 29, 4), dtype=np.uint8)).save(tmp_path / "alpha.png")
    Image.fromarray(generator.integers(0, 65536, (33, 29)).astype(np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(generator.integers(0, 256, (33, 29), dtype=np.uint8)).quantize(8).save(
        tmp_path / "palette.png", transparency=2
    )
    reading = ImageReading(16, (10, 200, 90), "centre-square", None, 10**6)
    for name in ("alpha", "deep", "palette"):
        whole = read_image(tmp_path / f"{name}.png", reading)
        with monkeypatch.context() as patch:
            patch.setattr(image_files, "STRIP_PIXELS", 70)
            np.testing.assert_array_equal(read_image(tmp_path / f"{name}.png", reading), whole)


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    from benchmarks.reliability.inputs import Inputs

    with pytest.raises(UserError, match="no kind x; there are: pictures"):
        list(Inputs(kinds=("x",)).run(tmp_path))
