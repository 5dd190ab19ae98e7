"""How well a discriminator tells real pictures from generated ones, from the scores that a step computes anyway."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


@torch.no_grad()
def score_measures(real: Float[Tensor, "real"], fake: Float[Tensor, "fake"]) -> dict[str, Float[Tensor, ""]]:
    """Mean scores, their gap, and the share of pairs that they order rightly.

    ``logit_gap`` is mean D(real) - mean D(fake). ``told_apart`` counts all pairs of a real and a generated picture, a
    tie as half (the area under the ROC curve): one half is guessing, 1 a discriminator that is never wrong. Both mean
    the same for relativistic losses, whose scores have no zero.
    """
    real, fake = real.detach().float(), fake.detach().float()
    order = (real[:, None] - fake).sign()
    return {
        "score_real": real.mean(),
        "score_fake": fake.mean(),
        "logit_gap": real.mean() - fake.mean(),
        "told_apart": 0.5 + 0.5 * order.mean(),
    }
