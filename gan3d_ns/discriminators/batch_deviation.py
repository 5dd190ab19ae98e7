"""The batch statistic of Karras et al. (2018, section 3): how much the images of a batch differ from each other."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from gan3d_ns.discriminators.shared_batch import SharedBatch

DEVIATION_EPSILON = 1e-8
"""Added under the square root, so that a batch of one has a gradient."""


def append_batch_deviation(
    features: Float[Tensor, "batch channel height width"],
    group_size: int | None = None,
    shared: SharedBatch | None = None,
) -> Float[Tensor, "batch channel_1 height width"]:
    """The features with one more channel: their standard deviation over the images, averaged to a single number.

    Args:
        features: those of all images of a call.
        group_size: the most images that are compared with each other; each sees the number of its own group. With n
            groups, image i belongs to group i mod n (StyleGAN2, released code; there the size divides the batch).
            None: the whole batch is one group.
        shared: the batch of which these are some pictures; None: these are all.
    """
    batch, _, height, width = features.shape
    count = batch if shared is None else shared.count
    groups = 1 if group_size is None else -(-count // group_size)
    # Half precision would round the epsilon to zero.
    precise = features.to(torch.promote_types(features.dtype, torch.float32))
    if shared is not None:
        member_of = (shared.first + torch.arange(batch, device=features.device)) % groups
        variances = shared.variances(precise, member_of, groups)
        own = (variances + DEVIATION_EPSILON).sqrt().mean(dim=(1, 2, 3)).to(features.dtype)[member_of]
        return torch.cat([features, own[:, None, None, None].expand(batch, 1, height, width)], dim=1)
    deviations = torch.stack(
        [
            (precise[group::groups].var(dim=0, unbiased=False) + DEVIATION_EPSILON).sqrt().mean()
            for group in range(groups)
        ]
    )
    own = deviations.to(features.dtype).repeat(-(-batch // groups))[:batch]
    return torch.cat([features, own[:, None, None, None].expand(batch, 1, height, width)], dim=1)
