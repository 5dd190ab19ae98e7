"""How far two sets of feature vectors lie apart, and how widely one spreads, in double precision.

The measures are torch-fidelity's. All of them are pure functions: the same features give the same digits, and no global
randomness is touched.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gan3d_ns.errors import UserError
from gan3d_ns.metrics.settings import NEEDED, NEIGHBOURS

KID_SUBSETS = 100
KID_SUBSET_SIZE = 1000
"""Of KID where there are twice as many pictures; else half of them are taken."""
KID_KERNEL_LIMIT = 4096
"""Sets above this size are compared subset by subset, since their whole kernel would fill the memory."""
ROWS_AT_ONCE = 512
"""Of a matrix of distances between pictures; 50,000 pictures take 0.2 GB."""


class Spread(NamedTuple):
    """A mean over subsets with their standard deviation."""

    mean: float
    deviation: float


class PrecisionRecall(NamedTuple):
    """Shares from 0 to 1."""

    precision: float
    """Of the generated pictures, those that lie where real ones do."""
    recall: float
    """Of the real pictures, those that lie where generated ones do."""


def require_enough(metric: str, **counts: int) -> None:
    """Raise a UserError that says how many pictures the metric needs, where any count is below."""
    for kind, count in counts.items():
        if count < NEEDED[metric]:
            pictures = "picture is" if count == 1 else "pictures are"
            raise UserError(
                f"{count} {kind} {pictures} too few for {metric}, which needs at least {NEEDED[metric]} "
                "(and means something from some hundreds)."
            )


def frechet_distance(generated: Float[Tensor, "generated feature"], real: Float[Tensor, "real feature"]) -> float:
    """FID: the squared Fréchet distance of the two Gaussians with the sets' means and covariances.

    |m_g - m_r|^2 + tr(C_g + C_r - 2 (C_g C_r)^(1/2)) (Heusel et al. 2017, section 2, equation 6).

    Biased: of finite sets it is too large, the more so the fewer pictures there are, so that it can only be compared at
    equal counts. With fewer pictures than dimensions it is defined still, and computed within the space that the
    pictures span, but says little about the covariances.

    Raises:
        UserError: fewer than 2 pictures of a kind.
    """
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

    require_enough("fid", generated=len(generated), real=len(real))
    sets = [generated.double(), real.double()]
    if len(generated) + len(real) < generated.shape[1]:
        # A rotation into the space that all vectors span changes nothing, but its covariances are smaller: the cost
        # grows with the third power of the dimension, and zeros under the matrix root cost digits.
        basis = torch.linalg.qr(torch.cat(sets).T).Q
        sets = [features @ basis for features in sets]
    first, second = (fid_features_to_statistics(features) for features in sets)
    return fid_statistics_to_metric(first, second, verbose=False)[KEY_METRIC_FID]


def kernel_subset_size(num_generated: int, num_real: int) -> int:
    """Pictures of each kind in a subset of KID: 1000, or half of the smaller set where that is less."""
    return min(KID_SUBSET_SIZE, num_generated // 2, num_real // 2)


def kernel_distance(
    generated: Float[Tensor, "generated feature"], real: Float[Tensor, "real feature"], seed: int = 0
) -> Spread:
    """KID: the squared maximum mean discrepancy under (x.y / dimension + 1)^3 (Bińkowski et al. 2018, section 4).

    The mean and the standard deviation over 100 random subsets of `kernel_subset_size` pictures, of the estimate
    without bias: that of equal distributions scatters around 0, and may be negative.

    Raises:
        UserError: fewer than 4 pictures of a kind.
    """
    from torch_fidelity import metric_kid

    require_enough("kid", generated=len(generated), real=len(real))
    size = kernel_subset_size(len(generated), len(real))
    first, second = generated.double(), real.double()
    if max(len(first), len(second)) > KID_KERNEL_LIMIT:
        measured = metric_kid.kid_features_to_metric(
            first, second, kid_subsets=KID_SUBSETS, kid_subset_size=size, rng_seed=seed, verbose=False
        )
        return Spread(measured[metric_kid.KEY_METRIC_KID_MEAN], measured[metric_kid.KEY_METRIC_KID_STD])
    # The same subsets, drawn as torch-fidelity draws them, of kernels that are computed once: ten times faster.
    within_first = metric_kid.kernel_poly(first.numpy(), first.numpy())
    across = metric_kid.kernel_poly(first.numpy(), second.numpy())
    within_second = metric_kid.kernel_poly(second.numpy(), second.numpy())
    randomness = np.random.RandomState(seed)
    distances = []
    for _ in range(KID_SUBSETS):
        some = randomness.choice(len(first), size, replace=False)
        others = randomness.choice(len(second), size, replace=False)
        kernels = within_first[np.ix_(some, some)], across[np.ix_(some, others)], within_second[np.ix_(others, others)]
        distances.append(metric_kid.mmd2(*kernels))
    return Spread(float(np.mean(distances)), float(np.std(distances)))


def precision_recall(
    generated: Float[Tensor, "generated feature"], real: Float[Tensor, "real feature"]
) -> PrecisionRecall:
    """Shares of each set inside the other's manifold, balls around its vectors that reach to the third neighbour.

    Kynkäänniemi et al. 2019, section 3.

    Raises:
        UserError: fewer than 4 pictures of a kind.
    """
    from torch_fidelity import metric_prc

    require_enough("precision and recall", generated=len(generated), real=len(real))
    many = max(len(generated), len(real)) > KID_KERNEL_LIMIT
    some_rows = {"save_cpu_ram": True, "prc_batch_size": ROWS_AT_ONCE} if many else {}
    measured = metric_prc.prc_features_to_metric(
        generated.double(), real.double(), prc_neighborhood=NEIGHBOURS, verbose=False, **some_rows
    )
    return PrecisionRecall(measured[metric_prc.KEY_METRIC_PRECISION], measured[metric_prc.KEY_METRIC_RECALL])


def diversity(generated: Float[Tensor, "generated feature"], real: Float[Tensor, "real feature"]) -> float:
    """Mean Euclidean distance between the features of two different generated pictures, over that of two real ones.

    1 is as varied as the real pictures, 0 one picture again and again. It does not ask whether the variety is the right
    one: noise may lie above 1. NaN where all real pictures are the same.

    Raises:
        UserError: fewer than 2 pictures of a kind.
    """
    require_enough("diversity", generated=len(generated), real=len(real))
    spreads = [mean_distance(features.double()) for features in (generated, real)]
    return spreads[0] / spreads[1] if spreads[1] > 0 else math.nan


def mean_distance(features: Float[Tensor, "picture feature"]) -> float:
    """Mean Euclidean distance of two different ones, summed over some rows of the matrix after the others."""
    total, count = 0.0, len(features)
    for start in range(0, count, ROWS_AT_ONCE):
        rows, others = features[start : start + ROWS_AT_ONCE], features[start + ROWS_AT_ONCE :]
        total += float(torch.nn.functional.pdist(rows).sum())
        # By differences: by products, the distance of equal vectors would not be 0.
        total += float(torch.cdist(rows, others, compute_mode="donot_use_mm_for_euclid_dist").sum())
    return total / (count * (count - 1) / 2)
