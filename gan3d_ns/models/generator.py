"""The generator: one field, one sampler, and the one render path that training, viewer, export and metrics share.

latents -> styles; cameras -> rays -> samples -> field -> composited colours, or features -> neural renderer -> picture
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor, nn

from gan3d_ns.cameras.camera_generator import CameraGenerator
from gan3d_ns.cameras.pose_prior import PosePrior
from gan3d_ns.cameras.viewpoints import Viewpoints
from gan3d_ns.errors import UserError
from gan3d_ns.field_components.picture_randomness import Randomness
from gan3d_ns.fields.base_field import GenerativeField, Styles
from gan3d_ns.model_components.compositing import (
    Background,
    composite_colour,
    compositing_weights,
    expected_depth,
)
from gan3d_ns.model_components.geometry import Geometry
from gan3d_ns.model_components.neural_renderers import NeuralRenderer, as_image, resized
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
    """Composited colour in [0, 1]; where a neural renderer finishes pictures, what it makes of this ray alone."""
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
    features: Float[Tensor, "batch ray channel"] | None = None
    """Composited features, where a neural renderer finishes pictures."""


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
        neural_renderer: makes pictures of the field's features; None where the field gives colours.
        camera_generator: moves the cameras of a prior to where the pictures were really taken; None leaves them.
    """

    mean_code: Float[Tensor, "code"]

    def __init__(
        self,
        field: GenerativeField,
        sampler: RaySampler,
        background: Background,
        neural_renderer: NeuralRenderer | None = None,
        camera_generator: CameraGenerator | None = None,
    ) -> None:
        super().__init__()
        if field.feature_dim != (None if neural_renderer is None else neural_renderer.feature_dim):
            made, wanted = field.feature_dim, None if neural_renderer is None else neural_renderer.feature_dim
            raise UserError(
                f"the field gives {made or 'no'} features and the neural renderer takes {wanted or 'none'}; make the "
                "two numbers equal."
            )
        if neural_renderer is not None and not set(neural_renderer.style_layers) <= set(field.style_layers):
            raise UserError(
                f"the neural renderer wants codes for its layers, which {type(field).__name__} does not pass on; take "
                "it with the feature-volume field, or another neural renderer."
            )
        self.field = field
        self.sampler = sampler
        self.neural_renderer = neural_renderer
        self.camera_generator = camera_generator
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
        return codes if truncation == 1.0 else self.field.truncated(codes, self.mean_code, truncation)

    def styles(self, latents: Float[Tensor, "batch latent"], truncation: float = 1.0) -> Styles:
        """All the work for a latent that does not depend on the rays."""
        if truncation == 1.0 or self.field.truncated_layers is None:
            return self.field.condition(self.codes(latents, truncation))
        return self.field.condition_layers(self.layer_codes(latents, truncation))

    def layer_codes(
        self, latents: Float[Tensor, "batch latent"], truncation: float = 1.0
    ) -> Float[Tensor, "layer batch code"]:
        """The code of each of the field's layers; those that truncation does not reach keep the whole one."""
        layers, reached = len(self.field.style_layers), self.field.truncated_layers
        codes = self.codes(latents, truncation).expand(layers, -1, -1)
        if truncation == 1.0 or reached is None or reached >= layers:
            return codes
        return torch.cat((codes[:reached], self.codes(latents).expand(layers - reached, -1, -1)))

    def render(
        self,
        styles: Styles,
        rays: RayBundle,
        *,
        jitter: Randomness | None = None,
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
        noise = self.sampler.value_noise(distances, jitter, self.field.num_parts) if jitter is not None else None
        return self.composite(styles, rays, distances, hits, grid, noise, jitter)

    @torch.no_grad()
    def render_lattice(self, styles: Styles, rays: RayBundle, grid: LatentGrid, surface_only: bool) -> RenderOutput:
        """The same samples with the geometry of one object's grid; the field is asked for the colours that count.

        Rays that miss the box around the object, or meet next to nothing in the search, are empty.
        """
        everything = self.background == "last-sample" or self.field.has_backdrop
        packed = pack_rows(grid.met_by(rays) | everything)
        rays = pack_rays(rays, packed)
        coarse, values, hits = self.sampler.search(rays, grid.geometry_logits, grid)
        if surface_only:
            return self.unpacked(self.render_surface(styles, rays, hits), packed, styles)
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
        colour = self.blended(counted * share, colours, styles, rays)
        hits = self.sampler.seen_surface(hits, weights, distances)
        return self.unpacked(self.output_of(colour, values, weights, distances, hits, styles), packed, styles)

    @torch.no_grad()
    def render_surface(self, styles: Styles, rays: RayBundle, hits: SurfaceHits) -> RenderOutput:
        """The colour at the surface alone, as if matter were opaque and nothing floated in front of it."""
        colours = self.colours_where(styles, rays, hits.depth[..., None], hits.hit[..., None])
        weights = hits.hit[..., None].to(colours.dtype)
        values = torch.where(hits.hit, self.geometry.level, FREE_VALUE)[..., None]
        colour = self.blended(weights, colours, styles, rays)
        return self.output_of(colour, values, weights, hits.depth[..., None], hits, styles)

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
        noise: Float[Tensor, "batch ray sample part"] | None = None,
        jitter: Randomness | None = None,
    ) -> RenderOutput:
        """Evaluates the field at increasing ``distances`` along the rays, with gradient, and composites it.

        ``noise`` is added to the geometry's values, as densities want it in training; ``jitter`` is the randomness of
        what lies behind them.
        """
        values, colours = self.query(styles, rays, distances, grid, noise)
        weights = compositing_weights(self.geometry.alphas(values, distances))
        colour = self.blended(weights, colours, styles, rays, jitter)
        hits = self.sampler.seen_surface(hits, weights, distances)
        return self.output_of(colour, values, weights, distances, hits, styles)

    def blended(
        self,
        weights: Float[Tensor, "batch ray sample"],
        colours: Float[Tensor, "batch ray sample channel"],
        styles: Styles,
        rays: RayBundle,
        jitter: Randomness | None = None,
    ) -> Float[Tensor, "batch ray channel"]:
        """Composited colours or features, with what lies behind them."""
        colour = composite_colour(weights, colours, self.background)
        if not self.field.has_backdrop:
            return colour
        passing = 1.0 - weights.sum(dim=-1, keepdim=True)
        return colour + passing * self.field.backdrop(rays, styles, jitter)

    def rgb(self, colours: Float[Tensor, "batch ray channel"], styles: Styles) -> Float[Tensor, "batch ray 3"]:
        """Colours of single rays or points: of features what the neural renderer makes of each alone."""
        return colours if self.neural_renderer is None else self.neural_renderer.ray_colours(colours, styles)

    def output_of(
        self,
        colour: Float[Tensor, "batch ray channel"],
        values: Float[Tensor, "batch ray sample"],
        weights: Float[Tensor, "batch ray sample"],
        distances: Float[Tensor, "batch ray sample"],
        hits: SurfaceHits,
        styles: Styles,
    ) -> RenderOutput:
        """The output that belongs to composited samples: opacity and expected distance follow from their weights."""
        return RenderOutput(
            rgb=self.rgb(colour, styles),
            accumulation=weights.sum(dim=-1),
            depth=expected_depth(weights, distances),
            surface_depth=hits.depth,
            hit=hits.hit,
            distances=distances,
            weights=weights,
            geometry_values=values,
            features=None if self.neural_renderer is None else colour,
        )

    def unpacked(self, output: RenderOutput, packed: PackedRows, styles: Styles) -> RenderOutput:
        """The output of rays of which these were kept; the others saw nothing, at distance 0."""
        behind = self.background_grey
        features = None if output.features is None else packed.unpack(output.features, fill=behind)
        return RenderOutput(
            rgb=packed.unpack(output.rgb, fill=behind) if features is None else self.rgb(features, styles),
            accumulation=packed.unpack(output.accumulation),
            depth=packed.unpack(output.depth),
            surface_depth=packed.unpack(output.surface_depth, fill=self.sampler.miss_depth),
            hit=packed.unpack(output.hit, fill=False),
            distances=packed.unpack(output.distances),
            weights=packed.unpack(output.weights),
            geometry_values=packed.unpack(output.geometry_values, fill=FREE_VALUE),
            features=features,
        )

    def picture_rays(self, prior: PosePrior, viewpoints: Viewpoints, side: int) -> RayBundle:
        """The rays that pictures are made of: one for each pixel, or for each feature of the neural renderer."""
        if self.neural_renderer is None:
            return prior.viewpoint_rays(viewpoints, side)
        return prior.viewpoint_rays_at(viewpoints, self.neural_renderer.coordinates())

    def pictures(
        self, output: RenderOutput, styles: Styles, jitter: Randomness | None = None
    ) -> Float[Tensor, "batch 3 row column"]:
        """The pictures in [0, 1] of rendered :meth:`picture_rays`: their colours, or the neural renderer's work."""
        if self.neural_renderer is None:
            return as_image(output.rgb, math.isqrt(output.rgb.shape[1]))
        assert output.features is not None
        columns = math.isqrt(output.features.shape[1])
        return self.neural_renderer(as_image(output.features, columns), styles, jitter)

    def finished(
        self, styles: Styles, prior: PosePrior, viewpoints: Viewpoints, side: int
    ) -> Float[Tensor, "batch 3 side side"] | None:
        """Pictures by the neural renderer in any size, made in its own; None where the rays' colours are the picture.

        The same rays, one for each pixel, still tell depth and surface.
        """
        if self.neural_renderer is None:
            return None
        output = self.render(styles, self.picture_rays(prior, viewpoints, side))
        return resized(self.pictures(output, styles), side, side)

    def query(
        self,
        styles: Styles,
        rays: RayBundle,
        distances: Float[Tensor, "batch ray sample"],
        grid: OccupancyGrid | None = None,
        noise: Float[Tensor, "batch ray sample part"] | None = None,
    ) -> tuple[Float[Tensor, "batch ray sample"], Float[Tensor, "batch ray sample channel"]]:
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
        asked = [positions.flatten(1, 2), directions.flatten(1, 2)]
        if noise is not None:
            asked.append(noise.flatten(1, 2))
        if packed is not None:
            asked = [packed.pack(entry) for entry in asked]
        if noise is None:
            values, colours = self.field(*asked, styles)
        else:
            values, colours = self.field.noisy(asked[0], asked[1], styles, asked[2])
        if packed is not None:
            values, colours = packed.unpack(values, fill=FREE_VALUE), packed.unpack(colours)
        return values.unflatten(1, distances.shape[1:]), colours.unflatten(1, distances.shape[1:])

    def colours_where(
        self,
        styles: Styles,
        rays: RayBundle,
        distances: Float[Tensor, "batch ray sample"],
        wanted: Bool[Tensor, "batch ray sample"],
    ) -> Float[Tensor, "batch ray sample channel"]:
        """Colours or features at the wanted samples, 0 at the others."""
        packed = pack_rows(wanted.flatten(1, 2))
        if packed.width == 0:
            channels = self.field.feature_dim or 3
            return torch.zeros(*distances.shape, channels, device=distances.device, dtype=distances.dtype)
        positions = packed.pack(sample_positions(rays, distances).flatten(1, 2))
        directions = packed.pack(rays.directions[..., None, :].expand(*distances.shape, 3).flatten(1, 2))
        colours = packed.unpack(self.field.colours(positions, directions, styles))
        return colours.unflatten(1, distances.shape[1:])

    def surface_colour(
        self,
        styles: Styles,
        rays: RayBundle,
        surface_depth: Float[Tensor, "batch ray"],
        wanted: Bool[Tensor, "batch ray"] | None = None,
    ) -> Float[Tensor, "batch ray 3"]:
        """Colour of a single field query at the surface of each ray (GOF, released code, single_imgs).

        Anything where it is not ``wanted``; without that argument all are.
        """
        if wanted is None:
            wanted = torch.ones_like(surface_depth, dtype=torch.bool)
        colours = self.colours_where(styles, rays, surface_depth[..., None], wanted[..., None]).squeeze(-2)
        return self.rgb(colours, styles)

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
