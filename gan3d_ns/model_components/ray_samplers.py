"""Where along its ray a field is asked: a window around the surface (GOF, section 3.2), or the whole volume (NeRF)."""

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import Literal, Optional, Type

import torch
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.configs.base_config import InstantiateConfig
from torch import Tensor, nn

from gan3d_ns.errors import UserError
from gan3d_ns.field_components.picture_randomness import Randomness, random_normals, random_uniforms
from gan3d_ns.model_components.compositing import compositing_weights, median_surface
from gan3d_ns.model_components.geometry import Density, Geometry, Occupancy
from gan3d_ns.model_components.occupancy_grids import FREE_VALUE, OccupancyGrid, evaluate_where
from gan3d_ns.model_components.packing import pack_rows
from gan3d_ns.model_components.sampling import (
    PDF_EPSILON,
    GeometryFunction,
    sample_pdf,
    sample_positions,
    spread_evenly,
)
from gan3d_ns.model_components.surface import Brackets, SurfaceHits, first_crossing, refine_root

LARGEST_OUTSIDE = -1e-6
"""A skipped sample counts as outside matter, whatever the field says there: the bracket keeps its signs."""


class RaySampler(nn.Module):
    """Chooses the distances at which a ray is composited.

    Args:
        geometry: how the field's values are read.
        miss_depth: distance reported where no surface is met, in world units.
    """

    def __init__(self, geometry: Geometry, miss_depth: float) -> None:
        super().__init__()
        self.geometry = geometry
        self.miss_depth = miss_depth

    @property
    @abstractmethod
    def num_queries(self) -> int:
        """Questions that one ray puts to the geometry."""

    @property
    @abstractmethod
    def num_coarse_samples(self) -> int:
        """Samples of a ray before it is known what it meets."""

    @abstractmethod
    def search(
        self,
        rays: RayBundle,
        geometry_at: GeometryFunction,
        grid: Optional[OccupancyGrid] = None,
        jitter: Optional[Randomness] = None,
    ) -> tuple[Float[Tensor, "batch ray coarse"], Float[Tensor, "batch ray coarse"], SurfaceHits]:
        """Distances and values of the coarse samples, and the first surface that they show. Without gradient.

        Args:
            rays: shape (batch, ray) with unit directions, nears and fars.
            geometry_at: the geometry at (batch, points, 3) world positions.
            grid: where to ask at all.
            jitter: source of randomness in training; samplers whose search is even have no use for it.
        """

    @abstractmethod
    def around(
        self,
        rays: RayBundle,
        hits: SurfaceHits,
        coarse: Float[Tensor, "batch ray coarse"],
        coarse_alphas: Float[Tensor, "batch ray coarse"],
        jitter: Optional[Randomness] = None,
        fine_uniforms: Optional[Float[Tensor, "batch ray fine"]] = None,
    ) -> Float[Tensor, "batch ray sample"]:
        """Sorted distances of the samples to composite, given what the search found. Without gradient.

        Args:
            rays: shape (batch, ray) with unit directions, nears and fars.
            hits: the surface.
            coarse: distances of the search.
            coarse_alphas: the opacities that it met there.
            jitter: source of jitter and fine draws; without it the samples are the same in every frame, so that
                viewers do not flicker.
            fine_uniforms: numbers in [0, 1] for the inverse CDF in place of draws.
        """

    @torch.no_grad()
    def forward(
        self,
        rays: RayBundle,
        geometry_at: GeometryFunction,
        jitter: Optional[Randomness] = None,
        fine_uniforms: Optional[Float[Tensor, "batch ray fine"]] = None,
        grid: Optional[OccupancyGrid] = None,
    ) -> tuple[Float[Tensor, "batch ray sample"], SurfaceHits]:
        """Sorted distances of the samples to composite, and the surface: :meth:`search`, and then :meth:`around`."""
        coarse, values, hits = self.search(rays, geometry_at, grid, jitter)
        return self.around(rays, hits, coarse, self.geometry.alphas(values, coarse), jitter, fine_uniforms), hits

    def window(
        self, rays: RayBundle, hits: SurfaceHits
    ) -> tuple[Float[Tensor, "batch ray"], Float[Tensor, "batch ray"]]:
        """Start and end of the part of each ray that is composited, as far as the surface decides it: all of it."""
        assert rays.nears is not None and rays.fars is not None
        return rays.nears[..., 0], rays.fars[..., 0]

    def value_noise(
        self, distances: Float[Tensor, "batch ray sample"], randomness: Randomness, num_parts: int = 1
    ) -> Optional[Float[Tensor, "batch ray sample part"]]:
        """Noise on the values of the composited samples in training, for each part of the field; most want none."""
        return None

    def seen_surface(
        self,
        hits: SurfaceHits,
        weights: Float[Tensor, "batch ray sample"],
        distances: Float[Tensor, "batch ray sample"],
    ) -> SurfaceHits:
        """The surface, once the samples are composited: that of the search, unless compositing knows better."""
        return hits


