"""`gan3d import giraffe`: the recorded weights of the original give the recorded pictures; other files a sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from giraffe_release import PRIOR, RECORDED, recorded_latents, recorded_poses, released_state
from torch import Tensor

from gan3d_ns.cameras.pose_prior import PosePrior
from gan3d_ns.cameras.viewpoints import Viewpoints
from gan3d_ns.errors import UserError
from gan3d_ns.model_components.ray_samplers import VolumeSampler, VolumeSamplerConfig
from gan3d_ns.scripts.giraffe_weights import field_sizes, giraffe_states
from gan3d_ns.scripts.import_giraffe import ImportGiraffe
from gan3d_ns.scripts.runs import load_run


@pytest.fixture
def state(load_fixture) -> dict[str, Tensor]:
    return released_state(load_fixture)


def import_run(content: Any, folder: Path, **settings: Any) -> Path:
    path = folder / "model.pt"
    torch.save(content, path)
    ImportGiraffe(**{"generator": path, "preset": "cars", "output": folder / "out", **settings}).main()
    (config,) = (folder / "out").glob("*/*/*/config.yml")
    return config


def as_released(plain: dict[str, Tensor], average: dict[str, Tensor]) -> dict[str, Any]:
    entries = {f"generator.{name}": value for name, value in plain.items()}
    entries.update({f"generator_test.{name}": value for name, value in average.items()})
    return {"model": {**entries, "discriminator.conv_out.weight": torch.zeros(1)}, "it": 7, "loss_val_best": 16.0}


def test_the_import_renders_what_the_original_rendered(state, tmp_path: Path, load_fixture) -> None:
    """The moving averages are shown; the plain weights beside them are others."""
    plain = {name: value + 1.0 for name, value in state.items()}
    config, pipeline, step = load_run(import_run(as_released(plain, state), tmp_path))
    assert (config.method_name, config.preset, step) == ("giraffe-paper", "cars", 300_000)
    generator = pipeline.model.shown_generator
    # The recorded scenes hold two objects in other places than the collections', and fewer samples.
    field = generator.field
    field.config = replace(field.config, num_objects=2, placement=RECORDED.placement)
    recorded = type(field)(field.config)
    recorded.load_state_dict(field.state_dict())
    generator.field = recorded
    generator.sampler = VolumeSampler(
        VolumeSamplerConfig(num_coarse_samples=12, num_fine_samples=0), generator.geometry
    )
    styles = recorded.condition(recorded_latents(load_fixture)[[0, 1]])
    viewpoints = Viewpoints(recorded_poses(load_fixture)[[0, 3]])
    rays = generator.picture_rays(PosePrior(PRIOR), viewpoints, 64)
    pictures = generator.pictures(generator.render(styles, rays), styles)
    expected = load_fixture("giraffe_render")["image_views03"]
    torch.testing.assert_close(pictures, expected, atol=1e-4, rtol=1e-4)
    weights = dict(pipeline.model.generator.named_parameters())
    torch.testing.assert_close(weights["neural_renderer.to_rgb.0.bias"], plain["neural_renderer.conv_rgb.0.bias"])


def test_sizes_are_read_off_the_weights(state) -> None:
    sizes = field_sizes(state)
    assert sizes is not None
    assert (sizes.objects, sizes.background, sizes.feature_dim) == (RECORDED.objects, RECORDED.background, 16)


def test_a_lone_generator_will_do_and_its_places_are_not_read(state, tmp_path: Path) -> None:
    path = tmp_path / "generator.pt"
    torch.save({**state, "bounding_box_generator.prior": torch.zeros(3)}, path)
    weights, average = giraffe_states(path)
    assert average is None and weights.renderer_sizes.resolution == 64
    assert "neural_renderer.conv_rgb.0.bias" not in weights.field


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda state: {name.replace("fc_in", "net"): value for name, value in state.items()}, "do not fit"),
        (lambda state: {**state, "decoder.sigma_out.bias": torch.zeros(2)}, r"1 of its .*such as decoder\.sigma_out"),
        (lambda state: {name: value for name, value in state.items() if "renderer" not in name}, "no neural renderer"),
        (
            lambda state: {**state, "neural_renderer.conv_rgb.1.bias": torch.zeros(2)},
            "no neural renderer of GIRAFFE",
        ),
        (lambda state: {"it": 3}, "is a dict, not the state dict"),
    ],
)
def test_another_file_is_refused_with_a_sentence(state, tmp_path: Path, change, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        import_run(change(state), tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_preset_of_another_size_is_refused(state, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pictures of 64 pixels and the preset celebahq of 256"):
        import_run(state, tmp_path, preset="celebahq")
