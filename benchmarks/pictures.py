"""How much two pictures differ."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def psnr(picture: Tensor, reference: Tensor) -> float:
    """Peak signal-to-noise ratio of pictures in [0, 1], in dB: -10 log10 of the mean squared difference.

    Infinite for equal pictures.
    """
    error = float((picture.double() - reference.double()).square().mean())
    return math.inf if error == 0.0 else -10.0 * math.log10(error)
