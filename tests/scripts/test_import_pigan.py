"""`gan3d import pigan`: the recorded weights of the original, plain or pickled, give the recorded picture."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest
import torch
from torch import nn

from gan3d_ns.errors import UserError
from gan3d_ns.scripts.import_pigan import ImportPigan
from gan3d_ns.scripts.runs import load_run

POSES = {
    "celeba": [(1.570796, 1.570796), (1.870796, 1.320796)],
    "carla": [(1.570796, 1.2), (2.9, 0.7)],
}


@pytest.fixture
def read_state(load_fixture):
    def read(collection: str) -> dict[str, torch.Tensor]:
        weights = load_fixture(f"pigan_{collection}_generator_weights")
        return {name.removeprefix("weights/"): tensor for name, tensor in weights.items()}

    return read


def import_run(generator: Path, output: Path, preset: str, **settings) -> Path:
    ImportPigan(generator=generator, preset=preset, output=output, **settings).main()  # type: ignore[arg-type]
    (config,) = output.glob("*/*/*/config.yml")
    return config


class Explosive:
    def __reduce__(self):
        return print, ("code ran",)


def pickled_network(state: dict[str, torch.Tensor], path: Path, monkeypatch, **attributes) -> None:
    """Saves what the release saves: the network as an object, of classes that do not exist where it is read."""

    def release_class(module: str, name: str) -> type[nn.Module]:
        if module not in sys.modules:
            monkeypatch.setitem(sys.modules, module.split(".")[0], types.ModuleType(module.split(".")[0]))
            monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
        made = type(name, (nn.Module,), {"__module__": module})
        setattr(sys.modules[module], name, made)
        return made

    def insert(parent: nn.Module, name: str, weight: torch.Tensor, bias: torch.Tensor) -> None:
        *path_, last = name.split(".")
        for part in path_:
            if part not in parent._modules:
                parent.add_module(part, nn.ModuleList() if part == "network" else film())
            parent = parent._modules[part]  # type: ignore[assignment]
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.load_state_dict({"weight": weight, "bias": bias})
        parent.add_module(last, layer)

    film = release_class("siren.siren", "FiLMLayer")
    generator = release_class("generators.generators", "ImplicitGenerator3d")()
    siren = release_class("siren.siren", "SPATIALSIRENBASELINE")()
    generator.siren = siren
    generator.step, generator.epoch, generator.device = 123_000, 7, torch.device("cpu")
    siren.gridwarper = release_class("siren.siren", "UniformBoxWarp")()
    siren.gridwarper.scale_factor = 2 / 0.24
    for name in dict.fromkeys(name.rpartition(".")[0] for name in state):
        insert(generator, name, state[f"{name}.weight"], state[f"{name}.bias"])
    assert generator.state_dict().keys() == state.keys()
    vars(generator).update(attributes)
    torch.save(generator, path)
    for module in ("siren.siren", "siren", "generators.generators", "generators"):
        monkeypatch.delitem(sys.modules, module)


@pytest.mark.parametrize("collection", list(POSES))
def test_the_import_renders_what_the_original_rendered(read_state, tmp_path: Path, load_fixture, collection) -> None:
    mapping, expected = load_fixture(f"pigan_{collection}_mapping"), load_fixture(f"pigan_{collection}_render")
    torch.save(read_state(collection), tmp_path / "generator.pth")
    config, pipeline, step = load_run(import_run(tmp_path / "generator.pth", tmp_path / "out", collection))
    assert (config.method_name, config.preset, step) == ("pi-gan-paper", collection, 200_000)
    generator = pipeline.model.shown_generator
    generator.sampler.config.num_coarse_samples = generator.sampler.config.num_fine_samples = 12
    yaw, pitch = torch.tensor(POSES[collection]).repeat(2, 1).unbind(dim=-1)
    rays = pipeline.model.pose_prior.rays(torch.stack((pitch, yaw), dim=-1), 8)
    styles = generator.styles(mapping["z"][:2].repeat_interleave(2, dim=0))
    output = generator.render(styles, rays, fine_uniforms=expected["fine_u"])
    image = 2 * output.rgb.reshape(4, 8, 8, 3).permute(0, 3, 1, 2) - 1
    # Faces are shown with the last sample as background, cars before white.
    recorded = {"celeba": "fine_lastback_image", "carla": "fine_whiteback_image"}[collection]
    torch.testing.assert_close(image, expected[recorded], atol=1e-4, rtol=1e-4)


def test_a_pickled_network_is_read_without_its_code(read_state, tmp_path: Path, monkeypatch) -> None:
    state = read_state("celeba")
    pickled_network(state, tmp_path / "21generator.pth", monkeypatch)
    average = {"decay": 0.999, "shadow_params": [value + 1 for value in state.values()]}
    torch.save(average, tmp_path / "21ema.pth")
    _, pipeline, _ = load_run(import_run(tmp_path / "21generator.pth", tmp_path / "out", "cats", step=5))
    plain, shown = pipeline.model.generator.field, pipeline.model.generator_ema.field
    plain_state = dict(plain.named_parameters())
    torch.testing.assert_close(plain_state["trunk.0.linear.weight"].data, state["siren.network.0.layer.weight"])
    torch.testing.assert_close(plain_state["colour_head.bias"].data, state["siren.color_layer_linear.0.bias"])
    for mine, averaged in zip(plain.parameters(), shown.parameters(), strict=True):
        torch.testing.assert_close(averaged.data, mine.data + 1)


def test_code_inside_a_pickled_network_does_not_run(read_state, tmp_path: Path, monkeypatch, capsys) -> None:
    pickled_network(read_state("celeba"), tmp_path / "generator.pth", monkeypatch, extra=Explosive())
    with pytest.raises(UserError, match=r"pickled Python object.*is refused"):
        import_run(tmp_path / "generator.pth", tmp_path / "out", "celeba")
    assert not (tmp_path / "out").exists()
    assert "code ran" not in capsys.readouterr().out


def test_another_network_is_refused_with_a_sentence(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "generator.pth")
    with pytest.raises(UserError, match=r"not the state dict of a pi-GAN generator .*TALLSIREN.*2 of its 2 tensors"):
        import_run(tmp_path / "generator.pth", tmp_path / "out", "carla")
