"""VolumeGAN's structure and texture on the command line: exchanged by --mix, and structure as colours."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
from tiny_runs import make_tiny_run

from gan3d_ns.errors import UserError
from gan3d_ns.model_components.latents import LatentSelection
from gan3d_ns.models.latent_codes import layer_codes
from gan3d_ns.scripts.runs import load_run
from gan3d_ns.scripts.sample import Sample


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_run("volumegan-tiny", tmp_path_factory.mktemp("volumegan"))


def test_another_appearance_leaves_the_volume_alone(run: Path) -> None:
    model = load_run(run)[1].model
    own, other = LatentSelection(seed=3), LatentSelection(seed=4)
    worn = LatentSelection(seed=3, appearance_seed=4)
    codes = layer_codes(model.generator_ema, worn)
    assert torch.equal(codes[:1], layer_codes(model.generator_ema, own)[:1])
    assert torch.equal(codes[1:], layer_codes(model.generator_ema, other)[1:])
    assert torch.equal(model.styles_of(worn).volume, model.styles_of(own).volume)
    assert torch.equal(model.styles_of(worn).entry, model.styles_of(other).entry)
    assert model.latent.separates_appearance


def test_mix_wears_every_appearance(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "mix.png"
    settings = {"load_config": run, "seeds": (1, 2), "resolution": 16, "truncation": 1.0, "output": path}
    Sample(mix=True, **settings).main()
    mixed = imageio.imread(path)
    assert mixed.shape == (32, 32, 3)
    Sample(grid=(1, 2), **settings).main()
    plain = imageio.imread(path)
    np.testing.assert_array_equal(mixed[:16, :16], plain[:, :16])
    np.testing.assert_array_equal(mixed[16:, 16:], plain[:, 16:])
    assert (mixed[:16, 16:] != mixed[:16, :16]).any()
    assert (mixed[:16, 16:] != mixed[16:, 16:]).any()


def test_descriptors_are_shown_as_colours(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "descriptors.png"
    Sample(load_config=run, num=3, yaws=2, resolution=12, what="descriptors", output=path).main()
    picture = imageio.imread(path)
    assert picture.shape == (24, 36, 3)
    assert (picture.reshape(-1, 3).std(axis=0) > 5).all()


def test_a_field_without_descriptors_says_so(tmp_path: Path) -> None:
    off = {"pipeline.model.feature_volume.use_volume": False}
    run = make_tiny_run("volumegan-tiny", tmp_path, **off)
    with pytest.raises(UserError, match="volumegan-tiny has no feature volume whose descriptors could be shown"):
        Sample(load_config=run, num=1, resolution=12, what="descriptors", output=tmp_path / "x.png").main()


def test_without_the_neural_renderer_rays_are_the_pictures(tmp_path: Path) -> None:
    off = {"pipeline.model.feature_volume.feature_dim": None}
    model = load_run(make_tiny_run("volumegan-tiny", tmp_path, **off))[1].model
    assert model.generator.neural_renderer is None
    assert len(model.generator.field.style_layers) == 3
