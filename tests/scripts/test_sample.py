"""`gan3d sample`: a grid of the right size, and a sentence for what cannot be shown."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
from tiny_runs import make_tiny_run

from gan3d_ns.errors import UserError
from gan3d_ns.scripts.sample import Sample


@pytest.mark.parametrize("what", ["rgb", "depth", "normals"])
def test_the_sheet_has_a_column_for_each_seed_and_a_row_for_each_yaw(tiny_run: Path, tmp_path: Path, what) -> None:
    path = tmp_path / "new" / f"{what}.png"
    Sample(load_config=tiny_run, num=4, yaws=3, resolution=12, what=what, output=path).main()
    image = imageio.imread(path)
    assert image.shape == (3 * 12, 4 * 12, 3)
    assert image.std() > 0


def test_a_column_belongs_to_its_seed(tiny_run: Path, tmp_path: Path) -> None:
    together, alone = tmp_path / "both.png", tmp_path / "one.png"
    Sample(load_config=tiny_run, seeds=(0, 5), yaws=2, resolution=12, truncation=1.0, output=together).main()
    Sample(load_config=tiny_run, seeds=(5,), yaws=2, resolution=12, truncation=1.0, output=alone).main()
    np.testing.assert_array_equal(imageio.imread(together)[:, 12:], imageio.imread(alone))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"num": 0}, "nothing to show: 0 objects"),
        ({"yaws": 0}, "nothing to show: .* from 0 sides"),
        ({"resolution": 1}, "at 1 pixels"),
        ({"output": Path("samples.tiff")}, r"end the name in \.png or \.jpg"),
        ({"output": Path("/proc/samples.png"), "num": 1, "yaws": 1, "resolution": 4}, "cannot write"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(tiny_run: Path, settings, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Sample(load_config=tiny_run, **settings).main()


@pytest.fixture(scope="module")
def separating_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_run("graf-tiny", tmp_path_factory.mktemp("graf"))


def test_mixing_shows_each_shape_in_each_appearance(separating_run: Path, tmp_path: Path) -> None:
    def sheet(**settings) -> np.ndarray:
        path = tmp_path / "mixed.png"
        Sample(load_config=separating_run, resolution=12, truncation=1.0, output=path, **settings).main()
        return imageio.imread(path)

    colour = sheet(seeds=(0, 5, 7), mix=True)
    assert colour.shape == (3 * 12, 3 * 12, 3)
    alone = sheet(seeds=(5,), yaws=1)
    np.testing.assert_array_equal(colour[12:24, 12:24], alone)  # on the diagonal an object as it is
    assert (colour[12:24, 12:24] != colour[12:24, 24:]).any()
    depth = sheet(seeds=(0, 5, 7), mix=True, what="depth")
    np.testing.assert_array_equal(depth[:, :12], depth[:, 12:24])  # along a row the shape stays
    np.testing.assert_array_equal(depth[:, :12], depth[:, 24:])
    assert sheet(mix=True).shape == (5 * 12, 5 * 12, 3)


def test_a_method_without_separate_codes_has_nothing_to_mix(tiny_run: Path) -> None:
    with pytest.raises(UserError, match="gof-gan-tiny does not separate shape and appearance"):
        Sample(load_config=tiny_run, mix=True).main()
