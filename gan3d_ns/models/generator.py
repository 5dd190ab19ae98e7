"""The generator: one field, one sampler, and the one render path that training, viewer, export and metrics share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor, nn

from gan3d_ns.fields.base_field import GenerativeField, Styles
from gan3d_ns.model_components.compositing import (
    Background,
    alphas_of,
    composite_colour,
    compositing_weights,
    expected_depth,
)
from gan3d_ns.model_components.ray_samplers import SurfaceWindowSampler, sample_positions
from gan3d_ns.model_components.surface import SurfaceHits

MEAN_CODE_SAMPLES = 4096


@dataclass(frozen=True)
class RenderOutput:
    """What one call of :meth:`Generator.render` saw. Distances in world units along the unit ray."""

    rgb: Float[Tensor, "batch ray 3"]
    """Composited colour in [0, 1]."""
    accumulation: Float[Tensor, "batch ray"]
    """Opacity of the ray, the sum of weights."""
    depth: Float[Tensor, "batch ray"]
    """Expected distance, sum w t / sum w; towards 0 on empty rays."""
    surface_depth: Float[Tensor, "batch ray"]
    """Distance of the first crossing, the sampler's miss depth where there is none."""
    hit: Bool[Tensor, "batch ray"]
    """Whether the ray enters matter from free space."""
    distances: Float[Tensor, "batch ray sample"]
    """Distances of the composited samples."""
    weights: Float[Tensor, "batch ray sample"]
    """Compositing weights of the samples."""
    geometry_values: Float[Tensor, "batch ray sample"]
    """Occupancy logits or densities of the samples, with gradient while training."""


class Generator(nn.Module):
    """Latent -> styles -> image along given rays.

    Args:
        field: the generative field.
        sampler: chooses the distances that are composited.
        background: what a ray shows behind matter.
    """

    mean_code: Float[Tensor, "code"]

    def __init__(self, field: GenerativeField, sampler: SurfaceWindowSampler, background: Background) -> None:
        super().__init__()
        self.field = field
        self.sampler = sampler
        self.background: Background = background
        self.register_buffer("mean_code", torch.zeros(field.code_dim))

    @torch.no_grad()
    def update_mean_code(self, generator: torch.Generator, num_latents: int = MEAN_CODE_SAMPLES) -> None:
        """Sets the centre of truncation: the mean code over random latents (GOF, released code, 10 000 of them)."""
        latents = torch.randn(num_latents, self.field.latent_dim, generator=generator, device=self.mean_code.device)
        sums = [self.field.mapping(chunk).sum(dim=0) for chunk in latents.split(512)]
        self.mean_code.copy_(torch.stack(sums).sum(dim=0) / num_latents)

    def codes(self, latents: Float[Tensor, "batch latent"], truncation: float = 1.0) -> Float[Tensor, "batch code"]:
        """mean + truncation * (mapping(z) - mean); 1 leaves the code alone, 0 is the average object."""
        codes = self.field.mapping(latents)
        return codes if truncation == 1.0 else self.mean_code + truncation * (codes - self.mean_code)

    def styles(self, latents: Float[Tensor, "batch latent"], truncation: float = 1.0) -> Styles:
        """All the work for a latent that does not depend on the rays."""
        return self.field.condition(self.codes(latents, truncation))

    def render(
        self,
        styles: Styles,
        rays: RayBundle,
        *,
        jitter: torch.Generator | None = None,
        fine_uniforms: Float[Tensor, "batch ray fine"] | None = None,
    ) -> RenderOutput:
        """Composites the field along ``rays`` of shape (batch, ray), one row for each of the ``styles``.

        Args:
            jitter: randomness of the sample positions, for training; without it rendering is deterministic.
            fine_uniforms: fixed numbers for the fine samples, for comparison with a reference.
        """
        distances, hits = self.sampler(
            rays,
            lambda positions: self.field.geometry_logits(positions, styles),
            geometry=self.field.geometry,
            jitter=jitter,
            fine_uniforms=fine_uniforms,
        )
        return self.composite(styles, rays, distances, hits)

    def composite(
        self, styles: Styles, rays: RayBundle, distances: Float[Tensor, "batch ray sample"], hits: SurfaceHits
    ) -> RenderOutput:
        """Evaluates the field at increasing ``distances`` along the rays, with gradient, and composites it."""
        values, colours = self.query(styles, rays, distances)
        weights = compositing_weights(alphas_of(self.field.geometry, values, distances))
        return RenderOutput(
            rgb=composite_colour(weights, colours, self.background),
            accumulation=weights.sum(dim=-1),
            depth=expected_depth(weights, distances),
            surface_depth=hits.depth,
            hit=hits.hit,
            distances=distances,
            weights=weights,
            geometry_values=values,
        )

    def query(
        self, styles: Styles, rays: RayBundle, distances: Float[Tensor, "batch ray sample"]
    ) -> tuple[Float[Tensor, "batch ray sample"], Float[Tensor, "batch ray sample 3"]]:
        """Geometry and colour at given distances along the rays."""
        positions = sample_positions(rays, distances)
        directions = rays.directions[..., None, :].expand(positions.shape)
        values, colours = self.field(positions.flatten(1, 2), directions.flatten(1, 2), styles)
        return values.unflatten(1, distances.shape[1:]), colours.unflatten(1, distances.shape[1:])

    def surface_colour(
        self, styles: Styles, rays: RayBundle, surface_depth: Float[Tensor, "batch ray"]
    ) -> Float[Tensor, "batch ray 3"]:
        """Colour of a single field query at the surface of each ray (GOF, released code, single_imgs)."""
        return self.query(styles, rays, surface_depth[..., None])[1].squeeze(-2)

    def surface_normals(
        self, styles: Styles, rays: RayBundle, surface_depth: Float[Tensor, "batch ray"]
    ) -> Float[Tensor, "batch ray 3"]:
        """Unit normals of the field at the surface points, from matter to free space, world frame."""
        return self.field.normals(sample_positions(rays, surface_depth[..., None]).squeeze(-2), styles)
