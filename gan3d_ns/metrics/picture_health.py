"""Do the fixed latents give different pictures, and do their colours live: numbers about one panel of samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class PictureHealth:
    """Averages over several objects, each seen from the same poses. Colours in [0, 1]."""

    variety: float
    """Standard deviation of a pixel's colour over the objects: near 0 where all latents give the same picture."""
    contrast: float
    """Standard deviation of the colour within a picture: near 0 for pictures of one colour."""
    change: Optional[float]
    """Mean absolute difference from the same pictures at the look before; None at the first."""


def picture_health(
    pictures: Float[Tensor, "object view side side 3"],
    before: Optional[Float[Tensor, "earlier_object earlier_view earlier_side earlier_side 3"]] = None,
) -> PictureHealth:
    """Health of the colour pictures of fixed latents; those of the look before may be missing or of another size."""
    comparable = before is not None and before.shape == pictures.shape
    return PictureHealth(
        variety=float(pictures.std(dim=0, correction=0).mean()),
        contrast=float(pictures.std(dim=(2, 3), correction=0).mean()),
        change=float((pictures - before).abs().mean()) if comparable else None,  # pyright: ignore
    )
