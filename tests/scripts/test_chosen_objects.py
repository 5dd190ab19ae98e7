"""Which objects a command line means."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gan3d_ns.errors import UserError
from gan3d_ns.model_components.latents import LatentSelection, encode_latent
from gan3d_ns.scripts.objects import ChosenObjects, unique_names
from gan3d_ns.scripts.runs import load_run


def test_names_that_come_again_are_numbered():
    assert unique_names(["a", "b", "a", "a"]) == ["a", "b", "a-2", "a-3"]


def test_seeds_come_first_and_without_any_the_first_object_is_meant(tiny_run: Path):
    assert [entry.name for entry in ChosenObjects(tiny_run).open().objects] == ["seed0000"]
    opened = ChosenObjects(tiny_run, seeds=(4, 2, 4), truncation=0.5).open()
    assert [entry.name for entry in opened.objects] == ["seed0004", "seed0002", "seed0004-2"]
    assert opened.objects[0].metadata["truncation"] == "0.5"
    assert opened.folder == tiny_run.parent


def test_a_latent_of_other_weights_is_shown_with_a_warning(tiny_run: Path, tmp_path: Path, capsys):
    _, pipeline, _ = load_run(tiny_run)
    model, selection = pipeline.model, LatentSelection(seed=3)
    codes, origin = model.layer_codes(selection)[:, 0], model.provenance(selection)
    same, other = tmp_path / "same.safetensors", tmp_path / "other.safetensors"
    same.write_bytes(encode_latent(codes, origin))
    other.write_bytes(encode_latent(codes, {**origin, "weights": "average 0123"}))
    opened = ChosenObjects(tiny_run, latents=(same, other)).open()
    assert [entry.name for entry in opened.objects] == ["same", "other"]
    said = capsys.readouterr().out
    assert "The latent other: It was saved from other weights" in said
    assert "The latent same" not in said


def test_a_latent_of_another_method_is_refused(tiny_run: Path, tmp_path: Path):
    foreign = tmp_path / "foreign.safetensors"
    foreign.write_bytes(encode_latent(torch.zeros(2, 3), {"method": "elsewhere"}))
    with pytest.raises(UserError, match="foreign has 2 layers"):
        ChosenObjects(tiny_run, latents=(foreign,)).open()
    _, pipeline, _ = load_run(tiny_run)
    codes = pipeline.model.layer_codes(LatentSelection())[:, 0]
    foreign.write_bytes(encode_latent(codes, {"method": "elsewhere"}))
    with pytest.raises(UserError, match="foreign is of elsewhere, this run of gof-gan-tiny"):
        ChosenObjects(tiny_run, latents=(foreign,)).open()
