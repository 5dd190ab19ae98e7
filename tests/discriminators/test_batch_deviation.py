"""The batch statistic: laws and a slow reference."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from gan3d_ns.discriminators.batch_deviation import append_batch_deviation
from gan3d_ns.discriminators.shared_batch import SharedBatch


def test_batch_deviation_measures_variety() -> None:
    same = torch.rand(1, 5, 4, 4).expand(6, 5, 4, 4)
    assert append_batch_deviation(same)[:, -1].abs().max() < 2e-4
    varied = torch.randn(6, 5, 4, 4)
    expected = varied.std(dim=0, unbiased=False).mean()
    assert_close(append_batch_deviation(varied)[:, -1], expected.expand(6, 4, 4))


def test_batch_deviation_of_equal_images_has_a_gradient_in_half_precision() -> None:
    features = torch.ones(4, 3, 4, 4, dtype=torch.float16, requires_grad=True)
    append_batch_deviation(features)[:, -1].float().sum().backward()
    assert torch.isfinite(features.grad).all()


@pytest.mark.parametrize("batch", [1, 3, 4, 8, 10])
def test_each_image_sees_the_deviation_of_its_own_group(batch: int) -> None:
    features, groups = torch.randn(batch, 3, 4, 4), {1: 1, 3: 1, 4: 1, 8: 2, 10: 3}[batch]
    appended = append_batch_deviation(features, group_size=4)
    assert_close(appended[:, :-1], features)
    for image in range(batch):
        group = torch.stack([features[other] for other in range(batch) if other % groups == image % groups])
        assert len(group) <= 4
        expected = (group.var(dim=0, unbiased=False) + 1e-8).sqrt().mean()
        assert_close(appended[image, -1], expected.expand(4, 4))


@pytest.mark.parametrize(("batch", "group_size"), [(5, None), (10, 4), (9, 2)])
def test_two_processes_see_the_deviations_of_the_whole_batch(batch: int, group_size: int | None) -> None:
    """Two threads stand for them and exchange their sums."""
    features, first = torch.randn(batch, 3, 4, 4), batch // 3
    shares, met = [features[:first], features[first:]], threading.Barrier(2)
    told: list[Tensor] = [torch.zeros(0)] * 2

    def look(process: int) -> Tensor:
        def total(numbers: Tensor) -> Tensor:
            told[process] = numbers
            met.wait(timeout=10)
            added = told[0] + told[1]
            met.wait(timeout=10)
            return added

        shared = SharedBatch(process * first, batch, total)
        return append_batch_deviation(shares[process], group_size, shared)

    with ThreadPoolExecutor(2) as pool:
        found = torch.cat(list(pool.map(look, (0, 1))))
    assert_close(found, append_batch_deviation(features, group_size))
