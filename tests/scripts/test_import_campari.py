"""`gan3d import campari`: the recorded weights of the original give the recorded pictures; other files a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gan3d_ns.cameras.camera_vectors import viewpoints_of_vectors
from gan3d_ns.errors import UserError
from gan3d_ns.model_components.ray_samplers import VolumeSampler, VolumeSamplerConfig
from gan3d_ns.scripts.import_campari import ImportCampari
from gan3d_ns.scripts.runs import load_run

VIEWS, OBJECTS = [1, 2, 1, 2], [0, 0, 1, 1]
# The recorded heads nearly cancel, see the field's test: weights follow them by this much.
TOLERANCE = {"atol": 3e-4, "rtol": 1e-3}


def weights_of(arrays: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("weights/"): value for name, value in arrays.items() if name.startswith("weights/")}


@pytest.fixture
def state(load_fixture) -> dict[str, Tensor]:
    return weights_of(load_fixture("campari_celeba_generator_weights"))


def import_run(content: Any, folder: Path, **settings: Any) -> Path:
    path = folder / "model.pt"
    torch.save(content, path)
    ImportCampari(**{"generator": path, "preset": "celeba", "output": folder / "out", **settings}).main()
    (config,) = (folder / "out").glob("*/*/*/config.yml")
    return config


@pytest.mark.parametrize("collection", ["celeba", "carla"])
def test_the_import_renders_what_the_original_rendered(tmp_path: Path, load_fixture, collection: str) -> None:
    camera, expected, latents = (load_fixture(f"campari_{collection}_{name}") for name in ("camera", "render", "field"))
    content = weights_of(load_fixture(f"campari_{collection}_generator_weights"))
    config, pipeline, step = load_run(import_run(content, tmp_path, preset=collection))
    assert (config.method_name, config.preset, step) == ("campari-paper", collection, 400_000)
    model = pipeline.model
    generator = model.shown_generator
    generator.sampler = VolumeSampler(
        VolumeSamplerConfig(num_coarse_samples=16, num_fine_samples=0), generator.geometry
    )
    field, moved = generator.field, generator.camera_generator
    assert moved is not None and float(moved.released) == 1.0
    field.config.background_samples = 4

    viewpoints = viewpoints_of_vectors(moved.moved(camera["prior"][VIEWS]), moved.parametrisation, moved.ranges)
    steps = torch.linspace(0, 127, 8) / 64 - 1
    down, right = torch.meshgrid(steps, steps, indexing="ij")
    frame = torch.stack((right, down), dim=-1).reshape(1, -1, 2).expand(4, -1, -1)
    rays = model.cameras.drawn.viewpoint_rays_at(viewpoints, frame)
    codes = [latents["z_fg"][OBJECTS], *([latents["z_bg"][OBJECTS]] if field.has_backdrop else [])]
    latent = torch.cat([code[:, :8] for code in codes] + [code[:, 8:] for code in codes], dim=1)
    with torch.no_grad():
        output = generator.render(generator.styles(latent), rays)

    def image(colours: Tensor) -> Tensor:
        return colours.reshape(4, 8, 8, 3).permute(0, 3, 1, 2)

    square = (4, 8, 8)
    cosine = -(rays.directions * model.cameras.drawn.camera_to_world(viewpoints.poses)[:, None, :, 2]).sum(-1)
    planar = output.distances * cosine[..., None]
    torch.testing.assert_close(planar, expected["fg_t"][:, None].expand_as(planar), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(output.weights.reshape(*square, 16), expected["fg_weights"], **TOLERANCE)
    torch.testing.assert_close(output.accumulation.reshape(square), expected["fg_acc"], **TOLERANCE)
    torch.testing.assert_close(1 - output.accumulation.reshape(square), expected["bg_lambda"], **TOLERANCE)
    torch.testing.assert_close((output.weights * planar).sum(-1).reshape(square), expected["fg_depth"], **TOLERANCE)
    torch.testing.assert_close(image(output.rgb), expected["image"], **TOLERANCE)
    behind = (1 - output.accumulation[..., None]) * (
        field.backdrop(rays, generator.styles(latent)) if field.has_backdrop else 1.0
    )
    torch.testing.assert_close(image(output.rgb - behind), expected["fg_rgb"], **TOLERANCE)


def test_the_releases_own_file_shows_its_moving_averages(state, tmp_path: Path) -> None:
    content = {f"generator.{name}": value for name, value in state.items()}
    content |= {f"generator_test.{name}": value + 1 for name, value in state.items()}
    content["discriminator.conv.weight"] = torch.zeros(3)
    _, pipeline, step = load_run(import_run({"model": content, "it": 7}, tmp_path, step=7))
    assert step == 7
    plain, shown = pipeline.model.generator, pipeline.model.generator_ema
    for part in ("field", "camera_generator"):
        names = dict(getattr(plain, part).named_parameters())
        for name, value in getattr(shown, part).named_parameters():
            torch.testing.assert_close(value, names[name] + 1)


def test_a_training_on_several_devices_is_read_too(state, tmp_path: Path) -> None:
    content = {name.replace("decoder.", "decoder.module."): value for name, value in state.items()}
    _, pipeline, _ = load_run(import_run(content, tmp_path))
    torch.testing.assert_close(pipeline.model.generator.field.object.entry.weight, state["decoder.fc_in.weight"])


@pytest.mark.parametrize(
    ("change", "preset", "sentence"),
    [
        (lambda state: state, "carla", "maps cameras of 5 numbers and the preset carla has 8"),
        (lambda state: {k: v for k, v in state.items() if "cameras" not in k}, "celeba", "no camera generator"),
        (
            lambda state: {**state, "latent_cameras.fc_in.weight": torch.zeros(16, 6)},
            "celeba",
            r"first layer has the shape \(16, 6\)",
        ),
        (
            lambda state: {**state, "latent_cameras.fc_out.weight": torch.zeros(5, 3)},
            "celeba",
            "camera generator that is none of CAMPARI's",
        ),
        (lambda state: {**state, "decoder.fc_out.bias": torch.zeros(2)}, "celeba", "do not fit"),
        (lambda state: {**state, "decoder.fc_view.weight": torch.zeros(2)}, "celeba", "do not fit"),
        (lambda state: {**state, 3: torch.zeros(2)}, "celeba", "do not fit"),
        (lambda state: {"model": {"it": 3}}, "celeba", "is a dict, not the state dict of a CAMPARI generator"),
        (lambda state: 3, "celeba", "is a int, not the state dict"),
    ],
)
def test_another_file_is_refused_with_a_sentence(state, tmp_path: Path, change, preset: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        import_run(change(state), tmp_path, preset=preset)
    assert not (tmp_path / "out").exists()
