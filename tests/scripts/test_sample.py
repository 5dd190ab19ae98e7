"""`gan3d sample`: a grid of the right size, and a sentence for what cannot be shown."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest

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
