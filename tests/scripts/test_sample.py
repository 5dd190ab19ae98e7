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


def test_the_sides_can_be_named(tiny_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "sides.png"

    def sheet(*yaw_deg: float) -> np.ndarray:
        Sample(load_config=tiny_run, num=1, yaw_deg=yaw_deg, resolution=12, output=path).main()
        return imageio.imread(path)

    both = sheet(-20.0, 15.5)
    assert both.shape == (2 * 12, 12, 3)
    np.testing.assert_array_equal(both, np.concatenate((sheet(-20.0), sheet(15.5))))
    assert (both[:12] != both[12:]).any()


def test_a_grid_shows_many_objects_from_one_side(tiny_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "grid.png"

    def sheet(**settings) -> np.ndarray:
        Sample(load_config=tiny_run, resolution=12, truncation=1.0, output=path, **settings).main()
        return imageio.imread(path)

    row = sheet(num=6, yaw_deg=(0.0,))
    grid = sheet(grid=(2, 3))
    assert grid.shape == (2 * 12, 3 * 12, 3)
    np.testing.assert_array_equal(np.concatenate((grid[:12], grid[12:]), axis=1), row)
    some = sheet(grid=(3, 2), seeds=(4, 1, 5), what="normals")
    assert some.shape == (3 * 12, 2 * 12, 3)
    assert (some[12:, 12:] == 0).all() and (some[24:] == 0).all(), "places without an object stay empty"
    assert some[12:24, :12].any()


def test_saved_objects_stand_beside_seeds(tiny_run: Path, tmp_path: Path) -> None:
    from gan3d_ns.model_components.latents import LatentSelection, encode_latent
    from gan3d_ns.models.latent_codes import layer_codes
    from gan3d_ns.scripts.runs import load_run

    _, pipeline, _ = load_run(tiny_run)
    codes = layer_codes(pipeline.model.generator_ema, LatentSelection(seed=5))[:, 0]
    saved, path = tmp_path / "kept.safetensors", tmp_path / "sheet.png"
    saved.write_bytes(encode_latent(codes, {"method": "gof-gan-tiny"}))

    def sheet(**settings) -> np.ndarray:
        Sample(load_config=tiny_run, resolution=12, yaws=2, truncation=1.0, output=path, **settings).main()
        return imageio.imread(path)

    np.testing.assert_array_equal(sheet(seeds=(2,), latents=(saved,)), sheet(seeds=(2, 5)))
    np.testing.assert_array_equal(sheet(latents=(saved,)), sheet(seeds=(5,)))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"num": 0}, "nothing to show: 0 objects"),
        ({"yaws": 0}, "nothing to show: .* from 0 sides"),
        ({"resolution": 1}, "at 1 pixels"),
        ({"grid": (2, 0)}, "nothing to show: 0 objects"),
        ({"grid": (1, 2), "seeds": (1, 2, 3)}, "3 objects do not fit into 1 rows of 2"),
        ({"grid": (1, 2), "yaw_deg": (1.0, 2.0)}, "--grid shows objects from one side and got 2"),
        ({"grid": (1, 2), "mix": True}, "leave out --grid"),
        ({"latents": (Path("one.safetensors"),), "mix": True}, "leave out --latents"),
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
