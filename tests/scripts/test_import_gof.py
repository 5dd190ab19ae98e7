"""`gan3d import gof`: the recorded weights of the original give the recorded picture; other files give a sentence."""

from __future__ import annotations

import copy
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.utils.eval_utils import eval_setup

from gan3d_ns.errors import UserError
from gan3d_ns.scripts.export_mesh import ExportMesh
from gan3d_ns.scripts.import_gof import ImportGof
from gan3d_ns.scripts.runs import load_run


@pytest.fixture
def state(load_fixture) -> dict[str, torch.Tensor]:
    weights = load_fixture("gof_generator_weights")
    return {name.removeprefix("weights/"): tensor for name, tensor in weights.items()}


@pytest.fixture
def generator_file(state, tmp_path: Path) -> Path:
    path = tmp_path / "2021generator.pth"
    torch.save(state, path)
    return path


def import_run(generator: Path, output: Path, **settings) -> Path:
    ImportGof(generator=generator, preset="celeba", output=output, **settings).main()
    (config,) = output.glob("*/*/*/config.yml")
    return config


def test_the_import_renders_what_the_original_rendered(generator_file: Path, tmp_path: Path, load_fixture) -> None:
    mapping, expected = load_fixture("gof_mapping"), load_fixture("gof_render")
    config, pipeline, step = load_run(import_run(generator_file, tmp_path / "out"))
    assert (config.method_name, config.preset, step) == ("gof-gan-paper", "celeba", 200_000)
    generator = pipeline.model.shown_generator
    assert float(generator.sampler.half_width) == pytest.approx(0.03)
    generator.sampler.half_width.fill_(0.06)
    rays = pipeline.model.pose_prior.rays(expected["pose_pitch_yaw"], 8)
    styles = generator.styles(mapping["z"][:2].repeat_interleave(2, dim=0))
    output = generator.render(styles, rays, fine_uniforms=expected["fine_u"].reshape(4, 64, 6))
    image = 2 * output.rgb.reshape(4, 8, 8, 3).permute(0, 3, 1, 2) - 1
    torch.testing.assert_close(image, expected["d006_fine_lastback_image"], atol=1e-4, rtol=1e-4)
    mean = generator.field.mapping(torch.randn(20_000, 16)).mean(dim=0)
    torch.testing.assert_close(generator.mean_code, mean, atol=0.05, rtol=0)


def test_stock_commands_and_the_mesher_open_the_import(generator_file: Path, tmp_path: Path) -> None:
    run = import_run(generator_file, tmp_path / "out", step=2000)
    config, pipeline, checkpoint, step = eval_setup(run, test_mode="inference")
    assert step == 2000 and checkpoint.is_file()
    assert float(pipeline.model.generator.sampler.half_width) == pytest.approx(config.window.value(2000))  # type: ignore[attr-defined]
    ExportMesh(load_config=run, resolution=16, output_dir=tmp_path).main()
    assert (tmp_path / "mesh_seed0000.glb").is_file()


@pytest.mark.parametrize("pickled", [True, False])
def test_moving_averages_are_what_is_shown(state, generator_file: Path, tmp_path: Path, pickled, monkeypatch) -> None:
    """The release pickles torch_ema's object beside the generator; its state_dict may be given as well."""
    content = {"decay": 0.999, "num_updates": 5, "shadow_params": [value + 1 for value in state.values()]}
    if pickled:
        shadow_class = type("ExponentialMovingAverage", (), {"__module__": "torch_ema.ema"})
        module = types.ModuleType("torch_ema.ema")
        module.ExponentialMovingAverage = shadow_class  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "torch_ema", types.ModuleType("torch_ema"))
        monkeypatch.setitem(sys.modules, "torch_ema.ema", module)
        average = shadow_class()
        vars(average).update(content, collected_params=[])
        torch.save(average, tmp_path / "2021ema.pth")
        monkeypatch.delitem(sys.modules, "torch_ema.ema")
        monkeypatch.delitem(sys.modules, "torch_ema")
        run = import_run(generator_file, tmp_path / "out")
    else:
        torch.save(content, tmp_path / "average.pth")
        run = import_run(generator_file, tmp_path / "out", ema=tmp_path / "average.pth")
    _, pipeline, _ = load_run(run)
    plain, shown = pipeline.model.generator.field, pipeline.model.generator_ema.field
    for mine, averaged in zip(plain.parameters(), shown.parameters(), strict=True):
        torch.testing.assert_close(averaged.data, mine.data + 1)


def test_an_existing_run_is_not_overwritten(generator_file: Path, tmp_path: Path) -> None:
    run = import_run(generator_file, tmp_path / "out")
    before = run.stat().st_mtime_ns
    with pytest.raises(UserError, match="is there already and is not overwritten; give another --output"):
        import_run(generator_file, tmp_path / "out")
    assert run.stat().st_mtime_ns == before


class Explosive:
    def __reduce__(self):
        return print, ("code ran",)


def refused_contents(state) -> dict[str, tuple[object, str]]:
    renamed = {name.replace("siren.", "net."): value for name, value in state.items()}
    resized = {**state, "siren.final_layer.weight": torch.zeros(2, 32)}
    more = {**state, "siren.spatial_embeddings": torch.zeros(1, 32)}
    return {
        "module": (torch.nn.Linear(2, 2), "pickled Python object.*is refused.*state_dict"),
        "code": (Explosive(), "pickled Python object"),
        "number": (3.0, "is a float, not the state dict"),
        "renamed": (renamed, r"30 of its 30 tensors do not fit.*net\.network\.0"),
        "resized": (resized, r"1 of its 30 tensors do not fit and 0 are missing, such as siren\.final_layer\.weight"),
        "more": (more, r"1 of its 31 tensors do not fit.*spatial_embeddings"),
        "fewer": (dict(list(state.items())[:-1]), "0 of its 29 tensors do not fit and 1 are missing"),
        "average": ({"decay": 0.999, "shadow_params": []}, "is a dict, not the state dict"),
    }


@pytest.mark.parametrize("kind", ["module", "code", "number", "renamed", "resized", "more", "fewer", "average"])
def test_another_file_is_refused_with_a_sentence(state, tmp_path: Path, kind: str, capsys) -> None:
    content, sentence = refused_contents(copy.copy(state))[kind]
    torch.save(content, tmp_path / "generator.pth")
    with pytest.raises(UserError, match=sentence):
        import_run(tmp_path / "generator.pth", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert "code ran" not in capsys.readouterr().out


def test_missing_and_damaged_files(generator_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no file"):
        import_run(tmp_path / "absent.pth", tmp_path / "out")
    with pytest.raises(UserError, match="there is no file"):
        import_run(generator_file, tmp_path / "out", ema=tmp_path / "absent.pth")
    content = generator_file.read_bytes()
    generator_file.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="cut off"):
        import_run(generator_file, tmp_path / "out")
    generator_file.write_bytes(np.arange(100, dtype=np.uint8).tobytes())
    with pytest.raises(UserError, match=r"is not a file of torch\.save"):
        import_run(generator_file, tmp_path / "out")


def test_averages_of_another_generator(state, generator_file: Path, tmp_path: Path) -> None:
    torch.save({"decay": 0.999, "shadow_params": list(state.values())[1:]}, tmp_path / "ema.pth")
    with pytest.raises(UserError, match="does not hold the moving averages of this generator"):
        import_run(generator_file, tmp_path / "out", ema=tmp_path / "ema.pth")
