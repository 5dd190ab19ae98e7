"""`gan3d import volumegan`: the recorded weights of the original give the recorded pictures; others give a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gan3d_ns.cameras.viewpoints import Viewpoints
from gan3d_ns.errors import UserError
from gan3d_ns.model_components.surface import SurfaceHits
from gan3d_ns.scripts.import_volumegan import ImportVolumegan
from gan3d_ns.scripts.runs import load_run
from gan3d_ns.scripts.volumegan_weights import generator_sizes

TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}
LATENTS, POSES = [0, 0, 1, 1], [0, 1, 0, 1]
"""Of the four recorded views."""


@pytest.fixture
def state(load_fixture) -> dict[str, Tensor]:
    arrays = load_fixture("volumegan_generator_weights")
    return {name.removeprefix("weights/"): value for name, value in arrays.items()}


def import_run(content: Any, folder: Path, **settings: Any) -> Path:
    path = folder / "volumegan_ffhq256.pth"
    torch.save(content, path)
    ImportVolumegan(**{"generator": path, "output": folder / "out", **settings}).main()
    (config,) = (folder / "out").glob("*/*/*/config.yml")
    return config


def test_the_import_renders_what_the_original_rendered(state, tmp_path: Path, load_fixture) -> None:
    camera, expected, mapping = (load_fixture(f"volumegan_{name}") for name in ("camera", "render", "mapping"))
    config, pipeline, _ = load_run(import_run(state, tmp_path))
    assert (config.method_name, config.preset) == ("volumegan-paper", "ffhq")
    model = pipeline.model
    generator = model.shown_generator
    torch.testing.assert_close(generator.mean_code, mapping["w_avg"])

    viewpoints = Viewpoints(camera["yaw_pitch"][POSES].flip(-1))
    rays = generator.picture_rays(model.pose_prior, viewpoints, 32)
    torch.testing.assert_close(rays.directions.reshape(4, 8, 8, 3), camera["ray_dirs"][POSES], **TOLERANCE)
    styles = generator.styles(mapping["z"][LATENTS])
    found = generator.render(styles, rays, fine_uniforms=expected["fine_u"])
    # Where the coarse weights of an interval are next to nothing, the fine samples magnify their rounding.
    torch.testing.assert_close(found.distances.reshape(4, 8, 8, 24), expected["t"], atol=5e-4, rtol=0.0)
    assert (found.distances.reshape(4, 8, 8, 24) - expected["t"]).abs().mean() < 1e-6

    output = generator.composite(styles, rays, expected["t"].flatten(1, 2), SurfaceHits(found.surface_depth, found.hit))
    torch.testing.assert_close(output.weights.reshape(4, 8, 8, 24), expected["weights"], **TOLERANCE)
    torch.testing.assert_close(output.accumulation.reshape(4, 8, 8), expected["acc"], **TOLERANCE)
    depth = (output.weights * output.distances).sum(dim=-1)
    torch.testing.assert_close(depth.reshape(4, 8, 8), expected["depth"], **TOLERANCE)
    assert output.features is not None
    features = output.features.reshape(4, 8, 8, 16).permute(0, 3, 1, 2)
    torch.testing.assert_close(features, expected["feature_map"], **TOLERANCE)
    pictures = 2.0 * generator.pictures(output, styles) - 1.0
    torch.testing.assert_close(pictures, expected["image"].clamp(-1.0, 1.0), **TOLERANCE)


def test_truncation_of_the_first_layers_is_the_originals(state, tmp_path: Path, load_fixture) -> None:
    """The release truncates 8 of its 10 codes here: the field's, whose first is also the volume's, and 4 of 6 more."""
    camera, expected, mapping = (load_fixture(f"volumegan_{name}") for name in ("camera", "render", "mapping"))
    _, pipeline, _ = load_run(import_run(state, tmp_path))
    generator = pipeline.model.shown_generator
    layers = generator.layer_codes(mapping["z"][:1], 0.7)[:, 0]
    expected_codes = mapping["wp_psi07_layers8"][0]
    # The renderer's first code goes to a layer that the release does not have.
    released = torch.cat((expected_codes[:1], expected_codes[:4], expected_codes[5:]))
    torch.testing.assert_close(layers, released, **TOLERANCE)
    assert (layers[-1] - layers[0]).abs().max() > 0.1
    styles = generator.styles(mapping["z"][:1], 0.7)
    viewpoints = Viewpoints(camera["yaw_pitch"][1:2].flip(-1))
    rays = generator.picture_rays(pipeline.model.pose_prior, viewpoints, 32)
    output = generator.render(styles, rays, fine_uniforms=expected["fine_u"][1:2])
    pictures = 2.0 * generator.pictures(output, styles) - 1.0
    image = expected["image_psi07_view1"].clamp(-1.0, 1.0)
    torch.testing.assert_close(pictures[0], image, atol=2e-3, rtol=0.0)  # the samples are not recorded, see above
    assert (pictures[0] - image).abs().mean() < 1e-4


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_releases_own_file_shows_its_moving_averages(state, tmp_path: Path, prefix: str) -> None:
    plain = {prefix + name: value for name, value in state.items()}
    average = {prefix + name: value + 1 if name.endswith("dense0.bias") else value for name, value in state.items()}
    models = {"generator": plain, "discriminator": {}, "generator_smooth": average}
    _, pipeline, step = load_run(import_run({"models": models, "running_metadata": {"iter": 3}}, tmp_path, step=7))
    assert step == 7
    (first, *_), (shown, *_) = (
        list(generator.field.mapping_network.children())
        for generator in (pipeline.model.generator, pipeline.model.generator_ema)
    )
    torch.testing.assert_close(shown.bias, first.bias + 1)


def test_sizes_are_read_off_the_weights(state) -> None:
    sizes = generator_sizes(state)
    assert sizes is not None
    field, renderer = sizes.feature_volume, sizes.neural_renderer
    assert (field.latent_dim, field.mapping_dim, field.code_dim, field.volume_channels) == (16, 24, 32, (16, 8, 8))
    assert (field.hidden_dim, field.num_layers, field.feature_dim, field.position_octaves) == (16, 4, 16, 10)
    assert (renderer.ray_side, renderer.resolution, renderer.base_rgb) == (8, 32, "features")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda state: {name.replace("mlps", "layers"): value for name, value in state.items()}, "do not fit"),
        (lambda state: {**state, "synthesis.layer1.bias": torch.zeros(3)}, r"1 of its 73 .*synthesis\.layer1\.bias"),
        (lambda state: {"models": {"discriminator": state}}, "holds the models discriminator, but no generator"),
        (lambda state: {"models": 3}, "is a dict, not the state dict of a VolumeGAN generator"),
        (lambda state: [3], "is a list, not the state dict"),
    ],
)
def test_another_file_is_refused_with_a_sentence(state, tmp_path: Path, change, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        import_run(change(state), tmp_path)
    assert not (tmp_path / "out").exists()
