"""A batch that several processes look at together, each at its own pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

Total = Callable[[Tensor], Tensor]
"""Sums numbers over the processes, without gradient; every process has to call it at the same place."""


class _Total(torch.autograd.Function):
    """The sum over the processes, and its gradient: the sum of the gradients, which can be differentiated again."""

    @staticmethod
    def forward(ctx: Any, numbers: Tensor, total: Total) -> Tensor:
        ctx.total = total
        return total(numbers)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        return _Total.apply(slopes[0].contiguous(), ctx.total), None


@dataclass(frozen=True)
class SharedBatch:
    """Which pictures of the batch are those of this process."""

    first: int
    """Place of this process's first picture in the batch."""
    count: int
    """Pictures of all processes."""
    total: Total

    def total_with_gradient(self, numbers: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The sum over the processes. Its gradient is that of the sum of all processes' losses."""
        return _Total.apply(numbers, self.total)

    def gathered(self, numbers: Float[Tensor, "own"]) -> Float[Tensor, "all"]:
        """One number of each picture of the batch, without gradient."""
        everywhere = numbers.new_zeros(self.count)
        everywhere[self.first : self.first + len(numbers)] = numbers.detach()
        return self.total(everywhere)

    def variances(
        self, features: Float[Tensor, "own *shape"], groups: Int[Tensor, "own"], num_groups: int
    ) -> Float[Tensor, "group *shape"]:
        """The variance of features over the pictures of each group; the picture i belongs to group i mod their number.

        Args:
            features: of this process's pictures.
            groups: those that they belong to.
            num_groups: how many groups there are.
        """
        sizes = torch.tensor([len(range(group, self.count, num_groups)) for group in range(num_groups)]).to(features)
        members = torch.nn.functional.one_hot(groups, num_groups).to(features)
        flat = features.flatten(1)
        with torch.autocast(features.device.type, enabled=False):
            means = self.total_with_gradient(members.T @ flat) / sizes[:, None]
            squares = self.total_with_gradient(members.T @ (flat - means[groups]).square()) / sizes[:, None]
        return squares.unflatten(1, features.shape[1:])