def fine_distances(
    coarse: Float[Tensor, "batch ray coarse"],
    coarse_alphas: Float[Tensor, "batch ray coarse"],
    num_samples: int,
    jitter: Optional[Randomness] = None,
    uniforms: Optional[Float[Tensor, "batch ray fine"]] = None,
) -> Float[Tensor, "batch ray fine"]:
    """Distances in proportion to the coarse weights, by the inverse CDF between the middles of the coarse samples.

    Stratified without ``jitter``; ``uniforms`` replace the draws (GOF and pi-GAN, released code).
    """
    weights = compositing_weights(coarse_alphas) + PDF_EPSILON
    if uniforms is None:
        shape = (*coarse.shape[:-1], num_samples)
        if jitter is not None:
            uniforms = random_uniforms(shape, jitter, coarse.device).to(coarse.dtype)
        else:
            steps = torch.arange(num_samples, device=coarse.device, dtype=coarse.dtype)
            uniforms = ((steps + 0.5) / num_samples).expand(shape)
    middles = 0.5 * (coarse[..., 1:] + coarse[..., :-1])
    return sample_pdf(middles, weights[..., 1:-1], uniforms)


@dataclass
class SurfaceWindowSamplerConfig(InstantiateConfig):
    """Coarse search, root refinement, then samples in a window around the surface."""

    _target: Type = field(default_factory=lambda: SurfaceWindowSampler)
    num_coarse_samples: int = 9
    """Evenly spaced samples that look for the surface, without gradient."""
    num_window_samples: int = 9
    """Samples inside the window, with gradient."""
    num_fine_samples: int = 6
    """Samples drawn over the whole ray in proportion to the coarse weights; 0 leaves the window alone."""
    num_root_steps: int = 4
    """Field evaluations that refine the crossing."""
    root_method: Literal["secant", "bisection"] = "secant"
    """How the crossing is refined."""
    occupancy_threshold: float = 0.5
    """Occupancy of the surface."""
    miss_depth: float = 1.0
    """Distance reported where no surface is met: the plane of the origin for cameras at radius 1."""

    def __post_init__(self) -> None:
        least_coarse = 3 if self.num_fine_samples > 0 else 2
        if self.num_coarse_samples < least_coarse or self.num_window_samples < 2:
            raise UserError(
                f"the surface search needs {least_coarse} coarse and 2 window samples at least, got "
                f"{self.num_coarse_samples} and {self.num_window_samples}."
            )


