"""Where the cameras of some pictures stand, and what differs between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Optional, Union

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Viewpoints:
    """One camera for each picture; all of them look at the origin with +y up."""

    poses: Float[Tensor, "view 2"]
    """(pitch, yaw) in radians."""
    radii: Optional[Float[Tensor, "view"]] = None
    """Distances from the origin in world units; None: the pose prior's radius."""
    tangents: Optional[Float[Tensor, "view 2"]] = None
    """Tangents of half the field of view, to the right and down; None: the pose prior's for both."""

    def __len__(self) -> int:
        return self.poses.shape[0]

    def __getitem__(self, part: slice) -> Viewpoints:
        return self._each(lambda entry: entry[part])

    @staticmethod
    def cat(parts: Sequence[Viewpoints]) -> Viewpoints:
        """The cameras of all parts, which leave the same things to the prior."""
        radii, tangents = [part.radii for part in parts], [part.tangents for part in parts]
        return Viewpoints(
            torch.cat([part.poses for part in parts]),
            None if radii[0] is None else torch.cat(radii),  # pyright: ignore[reportArgumentType]
            None if tangents[0] is None else torch.cat(tangents),  # pyright: ignore[reportArgumentType]
        )

    def to(self, device: Union[torch.device, str]) -> Viewpoints:
        """The same on another device."""
        return self._each(lambda entry: entry.to(device))

    def detach(self) -> Viewpoints:
        """The same without gradient."""
        return self._each(lambda entry: entry.detach())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Viewpoints:
        return Viewpoints(
            change(self.poses),
            None if self.radii is None else change(self.radii),
            None if self.tangents is None else change(self.tangents),
        )
