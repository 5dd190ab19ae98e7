"""What holds for packed rows of any mask: the wanted entries, in their order, and the way back."""

from __future__ import annotations

import hypothesis.extra.numpy as random_arrays
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_values import tensors

from gan3d_ns.model_components.packing import pack_rows

masks = random_arrays.arrays(bool, st.tuples(st.integers(0, 4), st.integers(0, 9))).map(torch.from_numpy)
channels = st.sampled_from(((), (3,), (2, 2)))


@given(masks)
def test_rows_hold_their_wanted_entries_in_order_and_distinct_others(mask):
    packed = pack_rows(mask)
    assert packed.width == max((sum(row) for row in mask.tolist()), default=0)
    for row, indices, valid in zip(mask, packed.indices, packed.valid, strict=True):
        wanted = row.nonzero().flatten().tolist()
        assert indices.tolist()[: len(wanted)] == wanted
        assert valid.tolist() == [place < len(wanted) for place in range(packed.width)]
        assert len(set(indices.tolist())) == packed.width, "a scatter writes nothing twice"


@given(masks, channels, st.data())
def test_the_way_back_keeps_what_was_wanted_and_fills_the_rest(mask, shape, data):
    dense = data.draw(tensors((*mask.shape, *shape))).requires_grad_(True)
    packed = pack_rows(mask)
    wanted = mask.reshape(*mask.shape, *(1 for _ in shape)).expand_as(dense)
    back = packed.unpack(packed.pack(dense), fill=7.0)
    assert torch.equal(back, torch.where(wanted, dense, 7.0))
    back.sum().backward()
    assert torch.equal(dense.grad, wanted.float()), "gradients pass through wanted entries only"


@given(masks, st.data())
def test_narrowing_is_packing_what_both_want(mask, data):
    second = data.draw(random_arrays.arrays(bool, tuple(mask.shape)).map(torch.from_numpy))
    values, packed = data.draw(tensors((*mask.shape, 2))), pack_rows(mask)
    inner, both = packed.narrowed(packed.pack(second))
    direct = pack_rows(mask & second)
    assert torch.equal(both.unpack(both.pack(values)), direct.unpack(direct.pack(values)))
    assert torch.equal(inner.pack(packed.pack(values)), both.pack(values))