def surface_window(
    hits: SurfaceHits, nears: Float[Tensor, "*batch"], fars: Float[Tensor, "*batch"], half_width: Float[Tensor, ""]
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Start and end of the sampled interval: [t - Delta, t + Delta], shifted inside [near, far]; all of it on a miss.

    The released code shifts against a hard-coded range; this is the intended behaviour for any range. A window wider
    than the range is the range.
    """
    width = torch.minimum(2.0 * half_width, fars - nears)
    starts = torch.minimum(torch.maximum(hits.depth - half_width, nears), fars - width)
    return torch.where(hits.hit, starts, nears), torch.where(hits.hit, starts + width, fars)


@torch.no_grad()
def search_level(
    config: SurfaceWindowSamplerConfig,
    level: float,
    rays: RayBundle,
    geometry_at: GeometryFunction,
    grid: Optional[OccupancyGrid] = None,
) -> tuple[Float[Tensor, "batch ray coarse"], Float[Tensor, "batch ray coarse"], SurfaceHits]:
    """Distances and values of evenly spaced samples, and where each ray first enters matter above the level."""
    assert rays.nears is not None and rays.fars is not None
    coarse = spread_evenly(rays.nears[..., 0], rays.fars[..., 0], config.num_coarse_samples)
    if grid is None:
        positions = sample_positions(rays, coarse).flatten(1, 2)
        values = geometry_at(positions).unflatten(1, coarse.shape[1:])
    else:
        values = grid.geometry_along(rays, coarse, geometry_at)
    brackets = first_crossing(values - level, coarse)
    packed = pack_rows(brackets.hit)
    if packed.width == 0:
        return coarse, values, SurfaceHits(torch.full_like(brackets.low, config.miss_depth), brackets.hit)

    origins, directions = packed.pack(rays.origins), packed.pack(rays.directions)

    def value_at(distances: Float[Tensor, "batch hit"]) -> Float[Tensor, "batch hit"]:
        return geometry_at(origins + distances[..., None] * directions) - level

    entries = Brackets(
        *(packed.pack(getattr(brackets, name)) for name in ("low", "high", "value_low", "value_high", "hit"))
    )
    if grid is not None:
        # The start of a bracket may lie in skipped space; the refinement wants its true value.
        # Told by the same arithmetic, rounding included, as made these values.
        skipped = entries.value_low <= torch.full_like(entries.value_low, FREE_VALUE) - level
        starts = origins + entries.low[..., None] * directions
        found = (evaluate_where(geometry_at, starts, skipped) - level).clamp(max=LARGEST_OUTSIDE)
        entries = replace(entries, value_low=torch.where(skipped, found, entries.value_low))
    depth = refine_root(value_at, entries, config.num_root_steps, config.root_method)
    return coarse, values, SurfaceHits(packed.unpack(depth, fill=config.miss_depth), brackets.hit)


class SurfaceWindowSampler(RaySampler):
    """Samples around the first surface of any field that can answer "logit at x".

    The half width of the window is a buffer that the training engine shrinks; it is saved with the weights, so a
    viewer opens a run with the window that it had.
    """

    half_width: Float[Tensor, ""]

    def __init__(self, config: SurfaceWindowSamplerConfig, geometry: Optional[Geometry] = None) -> None:
        super().__init__(geometry or Occupancy(config.occupancy_threshold), config.miss_depth)
        self.config = config
        self.register_buffer("half_width", torch.tensor(0.12))

    @property
    def num_queries(self) -> int:
        config = self.config
        return config.num_coarse_samples + config.num_root_steps + config.num_window_samples

    @property
    def num_coarse_samples(self) -> int:
        return self.config.num_coarse_samples

    @torch.no_grad()
    def search(
        self,
        rays: RayBundle,
        geometry_at: GeometryFunction,
        grid: Optional[OccupancyGrid] = None,
        jitter: Optional[Randomness] = None,
    ) -> tuple[Float[Tensor, "batch ray coarse"], Float[Tensor, "batch ray coarse"], SurfaceHits]:
        """Evenly spaced samples, and the first surface that they bracket; see the base class."""
        return search_level(self.config, self.geometry.level, rays, geometry_at, grid)

    def window(
        self, rays: RayBundle, hits: SurfaceHits
    ) -> tuple[Float[Tensor, "batch ray"], Float[Tensor, "batch ray"]]:
        assert rays.nears is not None and rays.fars is not None
        return surface_window(hits, rays.nears[..., 0], rays.fars[..., 0], self.half_width)

    @torch.no_grad()
    def around(
        self,
        rays: RayBundle,
        hits: SurfaceHits,
        coarse: Float[Tensor, "batch ray coarse"],
        coarse_alphas: Float[Tensor, "batch ray coarse"],
        jitter: Optional[Randomness] = None,
        fine_uniforms: Optional[Float[Tensor, "batch ray fine"]] = None,
    ) -> Float[Tensor, "batch ray sample"]:
        """An even or jittered window around the surface, and draws over the whole ray; see the base class."""
        config = self.config
        starts, ends = self.window(rays, hits)
        distances = spread_evenly(starts, ends, config.num_window_samples)
        if jitter is not None:
            spacing = (ends - starts)[..., None] / (config.num_window_samples - 1)
            offsets = random_uniforms(distances.shape, jitter, distances.device)
            distances = distances + (offsets - 0.5) * spacing
        if config.num_fine_samples > 0:
            fine = fine_distances(coarse, coarse_alphas, config.num_fine_samples, jitter, fine_uniforms)
            distances = torch.cat((distances, fine), dim=-1)
        if jitter is not None or config.num_fine_samples > 0:
            distances = distances.sort(dim=-1).values
        return distances


@dataclass
class VolumeSamplerConfig(InstantiateConfig):
    """Samples over the whole ray, and more of them where the first ones met matter (NeRF, section 5.2)."""

    _target: Type = field(default_factory=lambda: VolumeSampler)
    num_coarse_samples: int = 12
    """Samples over the whole ray."""
    num_fine_samples: int = 12
    """Samples drawn in proportion to the coarse weights, composited together with the coarse ones; 0: none, as GRAF."""
    spacing: Literal["jittered", "stratified", "even"] = "jittered"
    """How coarse samples are drawn in training. jittered: even ones, moved by up to half their spacing (pi-GAN).
    stratified: one in each of the intervals between the middles of even ones, within near and far (GRAF). even: not
    moved at all (VolumeGAN)."""
    miss_depth: float = 1.0
    """Distance reported where no surface is met: the plane of the origin for cameras at radius 1."""

    def __post_init__(self) -> None:
        least = 3 if self.num_fine_samples > 0 else 2
        if self.num_coarse_samples < least or self.num_fine_samples < 0:
            raise UserError(
                f"volume rendering needs {least} coarse samples at least and no negative number of fine ones, got "
                f"{self.num_coarse_samples} and {self.num_fine_samples}."
            )


class VolumeSampler(RaySampler):
    """Hierarchical samples of a density (pi-GAN), or, without fine samples, stratified ones (GRAF)."""

    def __init__(self, config: VolumeSamplerConfig, geometry: Optional[Geometry] = None) -> None:
        super().__init__(geometry or Density(), config.miss_depth)
        self.config = config
        self.noise_std = 0.0
        """Standard deviation of the noise on raw values in training; the training engine lowers it."""
        self.num_training_samples: Optional[int] = None
        """Coarse samples in training where they are not the config's; the training engine sets it."""

    @property
    def num_queries(self) -> int:
        return 2 * self.config.num_coarse_samples + self.config.num_fine_samples

    @property
    def num_coarse_samples(self) -> int:
        return self.config.num_coarse_samples

    def value_noise(
        self, distances: Float[Tensor, "batch ray sample"], randomness: Randomness, num_parts: int = 1
    ) -> Optional[Float[Tensor, "batch ray sample part"]]:
        """Gaussian noise, which lets empty space learn although a relu has no gradient there (NeRF; pi-GAN)."""
        if self.noise_std == 0.0:
            return None
        shape = (*distances.shape, num_parts)
        return self.noise_std * random_normals(shape, randomness, distances.device)

    def coarse_distances(
        self, rays: RayBundle, jitter: Optional[Randomness] = None
    ) -> Float[Tensor, "batch ray coarse"]:
        """Increasing distances over the whole ray, even without ``jitter``."""
        assert rays.nears is not None and rays.fars is not None
        nears, fars, count = rays.nears[..., 0], rays.fars[..., 0], self.config.num_coarse_samples
        if jitter is not None and self.num_training_samples is not None:
            count = self.num_training_samples
        even = spread_evenly(nears, fars, count)
        if jitter is None or self.config.spacing == "even":
            return even
        uniforms = random_uniforms(even.shape, jitter, even.device)
        if self.config.spacing == "stratified":
            middles = 0.5 * (even[..., 1:] + even[..., :-1])
            starts = torch.cat((even[..., :1], middles), dim=-1)
            return starts + uniforms * (torch.cat((middles, even[..., -1:]), dim=-1) - starts)
        return even + (uniforms - 0.5) * ((fars - nears) / (count - 1))[..., None]

    @torch.no_grad()
    def search(
        self,
        rays: RayBundle,
        geometry_at: GeometryFunction,
        grid: Optional[OccupancyGrid] = None,
        jitter: Optional[Randomness] = None,
    ) -> tuple[Float[Tensor, "batch ray coarse"], Float[Tensor, "batch ray coarse"], SurfaceHits]:
        """The coarse samples, with noise in training, and where half of the light is absorbed; see the base class."""
        coarse = self.coarse_distances(rays, jitter)
        positions = sample_positions(rays, coarse).flatten(1, 2)
        if grid is None:
            values = geometry_at(positions).unflatten(1, coarse.shape[1:])
        elif jitter is None:
            values = grid.geometry_along(rays, coarse, geometry_at)
        else:
            values = evaluate_where(geometry_at, positions, grid.occupied(positions)).unflatten(1, coarse.shape[1:])
        noise = self.value_noise(coarse, jitter) if jitter is not None else None
        if noise is not None:
            values = values + noise[..., 0]
        weights = compositing_weights(self.geometry.alphas(values, coarse))
        return coarse, values, median_surface(weights, coarse, self.miss_depth)

    @torch.no_grad()
    def around(
        self,
        rays: RayBundle,
        hits: SurfaceHits,
        coarse: Float[Tensor, "batch ray coarse"],
        coarse_alphas: Float[Tensor, "batch ray coarse"],
        jitter: Optional[Randomness] = None,
        fine_uniforms: Optional[Float[Tensor, "batch ray fine"]] = None,
    ) -> Float[Tensor, "batch ray sample"]:
        """The coarse samples and, where there are any, the fine ones among them; see the base class."""
        if self.config.num_fine_samples == 0:
            return coarse
        fine = fine_distances(coarse, coarse_alphas, self.config.num_fine_samples, jitter, fine_uniforms)
        return torch.cat((coarse, fine), dim=-1).sort(dim=-1).values

    @torch.no_grad()
    def forward(
        self,
        rays: RayBundle,
        geometry_at: GeometryFunction,
        jitter: Optional[Randomness] = None,
        fine_uniforms: Optional[Float[Tensor, "batch ray fine"]] = None,
        grid: Optional[OccupancyGrid] = None,
    ) -> tuple[Float[Tensor, "batch ray sample"], SurfaceHits]:
        """As the base class; without fine samples there is nothing to search for, and compositing finds the surface."""
        if self.config.num_fine_samples > 0:
            return super().forward(rays, geometry_at, jitter, fine_uniforms, grid)
        coarse = self.coarse_distances(rays, jitter)
        nothing = torch.zeros_like(coarse[..., 0])
        return coarse, SurfaceHits(nothing + self.miss_depth, nothing > 0)

    def seen_surface(
        self,
        hits: SurfaceHits,
        weights: Float[Tensor, "batch ray sample"],
        distances: Float[Tensor, "batch ray sample"],
    ) -> SurfaceHits:
        """Where half of the light is absorbed."""
        return median_surface(weights.detach(), distances, self.miss_depth)
