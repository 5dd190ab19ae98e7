"""Random objects of a generator from random poses of its prior, as metrics look at them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Optional

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gan3d_ns.models.gan_model import GanModel
from gan3d_ns.models.generator import RenderOutput


class Rendered(NamedTuple):
    """What the cameras of some views see; distances in world units."""

    rgb: Float[Tensor, "view 3 side side"]
    """Colours in [0, 1]."""
    surface_depth: Float[Tensor, "view side side"]
    """Distance along the unit ray to the first surface; anything where there is no hit."""
    hit: Bool[Tensor, "view side side"]


@dataclass(frozen=True)
class Views:
    """What random views are drawn from; the same seed gives the same ones on every device."""

    latents: Float[Tensor, "view latent"]
    poses: Float[Tensor, "view 2"]
    """(pitch, yaw) in radians."""
    radii: Optional[Float[Tensor, "view"]]
    """Distances of the cameras where these differ."""

    def __len__(self) -> int:
        return len(self.poses)

    def __getitem__(self, part: slice) -> Views:
        return Views(self.latents[part], self.poses[part], None if self.radii is None else self.radii[part])


def draw_views(model: GanModel, count: int, seed: int) -> Views:
    """Random latents and poses of the model's prior, on the CPU."""
    randomness = torch.Generator().manual_seed(seed)
    latents = torch.randn(count, model.generator.field.latent_dim, generator=randomness)
    poses = model.pose_prior.sample(count, randomness)
    return Views(latents, poses, model.pose_prior.sample_radii(count, randomness))


@torch.no_grad()
def render_views(
    model: GanModel, views: Views, resolution: int, truncation: float = 1.0, raw_weights: bool = False
) -> Iterator[Rendered]:
    """The views, one after the other, each of shape (1, ...), as the generator renders them without jitter.

    Args:
        model: of any method.
        views: what to render.
        resolution: side of the pictures in pixels.
        truncation: of the latents' codes.
        raw_weights: of the generator in training instead of its moving average.
    """
    generator = model.generator if raw_weights else model.generator_ema
    chunk = model.config.eval_num_rays_per_chunk
    for index in range(len(views)):
        view = views[index : index + 1]
        styles = generator.styles(view.latents.to(model.device), truncation)
        radii = None if view.radii is None else view.radii.to(model.device)
        rays = model.pose_prior.rays(view.poses.to(model.device), resolution, radii)
        parts = [generator.render(styles, rays[:, start : start + chunk]) for start in range(0, resolution**2, chunk)]
        yield as_pictures(parts, 1, resolution)


def as_pictures(parts: Sequence[RenderOutput], num_views: int, resolution: int) -> Rendered:
    """The pictures that rendered rays of shape (view, ray) make up, part after part, row by row from the top left."""
    square = (num_views, resolution, resolution)
    return Rendered(
        rgb=torch.cat([part.rgb for part in parts], dim=1).reshape(*square, 3).permute(0, 3, 1, 2).clamp(0.0, 1.0),
        surface_depth=torch.cat([part.surface_depth for part in parts], dim=1).reshape(square),
        hit=torch.cat([part.hit for part in parts], dim=1).reshape(square),
    )
