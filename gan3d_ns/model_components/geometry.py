"""How a field's value is read as matter: an occupancy logit (GOF) or a density (NeRF, pi-GAN, GRAF).

Fields answer one raw value at a point. What it means for compositing, surface search, grids and meshes stands here
alone, so that the same field can be trained either way.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, Optional

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gan3d_ns.errors import UserError

THRESHOLD_MARGIN = 1e-4
"""Occupancy thresholds are clipped to [1e-4, 1 - 1e-4] before the logit is taken (GOF, released code)."""
ENDLESS = 1e10
"""The last sample of a published density extends to infinity."""


def logit_level(occupancy_threshold: float) -> float:
    """log(tau / (1 - tau)) of an occupancy threshold in [0, 1]; 0 for one half."""
    tau = min(max(occupancy_threshold, THRESHOLD_MARGIN), 1.0 - THRESHOLD_MARGIN)
    return math.log(tau / (1.0 - tau))


class Geometry(ABC):
    """The meaning of a field's values."""

    kind: Literal["occupancy", "density"]

    @property
    @abstractmethod
    def level(self) -> float:
        """The value at the surface; matter lies above it."""

    @abstractmethod
    def alphas(
        self, values: Float[Tensor, "*batch sample"], distances: Float[Tensor, "*batch sample"]
    ) -> Float[Tensor, "*batch sample"]:
        """Opacity of each sample along a ray, distances increasing, in world units."""

    @abstractmethod
    def opacity(self, values: Float[Tensor, "*batch"], length: float) -> Float[Tensor, "*batch"]:
        """Opacity of matter of a value over a length in world units; occupancy knows no length."""

    @abstractmethod
    def value_of(self, opacity: float) -> float:
        """The value that has an opacity in (0, 1), for densities over their ``thickness``."""


@dataclass(frozen=True)
class Occupancy(Geometry):
    """sigmoid(value): opacity does not depend on the spacing of samples, so a window may shrink without a change."""

    threshold: float = 0.5
    """Occupancy of the surface."""
    kind = "occupancy"

    @property
    def level(self) -> float:
        return logit_level(self.threshold)

    def alphas(
        self, values: Float[Tensor, "*batch sample"], distances: Float[Tensor, "*batch sample"]
    ) -> Float[Tensor, "*batch sample"]:
        return torch.sigmoid(values)

    def opacity(self, values: Float[Tensor, "*batch"], length: float) -> Float[Tensor, "*batch"]:
        return torch.sigmoid(values)

    def value_of(self, opacity: float) -> float:
        return math.log(opacity / (1.0 - opacity))


@dataclass(frozen=True)
class Density(Geometry):
    """activation(value) / unit_length, in 1 / world units; opacity 1 - exp(-density * interval) (NeRF, equation 3).

    A softplus density gives over ``unit_length`` the opacity that the same value has as an occupancy logit.
    """

    activation: Literal["relu", "softplus"] = "relu"
    """relu as published; softplus keeps a gradient in free space."""
    unit_length: float = 1.0
    """World units over which an activated value of 1 is one optical depth."""
    thickness: float = 0.02
    """Where this many world units are half opaque is the surface of meshes and of the viewer."""
    last_interval: Optional[float] = None
    """World units that the last sample of a ray stands for. None: endless for relu, as published, so that any matter
    there closes the ray; `thickness` for softplus, which is never 0. 0: nothing, where the last sample lies at far and
    something is seen behind it (CAMPARI)."""
    kind = "density"

    def __post_init__(self) -> None:
        if self.unit_length <= 0 or self.thickness <= 0:
            raise UserError(
                f"a density's unit_length and thickness must be positive, got {self.unit_length} and {self.thickness}."
            )

    def density(self, values: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Optical depth for each world unit."""
        active = torch.relu(values) if self.activation == "relu" else F.softplus(values)
        return active / self.unit_length

    @property
    def level(self) -> float:
        return self.value_of(0.5)

    def alphas(
        self, values: Float[Tensor, "*batch sample"], distances: Float[Tensor, "*batch sample"]
    ) -> Float[Tensor, "*batch sample"]:
        last = self.last_interval
        if last is None:
            last = ENDLESS if self.activation == "relu" else self.thickness
        intervals = F.pad(distances[..., 1:] - distances[..., :-1], (0, 1), value=last)
        return 1.0 - torch.exp(-intervals * self.density(values))

    def opacity(self, values: Float[Tensor, "*batch"], length: float) -> Float[Tensor, "*batch"]:
        return 1.0 - torch.exp(-length * self.density(values))

    def value_of(self, opacity: float) -> float:
        active = -math.log1p(-opacity) * self.unit_length / self.thickness
        # log(exp(a) - 1), without its overflow.
        return active if self.activation == "relu" else active + math.log(-math.expm1(-active))
