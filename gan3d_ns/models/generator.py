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
    composite_colour,
    compositing_weights,
    expected_depth,
)
from gan3d_ns.model_components.geometry import Geometry
from gan3d_ns.model_components.occupancy_grids import FREE_VALUE, LatentGrid, OccupancyGrid
from gan3d_ns.model_components.packing import PackedRows, pack_rows
from gan3d_ns.model_components.ray_samplers import RaySampler, SurfaceWindowSamplerConfig, search_level
from gan3d_ns.model_components.sampling import points_at, sample_positions
from gan3d_ns.model_components.surface import SurfaceHits

MEAN_CODE_SAMPLES = 4096
SMALLEST_SHARE = 1e-6
LEVEL_SEARCH = SurfaceWindowSamplerConfig(num_coarse_samples=48, num_fine_samples=0)
"""How a level set is looked for that is not the sampler's own surface."""


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

    def unpacked(self, packed: PackedRows, background: Background, sampler: RaySampler) -> RenderOutput:
        """The output of rays of which these were kept; the others saw nothing, at distance 0."""
        return RenderOutput(
            rgb=packed.unpack(self.rgb, fill=1.0 if background == "white" else 0.0),
            accumulation=packed.unpack(self.accumulation),
            depth=packed.unpack(self.depth),
            surface_depth=packed.unpack(self.surface_depth, fill=sampler.miss_depth),
            hit=packed.unpack(self.hit, fill=False),
            distances=packed.unpack(self.distances),
            weights=packed.unpack(self.weights),
            geometry_values=packed.unpack(self.geometry_values, fill=FREE_VALUE),
        )


def composited(
    rgb: Float[Tensor, "batch ray 3"],
    values: Float[Tensor, "batch ray sample"],
    weights: Float[Tensor, "batch ray sample"],
    distances: Float[Tensor, "batch ray sample"],
    hits: SurfaceHits,
) -> RenderOutput:
    """The output that belongs to composited samples: opacity and expected distance follow from their weights."""
    return RenderOutput(
        rgb=rgb,
        accumulation=weights.sum(dim=-1),
        depth=expected_depth(weights, distances),
        surface_depth=hits.depth,
        hit=hits.hit,
        distances=distances,
        weights=weights,
        geometry_values=values,
    )


def pack_rays(rays: RayBundle, packed: PackedRows) -> RayBundle:
    """The kept rays of each row."""
    assert rays.nears is not None and rays.fars is not None
    return RayBundle(
        origins=packed.pack(rays.origins),
        directions=packed.pack(rays.directions),
        pixel_area=packed.pack(rays.pixel_area),
        nears=packed.pack(rays.nears),
        fars=packed.pack(rays.fars),
    )


