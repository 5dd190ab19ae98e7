"""Settings that no measurement can use are refused in a sentence."""

from __future__ import annotations

import dataclasses

import pytest

from gan3d_ns.errors import UserError
from gan3d_ns.metrics import settings
from gan3d_ns.metrics.sliced_wasserstein import SlicedWassersteinConfig

SEEDED = [
    kind
    for kind in (*vars(settings).values(), SlicedWassersteinConfig)
    if dataclasses.is_dataclass(kind) and "seed" in {entry.name for entry in dataclasses.fields(kind)}
]


def test_most_measurements_have_a_seed() -> None:
    assert len(SEEDED) > 8


@pytest.mark.parametrize("kind", SEEDED)
def test_seeds_that_no_generator_takes_are_refused(kind: type) -> None:
    for seed in (0, 2**32 - 1):
        assert kind(seed=seed).seed == seed
    for seed in (-1, 2**32):
        with pytest.raises(UserError, match=f"the seed is {seed}, but must lie between 0 and 4294967295"):
            kind(seed=seed)
