"""Distances between feature sets whose answers are known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gan3d_ns.errors import UserError
from gan3d_ns.metrics import feature_distances
from gan3d_ns.metrics.feature_distances import (
    KID_SUBSETS,
    NEEDED,
    diversity,
    frechet_distance,
    kernel_distance,
    kernel_subset_size,
    precision_recall,
)


def gaussian(count: int, dimension: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def whitened(features: Tensor) -> Tensor:
    """The same set with mean 0 and covariance 1 to the last digits."""
    centred = features - features.mean(dim=0)
    return centred @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(centred.T))).T


def exact_frechet(first: Tensor, second: Tensor) -> float:
    """By singular values of the centred sets: tr (A B)^(1/2) = |X Y^T|_* with A = X^T X, B = Y^T Y."""
    mean = (first.mean(dim=0) - second.mean(dim=0)).square().sum()
    one, other = ((part - part.mean(dim=0)) / math.sqrt(len(part) - 1) for part in (first, second))
    return float(mean + one.square().sum() + other.square().sum() - 2 * torch.linalg.svdvals(one @ other.T).sum())


@pytest.mark.parametrize("count", [40, 6])
def test_fid_of_equal_sets_is_0(count: int) -> None:
    features = gaussian(count, 8)
    assert frechet_distance(features, features.flip(0)) == pytest.approx(0.0, abs=1e-6)


def test_fid_of_a_shift_is_its_square() -> None:
    features, shift = gaussian(50, 6), torch.tensor([3.0, 0.0, -4.0, 0.0, 0.0, 0.0])
    assert frechet_distance(features + shift, features) == pytest.approx(25.0, abs=1e-5)


def test_fid_of_a_scaled_gaussian_is_the_trace_term() -> None:
    """tr(C + s^2 C - 2 s C) = (s - 1)^2 tr C, and each axis by itself where they are scaled differently."""
    features = whitened(gaussian(60, 5))
    assert frechet_distance(3.0 * features, features) == pytest.approx(4.0 * 5, abs=1e-5)
    scales = torch.tensor([1.0, 2.0, 0.5, 1.0, 4.0], dtype=torch.float64)
    expected = float((scales - 1.0).square().sum())
    assert frechet_distance(scales * features, features) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("counts", "dimension"), [((30, 20), 100), ((10, 200), 60), ((2, 2), 50), ((300, 250), 40)])
def test_fid_is_exact_with_fewer_pictures_than_dimensions(counts: tuple[int, int], dimension: int) -> None:
    first, second = gaussian(counts[0], dimension), 1.5 * gaussian(counts[1], dimension, seed=1) + 0.3
    assert frechet_distance(first, second) == pytest.approx(exact_frechet(first, second), rel=1e-5)


def test_fid_is_the_librarys() -> None:
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    first, second = gaussian(12, 40), gaussian(13, 40, seed=1)
    statistics = [fid_features_to_statistics(features) for features in (first, second)]
    library = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert frechet_distance(first, second) == pytest.approx(library, rel=1e-4)


def test_fid_falls_with_the_number_of_pictures() -> None:
    """Two sets of one distribution: the bias that the floor shows."""
    values = [frechet_distance(gaussian(count, 10), gaussian(count, 10, seed=1)) for count in (20, 80, 320)]
    assert values[0] > 2 * values[1] > 4 * values[2] > 0


@pytest.mark.parametrize("limit", [1000, 10])
def test_kid_is_the_librarys(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By kernels computed once, and where these would be too large."""
    from torch_fidelity.metric_kid import kid_features_to_metric

    monkeypatch.setattr(feature_distances, "KID_KERNEL_LIMIT", limit)
    first, second = gaussian(31, 7), gaussian(24, 7, seed=1) + 0.2
    expected = kid_features_to_metric(
        first, second, kid_subsets=KID_SUBSETS, kid_subset_size=12, rng_seed=5, verbose=False
    )
    measured = kernel_distance(first, second, seed=5)
    assert measured.mean == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-9)
    assert measured.deviation == pytest.approx(expected["kernel_inception_distance_std"], rel=1e-9)


def test_kid_of_one_distribution_scatters_around_0() -> None:
    """Without bias: the mean over many pairs of sets is 0 within its error, unlike FID."""
    values = [kernel_distance(gaussian(40, 4, seed), gaussian(40, 4, 100 + seed)).mean for seed in range(30)]
    error = float(np.std(values)) / math.sqrt(len(values))
    assert abs(float(np.mean(values))) < 3 * error
    assert min(values) < 0 < max(values)


