"""The generator's pictures of one object from cameras of the prior, as exporters that copy its look want them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor
from torch.nn.functional import normalize

from gan3d_ns.cameras.pose_prior import PosePrior
from gan3d_ns.cameras.viewpoints import Viewpoints
from gan3d_ns.fields.base_field import Styles
from gan3d_ns.model_components.latents import LatentSelection
from gan3d_ns.model_components.occupancy_grids import LatentGrid, OccupancyGrid
from gan3d_ns.models.gan_model import GanModel
from gan3d_ns.models.generator import Generator

MATTER_ACCUMULATION = 0.5
"""Pixels that are at least this opaque show matter."""
SHORTEST_NORMAL = 0.5
"""Normals are unit vectors, or nothing where the field is flat."""


@dataclass(frozen=True)
class ObjectPicture:
    """One view; row 0 on top, distances in world units along the unit ray."""

    camera: Cameras
    """One camera, whose rays these are."""
    rgb: Float[Tensor, "side side 3"]
    """sRGB in [0, 1] before the generator's background."""
    accumulation: Float[Tensor, "side side"]
    """Opacity in [0, 1]."""
    depth: Float[Tensor, "side side"]
    """Distance of the surface, or of where the light comes from where there is none; without matter it says nothing."""
    origins: Float[Tensor, "side side 3"]
    directions: Float[Tensor, "side side 3"]
    background: float
    """Grey behind the object in [0, 1]."""

    @property
    def shows_matter(self) -> Bool[Tensor, "side side"]:
        """Pixels that are rather opaque than not."""
        return self.accumulation > MATTER_ACCUMULATION

    @property
    def premultiplied(self) -> Float[Tensor, "side side 3"]:
        """The object's part of the picture: its colour times its opacity."""
        return (self.rgb - (1.0 - self.accumulation[..., None]) * self.background).clamp(min=0.0)

    def before(self, background: Float[Tensor, "3"]) -> Float[Tensor, "side side 3"]:
        """The same object before another background."""
        return self.premultiplied + (1.0 - self.accumulation[..., None]) * background


@dataclass(frozen=True)
class PicturedObject:
    """An object that can be looked at.

    Args:
        generator: whose object it is.
        styles: of the one object.
        prior: where cameras may stand.
        grid: what the generator's `render` takes: pictures become faster.
        rays_at_once: bounds the memory.
    """

    generator: Generator
    styles: Styles
    prior: PosePrior
    grid: OccupancyGrid | None = None
    rays_at_once: int = 8192
    surface_only: bool = False
    """As the model shows it, see `GanModelConfig.surface_only`."""
    pictured_styles: Styles | None = None
    """What a neural renderer makes its pictures of, where that is more than the object: it has learnt to finish whole
    pictures."""

    @property
    def background(self) -> float:
        """Grey behind the object in [0, 1]."""
        return self.generator.background_grey

    @property
    def device(self) -> torch.device:
        """Where the pictures live."""
        return self.generator.mean_code.device

    def normals(self, positions: Float[Tensor, "point 3"]) -> Float[Tensor, "point 3"]:
        """Unit vectors of the field out of matter, 0 where it is flat."""
        parts = [self.generator.field.normals(part[None], self.styles)[0] for part in positions.split(65536)]
        found = torch.cat([part.detach() for part in parts])
        return torch.where(found.norm(dim=-1, keepdim=True) < SHORTEST_NORMAL, 0.0, normalize(found, dim=-1))

    @torch.no_grad()
    def picture(self, pose: Float[Tensor, "2"], resolution: int) -> ObjectPicture:
        """What a camera at a pose (pitch, yaw) sees."""
        pose = pose[None].to(self.device)
        rays, columns = self.prior.rays(pose, resolution), []
        for start in range(0, resolution**2, self.rays_at_once):
            part: RayBundle = rays[:, start : start + self.rays_at_once]
            output = self.generator.render(self.styles, part, grid=self.grid, surface_only=self.surface_only)
            depth = torch.where(output.hit, output.surface_depth, output.depth)
            if self.generator.background == "last-sample":
                # The last sample closes every ray: what the matter lets pass comes from there.
                closed = torch.lerp(output.distances[..., -1], output.depth, output.accumulation)
                depth = torch.where(output.hit & (output.accumulation > MATTER_ACCUMULATION), depth, closed)
            rgb, field = output.rgb, self.generator.field
            if field.has_backdrop and self.generator.neural_renderer is None:
                # What lies behind all matter is no part of the object.
                rgb = rgb - (1.0 - output.accumulation[..., None]) * field.backdrop(part, self.styles)
            columns.append((rgb, output.accumulation, depth))
        rgb, accumulation, depth = (torch.cat(column, dim=1)[0] for column in zip(*columns, strict=True))
        whole = self.styles if self.pictured_styles is None else self.pictured_styles
        finished = self.generator.finished(whole, self.prior, Viewpoints(pose), resolution)
        if self.generator.background == "last-sample":
            accumulation = torch.ones_like(accumulation)
        if finished is not None:
            # What it makes of empty rays is no background that an exporter knows: only the object's part is kept.
            share = accumulation.clamp(0.0, 1.0)[:, None]
            rgb = self.background + share * (finished[0].permute(1, 2, 0).flatten(0, 1) - self.background)
        square = (resolution, resolution)
        return ObjectPicture(
            camera=self.prior.cameras(pose, resolution)[0:1],
            rgb=rgb.clamp(0.0, 1.0).reshape(*square, 3),
            accumulation=accumulation.clamp(0.0, 1.0).reshape(square),
            depth=depth.reshape(square),
            origins=rays.origins[0].reshape(*square, 3),
            directions=rays.directions[0].reshape(*square, 3),
            background=self.background,
        )


def pictured_object(model: GanModel, selection: LatentSelection) -> PicturedObject:
    """An object of a model without its background, whatever its viewer shows.

    Pictures are made from a lattice where the model's are.
    """
    generator, pictured, config = model.generator_of(selection), model.styles_of(selection), model.config
    styles, grid = generator.field.cut_out(pictured), None
    if config.latent_grid.enabled:

        def logits(positions: Float[Tensor, "1 point 3"]) -> Float[Tensor, "1 point"]:
            return generator.field.geometry_logits(positions, styles)

        grid = LatentGrid(logits, generator.geometry, model.seen_radius, config.latent_grid, model.device)
    chunk, surface_only = config.eval_num_rays_per_chunk, config.surface_only
    return PicturedObject(generator, styles, model.pose_prior, grid, chunk, surface_only, pictured)
