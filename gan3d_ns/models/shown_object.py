"""The one object that viewer, render and nerfstudio's exporters show, and what is kept of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional, Tuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gan3d_ns.fields.base_field import Styles
from gan3d_ns.model_components.occupancy_grids import LatentGrid
from gan3d_ns.models.generator import Generator

if TYPE_CHECKING:
    from gan3d_ns.models.gan_model import GanModel

GRADIENT_EPSILON = 1e-6


@dataclass
class ShownObject:
    """What is computed once for an object and then serves every chunk, frame and export of it."""

    key: Tuple[Any, ...]
    """What it depends on: the controls and the weights."""
    generator: Generator
    """The one that makes it."""
    styles: Styles
    num_rays: int = 0
    """Rays that were asked of it so far."""
    grid: Optional[LatentGrid] = None


class PseudoDistanceField(nn.Module):
    """The current object as nerfstudio's marching cubes wants it: a signed distance, negative inside.

    The first-order distance -logit / |grad logit|: the exporter skips space by the size of the distance, so that a
    raw logit would give a staircase.
    """

    def __init__(self, model: GanModel) -> None:
        super().__init__()
        self._model = (model,)

    @torch.no_grad()  # nothing differentiates it, and the exact gradient may have no graph
    def forward_geonetwork(self, positions: Float[Tensor, "points 3"]) -> Float[Tensor, "points 1"]:
        """Pseudo-distance in world units at world positions."""
        (model,) = self._model
        shown, points = model.shown_object(), positions[None]
        field, styles = shown.generator.field, shown.styles
        logits = field.geometry_logits(points, styles) - shown.generator.geometry.level
        gradient = field.logit_gradient(points, styles)
        return -(logits / (gradient.norm(dim=-1) + GRADIENT_EPSILON))[0, :, None]
