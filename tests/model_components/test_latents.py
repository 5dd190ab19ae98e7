"""Ways between latents, and latents in files."""

from __future__ import annotations

import pytest
import torch

from gan3d_ns.errors import UserError
from gan3d_ns.model_components.latents import decode_latent, encode_latent, read_latent, slerp


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
