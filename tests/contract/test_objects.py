"""Objects of every registered method: mixed, kept in files, raw or averaged, on the way from one to another."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from recorded_training import TrainedRun

from gan3d_ns.errors import UserError
from gan3d_ns.model_components.latents import LatentSelection, SavedLatent, encode_latent, read_latent


def numbers(styles: Any) -> torch.Tensor:
    entries = [getattr(styles, entry.name) for entry in fields(styles)]
    return torch.cat([numbers(entry) if is_dataclass(entry) else entry.flatten().float() for entry in entries])


def test_the_method_knows_its_name_and_step(trained: TrainedRun, pipeline: Any) -> None:
    known = pipeline.model.provenance(LatentSelection(seed=3, truncation=0.5))
    assert known["method"] == trained.config.method_name
    assert (known["step"], known["seed"], known["truncation"]) == ("4", "3", "0.5")


def test_equal_codes_for_all_layers_give_the_object_itself(pipeline: Any) -> None:
    model = pipeline.model
    generator = model.generator_of(LatentSelection())
    codes = generator.codes(model.latent_of_seed(2), 0.8)
    expected = numbers(generator.field.condition(codes))
    assert torch.equal(numbers(model.styles_of(LatentSelection(seed=2, truncation=0.8))), expected)


def test_mixing_every_layer_gives_the_other_object_and_each_layer_matters(pipeline: Any) -> None:
    model = pipeline.model
    layers = range(len(model.generator.field.style_layers))
    plain = numbers(model.styles_of(LatentSelection(seed=0)))
    other = numbers(model.styles_of(LatentSelection(seed=1)))
    assert torch.equal(
        numbers(model.styles_of(LatentSelection(seed=0, mixed_seed=1, mixed_layers=tuple(layers)))), other
    )
    for layer in layers:
        mixed = numbers(model.styles_of(LatentSelection(seed=0, mixed_seed=1, mixed_layers=(layer,))))
        assert not torch.equal(mixed, plain), model.generator.field.style_layers[layer]


def test_a_saved_object_is_the_same_object(pipeline: Any, tmp_path: Path) -> None:
    model = pipeline.model
    selection = LatentSelection(
        seed=3, second_seed=5, interpolation=0.4, truncation=0.6, mixed_seed=7, mixed_layers=(0,)
    )
    file = tmp_path / "kept.safetensors"
    file.write_bytes(encode_latent(model.layer_codes(selection)[:, 0], model.provenance(selection)))
    again = LatentSelection(saved=read_latent(file), truncation=0.1)
    assert torch.equal(numbers(model.styles_of(again)), numbers(model.styles_of(selection)))
    assert model.provenance(again)["latent"] == "kept"


def test_a_latent_of_another_size_is_refused(pipeline: Any) -> None:
    foreign = SavedLatent(torch.zeros(2, 3), "foreign", {"method": "elsewhere"})
    with pytest.raises(UserError, match=r"foreign has 2 layers of 3 numbers \(made by elsewhere\)"):
        pipeline.model.styles_of(LatentSelection(saved=foreign))


@pytest.mark.parametrize("space", ["codes", "latents"])
@pytest.mark.parametrize("curve", ["linear", "slerp"])
def test_ways_lead_from_one_object_to_the_other(space: Any, curve: Any, pipeline: Any) -> None:
    model = pipeline.model

    def at(amount: float) -> torch.Tensor:
        return numbers(model.styles_of(LatentSelection(0, 1, amount, 0.7, space=space, curve=curve)))

    ends = [numbers(model.styles_of(LatentSelection(seed=seed, truncation=0.7))) for seed in (0, 1)]
    torch.testing.assert_close(at(0.0), ends[0])
    torch.testing.assert_close(at(1.0), ends[1])
    assert not torch.allclose(at(0.5), ends[0]) and not torch.allclose(at(0.5), ends[1])


def test_raw_weights_are_those_in_training(pipeline: Any) -> None:
    model = pipeline.model
    raw, average = LatentSelection(raw_weights=True), LatentSelection()
    assert model.generator_of(raw) is model.generator
    assert model.generator_of(average) is model.generator_ema
    assert not torch.equal(numbers(model.styles_of(raw)), numbers(model.styles_of(average)))
    model.shown_selection = raw
    try:
        assert model.shown_generator is model.generator
        camera = pipeline.datamanager.train_dataset.cameras[0:1]
        assert torch.isfinite(model.get_outputs_for_camera(camera)["rgb"]).all()
    finally:
        model.shown_selection = None