def test_kid_of_point_masses_is_the_kernels_difference() -> None:
    """All pictures x, all real ones y: k(x, x) - 2 k(x, y) + k(y, y), with nothing to deviate."""
    first, second = torch.ones(8, 4, dtype=torch.float64), torch.zeros(8, 4, dtype=torch.float64)
    measured = kernel_distance(first, second)
    assert measured.mean == pytest.approx(2.0**3 - 2.0 + 1.0)
    assert measured.deviation == pytest.approx(0.0, abs=1e-12)


def test_subsets_are_half_of_small_sets_and_1000_of_large_ones() -> None:
    assert kernel_subset_size(256, 300) == 128
    assert kernel_subset_size(2048, 2000) == 1000
    assert kernel_subset_size(50000, 2001) == 1000


def test_equal_sets_cover_each_other_and_distant_ones_do_not() -> None:
    features = gaussian(30, 5)
    assert precision_recall(features, features.flip(0)) == (1.0, 1.0)
    assert precision_recall(features + 100.0, features) == (0.0, 0.0)


def test_precision_and_recall_are_not_exchanged() -> None:
    """Generated pictures of one of two real kinds: all of them precise, half of the real ones recalled."""
    near = gaussian(40, 3)
    real = torch.cat([near, near + 100.0])
    measured = precision_recall(near + 0.01, real)
    assert measured.precision > 0.95
    assert measured.recall == pytest.approx(0.5, abs=0.05)


def test_diversity_is_relative_spread() -> None:
    features = gaussian(40, 6)
    assert diversity(features + 3.0, features) == pytest.approx(1.0)
    assert diversity(0.25 * features, features) == pytest.approx(0.25)
    assert diversity(features[:1].expand(7, 6), features) == 0.0
    assert math.isnan(diversity(features, torch.ones(5, 6)))


def test_diversity_is_the_mean_over_different_pairs() -> None:
    real, generated = torch.tensor([[0.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    assert diversity(generated, real) == pytest.approx((3.0 + 4.0 + 5.0) / 3 / 2.0)


@pytest.mark.parametrize("rows", [7, 10, 39, 1000])
def test_many_pictures_give_what_few_at_once_do(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole matrix of distances is never made above the limit; the values are those of the whole matrix."""
    generated, real = gaussian(40, 5) + 1.5, 1.1 * gaussian(30, 5, seed=1)
    whole, cdist, most = precision_recall(generated, real), torch.cdist, 0

    def watched(first: Tensor, second: Tensor, **how: Any) -> Tensor:
        nonlocal most
        most = max(most, len(first))
        return cdist(first, second, **how)

    monkeypatch.setattr(torch, "cdist", watched)
    monkeypatch.setattr(feature_distances, "KID_KERNEL_LIMIT", 35)
    monkeypatch.setattr(feature_distances, "ROWS_AT_ONCE", rows)
    assert precision_recall(generated, real) == whole
    assert 0.0 < whole.precision < 1.0 and 0.0 < whole.recall < 1.0
    spreads = [float(torch.nn.functional.pdist(features).mean()) for features in (generated, real)]
    assert diversity(generated, real) == pytest.approx(spreads[0] / spreads[1], rel=1e-12)
    assert most == min(rows, 40)


def test_single_precision_features_lose_nothing() -> None:
    """Features of a network far from 0: the measures change to double precision before they subtract."""
    first, second = (gaussian(50, 4, seed, torch.float32) + 300.0 for seed in (0, 1))
    assert frechet_distance(first, second) == pytest.approx(exact_frechet(first.double(), second.double()), rel=1e-6)
    assert kernel_distance(first, second) == kernel_distance(first.double(), second.double())


def test_no_global_randomness_is_read_or_left() -> None:
    first, second = gaussian(20, 3), gaussian(20, 3, seed=1)
    numbers, tensors = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    values = [kernel_distance(first, second, seed=3)]
    frechet_distance(first, second)
    assert np.array_equal(np.random.get_state()[1], numbers)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), tensors)
    np.random.seed(7)  # noqa: NPY002
    values += [kernel_distance(first, second, seed=3), kernel_distance(first, second, seed=4)]
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize(
    ("measure", "metric"),
    [
        (frechet_distance, "fid"),
        (kernel_distance, "kid"),
        (precision_recall, "precision and recall"),
        (diversity, "diversity"),
    ],
)
def test_too_few_pictures_are_refused_with_the_number_needed(measure, metric: str) -> None:
    needed = NEEDED[metric]
    enough, few = gaussian(needed, 3), gaussian(needed - 1, 3)
    measure(enough, enough + 1.0)
    for kind, sets in (("generated", (few, enough)), ("real", (enough, few))):
        with pytest.raises(UserError, match=f"{needed - 1} {kind} picture.* too few for {metric}.* at least {needed}"):
            measure(*sets)
