"""Telling real from generated pictures, on scores whose answer is known."""

from __future__ import annotations

import pytest
import torch

from gan3d_ns.metrics.scores import score_measures


def test_the_share_of_ordered_pairs_is_counted() -> None:
    real, fake = torch.tensor([0.0, 2.0, 5.0]), torch.tensor([2.0, -1.0])
    pairs = [(r > f) + 0.5 * (r == f) for r in real.tolist() for f in fake.tolist()]
    measures = score_measures(real, fake)
    assert float(measures["told_apart"]) == pytest.approx(sum(pairs) / len(pairs))
    assert float(measures["logit_gap"]) == pytest.approx(float(real.mean() - fake.mean()))
    assert float(measures["logit_gap"]) == pytest.approx(float(measures["score_real"] - measures["score_fake"]))


@pytest.mark.parametrize(("shift", "share"), [(10.0, 1.0), (-10.0, 0.0), (0.0, 0.5)])
def test_the_order_does_not_ask_where_zero_is(shift: float, share: float) -> None:
    fake = torch.linspace(-1.0, 1.0, 8)
    for offset in (0.0, 100.0):
        assert float(score_measures(fake + shift + offset, fake + offset)["told_apart"]) == pytest.approx(share)


def test_measures_hold_no_graph() -> None:
    scores = torch.randn(4, requires_grad=True)
    assert not any(value.requires_grad for value in score_measures(2.0 * scores, scores).values())
