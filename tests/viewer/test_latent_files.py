"""Keeping objects and showing them again, without a browser."""

from __future__ import annotations

import contextlib
import types

import pytest
import torch

from gan3d_ns.errors import UserError
from gan3d_ns.file_names import free_path
from gan3d_ns.model_components.latents import LatentSelection, SavedLatent, encode_latent, read_latent
from gan3d_ns.viewer.latent_files import LatentFiles


def refuse_wide(saved):
    if saved.codes.shape[1] > 2:
        raise UserError("too wide")
    return ""


@pytest.fixture
def files(tmp_path):
    shown = []
    made = LatentFiles(
        encode=lambda selection: encode_latent(torch.full((1, 2), float(selection.seed)), {"step": "7"}),
        check=refuse_wide,
        current=lambda: LatentSelection(seed=3),
        show=shown.append,
    )
    made.folder, made.lock = tmp_path / "run" / "latents", contextlib.nullcontext()
    made.status = types.SimpleNamespace(content="", visible=False)
    return made, shown


def test_what_is_saved_can_be_read_and_is_never_replaced(files):
    made, _ = files
    first, second = made.save(), made.save()
    assert first != second
    assert torch.equal(read_latent(first).codes, torch.full((1, 2), 3.0))
    assert first.name in made.status.content or second.name in made.status.content


def test_a_latent_is_loaded_from_its_content(files):
    made, shown = files
    assert made.load("cat.safetensors", encode_latent(torch.ones(1, 2), {"step": "7"}))
    assert shown[0].name == "cat"
    assert "step 7" in made.status.content


@pytest.mark.parametrize("content", [b"nonsense", encode_latent(torch.ones(1, 3), {})], ids=["nonsense", "too wide"])
def test_other_files_are_refused_in_a_line(content, files):
    made, shown = files
    assert not made.load("odd.safetensors", content)
    assert not shown
    assert made.status.visible and "Not loaded" in made.status.content


def test_a_folder_that_cannot_be_written_is_reported(files):
    made, _ = files
    made.folder.parent.mkdir()
    made.folder.write_text("a file where the folder should be")
    assert made.save() is None
    assert "Not saved" in made.status.content


def test_names_say_what_is_in_the_file(tmp_path):
    assert LatentSelection(seed=3).name == "seed0003"
    mixed = LatentSelection(3, 4, 0.25, appearance_seed=6, mixed_seed=8, mixed_layers=(1,))
    assert mixed.name == "seed0003-worn0006-to0004-0.25-mix0008"
    assert LatentSelection(saved=SavedLatent(torch.zeros(1, 2), "my cat")).name == "my cat"
    assert free_path(tmp_path, "a/b\\c", ".x").parent == tmp_path


def test_nothing_of_a_file_reaches_the_panel_as_markup(files):
    """viser would run what stands in braces as a script, in every browser."""
    made, _ = files
    made.load(
        "a`b{1}[x](y).safetensors", encode_latent(torch.ones(1, 2), {"method": "{window.hit = 1}", "step": "<b>"})
    )
    assert not set("{}<`[") & set(made.status.content)
    made.load("{window.hit = 1}.safetensors", b"nonsense")
    assert not set("{}<`[") & set(made.status.content)
