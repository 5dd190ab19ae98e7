"""Ways between latents, and latents in files."""

from __future__ import annotations

import math

import pytest
import torch

from gan3d_ns.errors import UserError
from gan3d_ns.model_components.latents import between, decode_latent, encode_latent, read_latent, slerp


@pytest.fixture
def pair():
    randomness = torch.Generator().manual_seed(0)
    return torch.randn(2, 5, 64, generator=randomness).unbind()


@pytest.mark.parametrize("curve", ["linear", "slerp"])
def test_ways_start_and_end_where_they_should(curve, pair):
    torch.testing.assert_close(between(*pair, 0.0, curve), pair[0])
    torch.testing.assert_close(between(*pair, 1.0, curve), pair[1])


def test_an_arc_keeps_the_length_that_both_ends_have(pair):
    first, second = (torch.nn.functional.normalize(entry, dim=-1) * 8.0 for entry in pair)
    for amount in (0.1, 0.5, 0.8):
        torch.testing.assert_close(slerp(first, second, amount).norm(dim=-1), torch.full((5,), 8.0))
    assert (torch.lerp(first, second, 0.5).norm(dim=-1) < 7.0).all(), "which a line does not"


def test_an_arc_turns_at_an_even_pace():
    first, second = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    for amount in (0.25, 0.5, 0.75):
        angle = amount * math.pi / 2
        torch.testing.assert_close(
            slerp(first, second, amount), torch.tensor([math.cos(angle), math.sin(angle)]), atol=1e-6, rtol=0
        )


@pytest.mark.parametrize("factor", [1.0, -1.0, 2.0, 0.0])
def test_vectors_on_one_line_stay_finite(factor):
    first = torch.tensor([0.3, -0.4, 1.2])
    torch.testing.assert_close(slerp(first, factor * first, 0.5), first * (1.0 + factor) / 2.0)


def test_a_latent_comes_back_as_it_was(tmp_path):
    codes, file = torch.randn(3, 7), tmp_path / "my cat.safetensors"
    file.write_bytes(encode_latent(codes, {"method": "gof-gan-tiny", "step": "12"}))
    saved = read_latent(file)
    assert torch.equal(saved.codes, codes)
    assert saved.name == "my cat"
    assert saved.metadata == {"method": "gof-gan-tiny", "step": "12"}


def other_safetensors() -> bytes:
    from safetensors.torch import save

    return save({"codes": torch.zeros(2, 3)})


@pytest.mark.parametrize(
    "content",
    [b"", b"not a latent", bytes(64), other_safetensors(), encode_latent(torch.full((2, 3), torch.nan), {})],
    ids=["empty", "text", "zeros", "other", "nan"],
)
def test_other_files_are_refused_by_name(content, tmp_path):
    file = tmp_path / "odd.safetensors"
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"odd\.safetensors"):
        read_latent(file)


def test_every_truncation_of_a_file_is_refused():
    content = encode_latent(torch.randn(2, 3), {"method": "x"})
    for length in range(0, len(content), 7):
        with pytest.raises(UserError):
            decode_latent(content[:length], "cut.safetensors")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"gone\.safetensors"):
        read_latent(tmp_path / "gone.safetensors")
