"""What holds for every order in which a collection is read."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from gan3d_ns.data.data_order import epoch_flips, epoch_indices

sizes = st.integers(1, 40)
any_seeds = st.integers(-(2**63), 2**63)


@given(sizes, any_seeds, st.integers(0, 10**9))
def test_each_epoch_shows_each_image_once(size, seed, epoch):
    order = epoch_indices(epoch * size, size, size, seed)
    assert sorted(order.tolist()) == list(range(size))


@given(sizes, any_seeds, st.integers(0, 1000), st.lists(st.integers(0, 17), max_size=6))
def test_how_positions_are_grouped_does_not_matter(size, seed, start, counts):
    """Batches of any sizes, ranks that take turns, and a run that stops anywhere: each position keeps its image."""
    for read in (epoch_indices, epoch_flips):
        at_once = read(start, sum(counts), size, seed)
        position, parts = start, [read(start, 0, size, seed)]
        for count in counts:
            parts.append(read(position, count, size, seed))
            position += count
        assert torch.equal(torch.cat(parts), at_once)
        assert len(at_once) == sum(counts) and parts[0].dtype == at_once.dtype
