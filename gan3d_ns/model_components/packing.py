"""Dense rows with holes <-> short rows without: work on the rays or samples that need it, image by image.

Rows keep their image, so that a field still sees one row of points for each latent.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor


@dataclass(frozen=True)
class PackedRows:
    """Which entries of each row were kept, in their order, padded to the longest row."""

    indices: Int[Tensor, "batch width"]
    """Positions in the dense row. Those of a row are distinct, the padding's too: a scatter never collides."""
    valid: Bool[Tensor, "batch width"]
    """Which of them were wanted; the others pad."""
    length: int
    """Length of the dense rows."""

    @property
    def width(self) -> int:
        """Length of the packed rows, the largest number of wanted entries in a row."""
        return self.indices.shape[1]

    def pack(self, dense: Shaped[Tensor, "batch n *channel"]) -> Shaped[Tensor, "batch width *channel"]:
        """The kept entries of dense rows; differentiable."""
        return torch.gather(dense, 1, self._over_channels(dense))

    def unpack(
        self, packed: Shaped[Tensor, "batch width *channel"], fill: float | bool = 0.0
    ) -> Shaped[Tensor, "batch n *channel"]:
        """Dense rows with the packed values where they were wanted and ``fill`` elsewhere; differentiable."""
        valid = self.valid.reshape(self.valid.shape + (1,) * (packed.ndim - 2))
        dense = packed.new_full((packed.shape[0], self.length, *packed.shape[2:]), fill)
        return dense.scatter(1, self._over_channels(packed), torch.where(valid, packed, fill))

    def narrowed(self, mask: Bool[Tensor, "batch width"]) -> tuple[PackedRows, PackedRows]:
        """Of the kept entries those of a mask: how to take them from the packed rows, and from the dense ones."""
        inner = pack_rows(mask & self.valid)
        valid = inner.valid & inner.pack(self.valid)
        return inner, PackedRows(inner.pack(self.indices), valid, self.length)

    def _over_channels(self, values: Tensor) -> Tensor:
        shape = self.indices.shape + (1,) * (values.ndim - 2)
        return self.indices.reshape(shape).expand(*self.indices.shape, *values.shape[2:])


def pack_rows(mask: Bool[Tensor, "batch n"]) -> PackedRows:
    """The true entries of each row in their order, padded to the longest row with entries that are false.

    No row may be wanted at all: the width is then 0.
    """
    counts = mask.sum(dim=1, keepdim=True)
    width = int(counts.max()) if mask.numel() > 0 else 0
    # Each entry's place when the true ones stand before the false ones, both in their order.
    places = torch.where(mask, mask.cumsum(dim=1) - 1, counts + (~mask).cumsum(dim=1) - 1)
    columns = torch.arange(mask.shape[1], device=mask.device).expand(mask.shape)
    indices = torch.empty_like(places).scatter_(1, places, columns)[:, :width]
    return PackedRows(indices, columns[:, :width] < counts, mask.shape[1])
