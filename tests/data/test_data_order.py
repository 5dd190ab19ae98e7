"""Laws of the reading order: a permutation for each epoch, and nothing but the position decides."""

from __future__ import annotations

import pytest
import torch

from gan3d_ns.data.data_order import epoch_flips, epoch_indices


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_each_epoch_shows_each_image_once(size: int) -> None:
    for epoch in range(4):
        assert sorted(epoch_indices(epoch * size, size, size, seed=3).tolist()) == list(range(size))


@pytest.mark.parametrize("order", [epoch_indices, epoch_flips])
@pytest.mark.parametrize("batch_size", [1, 3, 8, 50])
def test_batches_do_not_change_the_order(order, batch_size: int) -> None:
    whole = order(0, 100, 13, 5)
    parts = [order(start, min(batch_size, 100 - start), 13, 5) for start in range(0, 100, batch_size)]
    assert torch.equal(torch.cat(parts), whole)
    # Resuming in the middle is the same as not having stopped.
    assert torch.equal(order(37, 20, 13, 5), whole[37:57])


def test_epochs_and_seeds_differ() -> None:
    epochs = [tuple(epoch_indices(epoch * 50, 50, 50, seed).tolist()) for seed in range(4) for epoch in range(4)]
    assert len(set(epochs)) == len(epochs)


def test_global_randomness_is_untouched() -> None:
    before = torch.random.get_rng_state()
    epoch_indices(0, 10, 1000, 9)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_flips_are_fair() -> None:
    assert 0.45 < epoch_flips(0, 4000, 100, 0).float().mean() < 0.55


def test_nothing_asked_gives_nothing() -> None:
    assert epoch_indices(5, 0, 10, 0).shape == (0,)
    with pytest.raises(ValueError, match="size 0"):
        epoch_indices(0, 1, 0, 0)
