"""Exponential moving averages of weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gan3d_ns.errors import UserError


@torch.no_grad()
def update_ema(ema_module: nn.Module, module: nn.Module, decay: float) -> None:
    """Move the averaged parameters to decay * average + (1 - decay) * current; copy the buffers.

    Args:
        ema_module: the average, a deep copy of the module; changed in place.
        module: the module in training, on the same device.
        decay: in [0, 1]; 0 copies.

    Raises:
        UserError: where the decay lies outside [0, 1].
    """
    if not 0.0 <= decay <= 1.0:
        raise UserError(f"the decay of the moving average is {decay}, but must lie between 0 and 1; GOF uses 0.999.")
    averages: list[Tensor] = list(ema_module.parameters())
    current: list[Tensor] = list(module.parameters())
    if averages:
        torch._foreach_lerp_(averages, current, 1.0 - decay)  # pyright: ignore[reportPrivateImportUsage]
    for average, buffer in zip(ema_module.buffers(), module.buffers(), strict=True):
        average.copy_(buffer)


def decay_with_warmup(decay: float, step: int) -> float:
    """The decay for a step: min(decay, (1 + step) / (10 + step)), so that early averages forget the random start."""
    return min(decay, (1.0 + step) / (10.0 + step))
