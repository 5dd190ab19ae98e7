"""Packing keeps the wanted entries of each row, in order, and nothing else comes back."""

from __future__ import annotations

import pytest
import torch

from gan3d_ns.model_components.packing import pack_rows


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_rows_hold_their_true_entries_in_order(share: float) -> None:
    mask = torch.rand(5, 40) < share
    packed = pack_rows(mask)
    assert packed.width == int(mask.sum(dim=1).max())
    for row in range(5):
        wanted = mask[row].nonzero().squeeze(1)
        assert torch.equal(packed.indices[row][packed.valid[row]], wanted)
        assert packed.valid[row].tolist() == [True] * len(wanted) + [False] * (packed.width - len(wanted))


def test_padding_points_at_other_entries_of_the_row() -> None:
    """A scatter of packed rows must not write one entry twice."""
    packed = pack_rows(torch.tensor([[True, True, False, True], [False, False, True, False]]))
    assert packed.indices.tolist() == [[0, 1, 3], [2, 0, 1]]
    assert packed.valid.tolist() == [[True, True, True], [True, False, False]]


@pytest.mark.parametrize("channels", [(), (3,), (2, 3)])
def test_unpacking_gives_back_what_was_packed(channels: tuple[int, ...]) -> None:
    mask = torch.rand(4, 30) < 0.3
    dense = torch.randn(4, 30, *channels)
    packed = pack_rows(mask)
    short = packed.pack(dense)
    assert short.shape == (4, packed.width, *channels)
    wanted = mask.reshape(4, 30, *(1 for _ in channels))
    assert torch.equal(packed.unpack(short, fill=7.0), torch.where(wanted, dense, 7.0))


def test_gradients_pass_through_wanted_entries_only() -> None:
    mask = torch.rand(3, 20) < 0.4
    dense = torch.randn(3, 20, 2, requires_grad=True)
    packed = pack_rows(mask)
    packed.unpack(packed.pack(dense)).sum().backward()
    assert torch.equal(dense.grad, mask[..., None].expand(3, 20, 2).float())


def test_rows_without_entries_are_empty() -> None:
    packed = pack_rows(torch.zeros(2, 6, dtype=torch.bool))
    assert packed.width == 0
    assert torch.equal(packed.unpack(packed.pack(torch.randn(2, 6, 3))), torch.zeros(2, 6, 3))


def test_narrowing_is_packing_twice() -> None:
    values, first, second = torch.randn(4, 30, 2), torch.rand(4, 30) < 0.6, torch.rand(4, 30) < 0.5
    packed = pack_rows(first)
    inner, both = packed.narrowed(packed.pack(second))
    direct = pack_rows(first & second)
    assert torch.equal(both.unpack(both.pack(values)), direct.unpack(direct.pack(values)))
    torch.testing.assert_close(inner.pack(packed.pack(values)), both.pack(values))
