"""Laws of the reading order: a permutation for each epoch, and nothing but the position decides."""

from __future__ import annotations

import pytest
import torch

from gan3d_ns.data.data_order import epoch_flips, epoch_indices


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
