"""`gan3d import graf`: the recorded weights of the original give the recorded pictures; other files give a sentence."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from nerfstudio.utils.eval_utils import eval_setup
from torch import Tensor

from gan3d_ns.cameras.viewpoints import Viewpoints
from gan3d_ns.errors import UserError
from gan3d_ns.model_components.ray_samplers import VolumeSampler, VolumeSamplerConfig
from gan3d_ns.scripts.graf_weights import field_sizes
from gan3d_ns.scripts.import_graf import ImportGraf
from gan3d_ns.scripts.runs import load_run

VIEWS = {"carla": (0, 1, 0, 1), "celeba": (2, 3, 2, 3)}
"""Recorded poses of the four views, two of each latent."""


def weights_of(arrays: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("weights/"): value for name, value in arrays.items() if name.startswith("weights/")}


@pytest.fixture
def state(load_fixture) -> dict[str, Tensor]:
    return weights_of(load_fixture("graf_generator_weights"))


def import_run(content: Any, folder: Path, **settings: Any) -> Path:
    path = folder / "model.pt"
    torch.save(content, path)
    ImportGraf(**{"generator": path, "preset": "carla", "output": folder / "out", **settings}).main()
    (config,) = (folder / "out").glob("*/*/*/config.yml")
    return config


@pytest.mark.parametrize("preset", ["carla", "celeba"])
def test_the_import_renders_what_the_original_rendered(state, tmp_path: Path, load_fixture, preset: str) -> None:
    camera, expected, latents = (load_fixture(f"graf_{name}") for name in ("camera", "render", "field"))
    config, pipeline, step = load_run(import_run(state, tmp_path, preset=preset))
    assert (config.method_name, config.preset, step) == ("graf-paper", preset, 300_000)
    model = pipeline.model
    generator = model.shown_generator
    generator.sampler = VolumeSampler(
        VolumeSamplerConfig(num_coarse_samples=16, num_fine_samples=0), generator.geometry
    )

    views = list(VIEWS[preset])
    azimuth, polar = camera["azimuth_polar"][views].unbind(-1)
    front = math.radians(model.config.nerf.front_azimuth_deg)
    poses = torch.stack((polar, math.pi / 2 + front - azimuth), dim=-1)
    radii = camera["u_v_radius"][views, 2] / 10
    # GRAF's pixel 0 lies on the left border of our frame, and its last one a pixel short of the right.
    steps = torch.arange(8) / 4 - 1
    down, right = torch.meshgrid(steps, steps, indexing="ij")
    frame = torch.stack((right, down), dim=-1).reshape(1, -1, 2).expand(4, -1, -1)
    rays = model.pose_prior.viewpoint_rays_at(Viewpoints(poses, radii), frame)
    output = generator.render(generator.styles(latents["z"][[0, 0, 1, 1]]), rays)

    tolerance = {"atol": 1e-4, "rtol": 1e-4}
    image = 2 * output.rgb.reshape(4, 8, 8, 3) - 1
    torch.testing.assert_close(image, expected[f"{preset}_image"], **tolerance)
    torch.testing.assert_close(output.weights, expected[f"{preset}_weights"], **tolerance)
    torch.testing.assert_close(output.accumulation, expected[f"{preset}_acc"], **tolerance)
    cosine = -(rays.directions * model.pose_prior.camera_to_world(poses)[:, None, :, 2]).sum(-1, keepdim=True)
    planar = 10 * output.distances * cosine
    torch.testing.assert_close(planar, expected[f"{preset}_t"][:, None].expand_as(planar), atol=1e-4, rtol=1e-5)
    torch.testing.assert_close((output.weights * planar).sum(-1), expected[f"{preset}_depth"], atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_releases_own_file_shows_its_moving_averages(state, tmp_path: Path, prefix: str) -> None:
    plain = {prefix + name: value for name, value in state.items()}
    average = {prefix + name: value + 1 for name, value in state.items()}
    content = {"generator": plain, "generator_test": average, "discriminator": {}, "it": 7, "fid_best": 40.5}
    _, pipeline, checkpoint, step = eval_setup(import_run(content, tmp_path, step=7), test_mode="inference")
    assert step == 7 and checkpoint.is_file()
    generator, shown = pipeline.model.generator.field, pipeline.model.generator_ema.field  # type: ignore[attr-defined]
    for name, value in generator.state_dict().items():
        torch.testing.assert_close(shown.state_dict()[name], value + 1)


def test_sizes_are_read_off_the_weights(state, load_fixture) -> None:
    sizes = field_sizes(state)
    assert sizes is not None
    assert (sizes.shape_dim, sizes.appearance_dim, sizes.hidden_dim, sizes.num_layers) == (8, 8, 32, 8)
    assert (sizes.skip_layer, sizes.positional_encoding, sizes.use_view_directions) == (4, True, True)
    blind = field_sizes(weights_of(load_fixture("graf_field_noviewdirs")))
    assert blind is not None and blind.shape_dim == 8 and not blind.use_view_directions
    naive = dict(state)
    for index in (0, 5):
        name = f"pts_linears.{index}.weight"
        naive[name] = torch.cat((naive[name][:, :3], naive[name][:, 63:]), dim=1)
    naive["views_linears.0.weight"] = naive["views_linears.0.weight"][:, : 32 + 3 + 8]
    plain = field_sizes(naive)
    assert plain is not None and plain.shape_dim == 8 and not plain.positional_encoding and plain.use_view_directions


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda state: {name.replace("pts", "net"): value for name, value in state.items()}, "24 of its 24 tensors"),
        (lambda state: {**state, "alpha_linear.bias": torch.zeros(2)}, r"1 of its 24 .*such as alpha_linear\.bias"),
        (lambda state: {**state, "views_linears.0.weight": torch.zeros(16, 33)}, "do not fit"),
        (lambda state: {"generator": 3}, "is a int, not the state dict of a GRAF generator; give model.pt"),
        (lambda state: {"it": 3}, "is a dict, not the state dict"),
    ],
)
def test_another_file_is_refused_with_a_sentence(state, tmp_path: Path, change, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        import_run(change(state), tmp_path)
    assert not (tmp_path / "out").exists()
