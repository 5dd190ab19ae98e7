"""Variety, contrast and change of pictures, where they are known."""

from __future__ import annotations

import torch

from gan3d_ns.metrics.picture_health import picture_health


def test_equal_objects_have_no_variety_but_contrast() -> None:
    one = torch.rand(1, 2, 8, 8, 3, generator=torch.Generator().manual_seed(0))
    health = picture_health(one.expand(4, 2, 8, 8, 3))
    assert health.variety < 1e-6
    assert health.contrast > 0.2
    assert health.change is None


def test_plain_objects_have_variety_but_no_contrast() -> None:
    plain = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1, 1).expand(2, 2, 8, 8, 3)
    health = picture_health(plain)
    assert health.contrast == 0.0
    assert health.variety == 0.5


def test_change_is_that_since_the_look_before_of_the_same_size() -> None:
    before = torch.zeros(2, 1, 4, 4, 3)
    assert picture_health(before + 0.25, before).change == 0.25
    assert picture_health(torch.zeros(2, 1, 8, 8, 3), before).change is None
