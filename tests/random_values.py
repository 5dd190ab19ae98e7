"""Strategies for random input that the files test_*_laws.py share."""

from __future__ import annotations

import math

import hypothesis.extra.numpy as random_arrays
import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

TINIEST = 1e-30
"""Of the numbers in tensors, beside 0: products with smaller ones may be denormal, which trainings count as 0."""
DTYPES = {torch.float32: ("float32", 32), torch.float64: ("float64", 64)}

seeds = st.integers(0, 2**31 - 1)
dtypes = st.sampled_from(list(DTYPES))


def share_of_examples(share: float) -> settings:
    """Fewer examples than the profile's, for laws that are slow to check."""
    return settings(max_examples=max(1, round(share * settings().max_examples)))


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    """Finite floats of a range, its ends included; no denormal ones."""
    return st.floats(low, high, allow_nan=False, allow_infinity=False, allow_subnormal=False)


def magnitudes(low: float, high: float) -> st.SearchStrategy[float]:
    """Positive floats of a range, small ones as often as large ones."""
    return numbers(math.log(low), math.log(high)).map(lambda power: min(max(math.exp(power), low), high))


def tensors(
    shape: tuple[int, ...], low: float = -10.0, high: float = 10.0, dtype: torch.dtype = torch.float32
) -> st.SearchStrategy[Tensor]:
    """Tensors with numbers of a range, its ends included; shrinks towards equal entries."""
    kind, width = DTYPES[dtype]
    if dtype == torch.float32:
        low, high = float(np.float32(low)), float(np.float32(high))
    entries = st.floats(low, high, width=width, allow_nan=False, allow_subnormal=False)
    arrays = random_arrays.arrays(kind, shape, elements=entries)
    return arrays.map(lambda array: torch.from_numpy(np.where(np.abs(array) < TINIEST, array.dtype.type(0), array)))