class Generator(nn.Module):
    """Latent -> styles -> image along given rays.

    Args:
        field: the generative field.
        sampler: chooses the distances that are composited, and says how the field's values are read.
        background: what a ray shows behind matter.
    """

    mean_code: Float[Tensor, "code"]

    def __init__(self, field: GenerativeField, sampler: RaySampler, background: Background) -> None:
        super().__init__()
        self.field = field
        self.sampler = sampler
        self.background: Background = background
        self.register_buffer("mean_code", torch.zeros(field.code_dim))

    @property
    def geometry(self) -> Geometry:
        """How the field's values are read."""
        return self.sampler.geometry

    @property
    def background_grey(self) -> float:
        """What rays show that meet nothing, in [0, 1]."""
        return 1.0 if self.background == "white" else 0.0

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
        grid: OccupancyGrid | None = None,
        surface_only: bool = False,
    ) -> RenderOutput:
        """Composites the field along ``rays`` of shape (batch, ray), one row for each of the ``styles``.

        Args:
            jitter: randomness of the sample positions, for training; without it rendering is deterministic.
            fine_uniforms: fixed numbers for the fine samples, for comparison with a reference.
            grid: where matter can be; a latent grid also answers for the geometry. Skipped samples are free space.
            surface_only: one query at the surface of each ray in place of the composited samples (GOF, released
                code, single_imgs); rays without a surface are free space. Without gradient.
        """
        if isinstance(grid, LatentGrid):
            return self.render_lattice(styles, rays, grid, surface_only)

        def geometry_at(positions: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points"]:
            return self.field.geometry_logits(positions, styles)

        if surface_only:
            return self.render_surface(styles, rays, self.sampler.search(rays, geometry_at, grid)[-1])
        distances, hits = self.sampler(
            rays,
            geometry_at,
            jitter=jitter,
            fine_uniforms=fine_uniforms,
            grid=grid,
        )
        noise = self.sampler.value_noise(distances, jitter) if jitter is not None else None
        return self.composite(styles, rays, distances, hits, grid, noise)

    @torch.no_grad()
    def render_lattice(self, styles: Styles, rays: RayBundle, grid: LatentGrid, surface_only: bool) -> RenderOutput:
        """The same samples with the geometry of one object's grid; the field is asked for the colours that count.

        Rays that miss the box around the object, or meet next to nothing in the search, are empty.
        """
        everything = self.background == "last-sample"
        packed = pack_rows(grid.met_by(rays) | everything)
        rays = pack_rays(rays, packed)
        coarse, values, hits = self.sampler.search(rays, grid.geometry_logits, grid)
        if surface_only:
            return self.render_surface(styles, rays, hits).unpacked(packed, self.background, self.sampler)
        alphas, limit = self.geometry.alphas(values, coarse), grid.config.visible_weight
        inner, packed = packed.narrowed(hits.hit | (compositing_weights(alphas).sum(dim=-1) > limit) | everything)
        rays, hits = pack_rays(rays, inner), SurfaceHits(inner.pack(hits.depth), inner.pack(hits.hit))
        distances = self.sampler.around(rays, hits, inner.pack(coarse), inner.pack(alphas))
        positions = sample_positions(rays, distances)
        values = grid.geometry_logits(positions.flatten(1, 2)).unflatten(1, distances.shape[1:])
        weights = compositing_weights(self.geometry.alphas(values, distances))
        seen = weights.sum(dim=-1, keepdim=True) > limit
        visible = seen & (weights > limit * weights.amax(dim=-1, keepdim=True))
        if self.background == "last-sample":
            visible[..., -1] = True
        colours = self.colours_where(styles, rays, distances, visible)
        # What is left out is shared among the visible samples, whose colours are the nearest.
        counted = torch.where(visible, weights, 0.0)
        share = weights.sum(dim=-1, keepdim=True) / counted.sum(dim=-1, keepdim=True).clamp(min=SMALLEST_SHARE)
        rgb = composite_colour(counted * share, colours, self.background)
        hits = self.sampler.seen_surface(hits, weights, distances)
        return composited(rgb, values, weights, distances, hits).unpacked(packed, self.background, self.sampler)

    @torch.no_grad()
    def render_surface(self, styles: Styles, rays: RayBundle, hits: SurfaceHits) -> RenderOutput:
        """The colour at the surface alone, as if matter were opaque and nothing floated in front of it."""
        colours = self.colours_where(styles, rays, hits.depth[..., None], hits.hit[..., None])
        weights = hits.hit[..., None].to(colours.dtype)
        values = torch.where(hits.hit, self.geometry.level, FREE_VALUE)[..., None]
        rgb = composite_colour(weights, colours, self.background)
        return composited(rgb, values, weights, hits.depth[..., None], hits)

    def level_surface(
        self, styles: Styles, rays: RayBundle, level: float, grid: OccupancyGrid | None = None
    ) -> SurfaceHits:
        """Where rays first meet values above a level, as a mesh of that level would have it. Without gradient."""

        def geometry_at(positions: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points"]:
            if isinstance(grid, LatentGrid):
                return grid.geometry_logits(positions)
            return self.field.geometry_logits(positions, styles)

        return search_level(LEVEL_SEARCH, level, rays, geometry_at, grid)[-1]

    def composite(
        self,
        styles: Styles,
        rays: RayBundle,
        distances: Float[Tensor, "batch ray sample"],
        hits: SurfaceHits,
        grid: OccupancyGrid | None = None,
        noise: Float[Tensor, "batch ray sample"] | None = None,
    ) -> RenderOutput:
        """Evaluates the field at increasing ``distances`` along the rays, with gradient, and composites it.

        ``noise`` is added to the geometry's values, as densities want it in training.
        """
        values, colours = self.query(styles, rays, distances, grid)
        if noise is not None:
            values = values + noise
        weights = compositing_weights(self.geometry.alphas(values, distances))
        rgb = composite_colour(weights, colours, self.background)
        hits = self.sampler.seen_surface(hits, weights, distances)
        return composited(rgb, values, weights, distances, hits)

    def query(
        self,
        styles: Styles,
        rays: RayBundle,
        distances: Float[Tensor, "batch ray sample"],
        grid: OccupancyGrid | None = None,
    ) -> tuple[Float[Tensor, "batch ray sample"], Float[Tensor, "batch ray sample 3"]]:
        """Geometry and colour at given distances along the rays; of free space where a grid skips it."""
        positions = sample_positions(rays, distances)
        directions = rays.directions[..., None, :].expand(positions.shape)
        packed = None
        if grid is not None:
            wanted = grid.occupied(positions)
            if self.background == "last-sample":
                wanted[..., -1] = True
            if not bool(wanted.any()):
                wanted[:, 0, 0] = True  # a field answers for one point at least, and a training wants a gradient
            packed = pack_rows(wanted.flatten(1, 2))
        positions, directions = positions.flatten(1, 2), directions.flatten(1, 2)
        if packed is None:
            values, colours = self.field(positions, directions, styles)
        else:
            values, colours = self.field(packed.pack(positions), packed.pack(directions), styles)
            values, colours = packed.unpack(values, fill=FREE_VALUE), packed.unpack(colours)
        return values.unflatten(1, distances.shape[1:]), colours.unflatten(1, distances.shape[1:])

    def colours_where(
        self,
        styles: Styles,
        rays: RayBundle,
        distances: Float[Tensor, "batch ray sample"],
        wanted: Bool[Tensor, "batch ray sample"],
    ) -> Float[Tensor, "batch ray sample 3"]:
        """Colours at the wanted samples, black at the others."""
        packed = pack_rows(wanted.flatten(1, 2))
        if packed.width == 0:
            return torch.zeros(*distances.shape, 3, device=distances.device, dtype=distances.dtype)
        positions = packed.pack(sample_positions(rays, distances).flatten(1, 2))
        directions = packed.pack(rays.directions[..., None, :].expand(*distances.shape, 3).flatten(1, 2))
        colours = packed.unpack(self.field.colours(positions, directions, styles))
        return colours.unflatten(1, distances.shape[1:])

    def surface_colour(
        self, styles: Styles, rays: RayBundle, surface_depth: Float[Tensor, "batch ray"]
    ) -> Float[Tensor, "batch ray 3"]:
        """Colour of a single field query at the surface of each ray (GOF, released code, single_imgs)."""
        wanted = torch.ones_like(surface_depth[..., None], dtype=torch.bool)
        return self.colours_where(styles, rays, surface_depth[..., None], wanted).squeeze(-2)

    def surface_normals(
        self,
        styles: Styles,
        rays: RayBundle,
        surface_depth: Float[Tensor, "batch ray"],
        wanted: Bool[Tensor, "batch ray"] | None = None,
    ) -> Float[Tensor, "batch ray 3"]:
        """Unit normals of the field at the surface points, from matter to free space, world frame.

        Zero where they are not ``wanted``; without that argument all are.
        """
        points = points_at(rays, surface_depth)
        if wanted is None:
            return self.field.normals(points, styles)
        packed = pack_rows(wanted)
        if packed.width == 0:
            return torch.zeros_like(points)
        return packed.unpack(self.field.normals(packed.pack(points), styles))
