"""Random objects of a generator from random poses of its prior, as metrics look at them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Optional

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gan3d_ns.cameras.pose_prior import PosePrior
from gan3d_ns.cameras.viewpoints import Viewpoints
from gan3d_ns.fields.base_field import Styles
from gan3d_ns.model_components.neural_renderers import as_image
from gan3d_ns.models.gan_model import GanModel
from gan3d_ns.models.generator import Generator


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
    viewpoints: Viewpoints
    """Their cameras."""

    @property
    def poses(self) -> Float[Tensor, "view 2"]:
        """(pitch, yaw) in radians."""
        return self.viewpoints.poses

    def __len__(self) -> int:
        return len(self.viewpoints)

    def __getitem__(self, part: slice) -> Views:
        return Views(self.latents[part], self.viewpoints[part])


def draw_views(model: GanModel, count: int, seed: int) -> Views:
    """Random latents and cameras, of the model's prior or as its average has learnt them, on the CPU."""
    randomness = torch.Generator().manual_seed(seed)
    latents = torch.randn(count, model.generator.field.latent_dim, generator=randomness)
    return Views(latents, model.sample_viewpoints(count, randomness))


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
        yield seen_by(generator, styles, model.pose_prior, view.viewpoints.to(model.device), resolution, chunk)


@torch.no_grad()
def seen_by(
    generator: Generator,
    styles: Styles,
    prior: PosePrior,
    viewpoints: Viewpoints,
    resolution: int,
    rays_at_once: Optional[int] = None,
) -> Rendered:
    """What cameras see of one object each, as the generator renders it without jitter.

    Args:
        generator: of any method.
        styles: one object for each camera.
        prior: the camera that the viewpoints leave open.
        viewpoints: where the cameras stand.
        resolution: side of the pictures in pixels.
        rays_at_once: of each camera; bounds the memory.
    """
    rays, chunk = prior.viewpoint_rays(viewpoints, resolution), rays_at_once or resolution**2
    parts = [generator.render(styles, rays[:, start : start + chunk]) for start in range(0, resolution**2, chunk)]
    finished = generator.finished(styles, prior, viewpoints, resolution)
    rgb = as_image(torch.cat([part.rgb for part in parts], dim=1), resolution) if finished is None else finished
    square = (len(viewpoints), resolution, resolution)
    return Rendered(
        rgb=rgb.clamp(0.0, 1.0),
        surface_depth=torch.cat([part.surface_depth for part in parts], dim=1).reshape(square),
        hit=torch.cat([part.hit for part in parts], dim=1).reshape(square),
    )
