"""Grids that know where matter can be, so that the field is asked only there.

The *prior grid* belongs to a training: a conservative running maximum over the latents it has seen, for space that no
object fills. The *latent grid* belongs to one object: its exact logits on a lattice, for viewers and exporters.
Both keep their cells in nerfacc's ``OccGridEstimator``. On CUDA nerfacc's traversal lists the samples of a ray that lie
in occupied cells; elsewhere a dense look-up answers the same question.
"""

from dataclasses import dataclass, field
from typing import Type

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from nerfacc.estimators.occ_grid import OccGridEstimator
from nerfacc.grid import traverse_grids
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.configs.base_config import InstantiateConfig
from torch import Tensor, nn

from gan3d_ns.errors import UserError
from gan3d_ns.fields.base_field import GenerativeField, Styles
from gan3d_ns.model_components.geometry import Geometry
from gan3d_ns.model_components.packing import pack_rows
from gan3d_ns.model_components.sampling import GeometryFunction, sample_positions

FREE_VALUE = -20.0
"""Stands for the geometry of free space: an opacity of 2e-9 as a logit, and of that or 0 as a density."""
COARSE_RESOLUTION = 32
"""Cells on each axis in which a latent grid looks for the object before it measures it."""
FREE_SHARE = 0.2
"""Opacities below this share of the visible weight count as free space in a latent grid."""
SMALLEST_DIRECTION = 1e-9
CHUNK_SIZE = 65536
"""Points that are handed to the field at once while a grid is made."""


def evaluate_where(
    geometry_at: GeometryFunction, positions: Float[Tensor, "batch points 3"], wanted: Bool[Tensor, "batch points"]
) -> Float[Tensor, "batch points"]:
    """The geometry at the wanted positions, and that of free space at the others."""
    packed = pack_rows(wanted)
    if packed.width == 0:
        return torch.full_like(positions[..., 0], FREE_VALUE)
    return packed.unpack(geometry_at(packed.pack(positions)), fill=FREE_VALUE)


class OccupancyGrid(nn.Module):
    """Cells of a box that may hold matter.

    Args:
        lower: lower corner of the box, in world units.
        upper: upper corner.
        resolution: cells on each axis.
    """

    def __init__(self, lower: Float[Tensor, "3"], upper: Float[Tensor, "3"], resolution: int) -> None:
        super().__init__()
        self.estimator = OccGridEstimator(torch.cat((lower, upper)), resolution)

    @property
    def cells(self) -> Bool[Tensor, "1 x y z"]:
        """Which cells may hold matter."""
        return self.estimator.get_buffer("binaries")

    @property
    def box(self) -> Float[Tensor, "1 6"]:
        """Lower and upper world corner."""
        return self.estimator.get_buffer("aabbs")

    @property
    def occupied_fraction(self) -> Float[Tensor, ""]:
        """How much of the box is not skipped."""
        return self.cells.float().mean()

    def in_box(self, positions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
        """World positions in units of the box, which spans [-1, 1] on each axis."""
        lower, upper = self.box[0].chunk(2)
        scale = 2.0 / (upper - lower)
        return torch.addcmul(-(lower + upper) * 0.5 * scale, positions, scale)

    def occupied(self, positions: Float[Tensor, "*batch 3"]) -> Bool[Tensor, "*batch"]:
        """Whether the cells of world positions may hold matter; outside the box anything may be."""
        free = (~self.cells[0]).permute(2, 1, 0).to(positions.dtype)
        # Nearest look-up with zeros outside: 1 in cells known to be free, 0 anywhere else.
        points = self.in_box(positions).reshape(1, 1, 1, -1, 3)
        found = F.grid_sample(free[None, None], points, mode="nearest", padding_mode="zeros", align_corners=False)
        return found.reshape(positions.shape[:-1]) < 0.5

    def occupied_along(
        self, rays: RayBundle, distances: Float[Tensor, "batch ray sample"]
    ) -> Bool[Tensor, "batch ray sample"]:
        """The same for evenly spaced distances along rays: by nerfacc's traversal where that can run, on CUDA.

        The two may differ on the very border of a cell, where rounding decides.
        """
        positions = sample_positions(rays, distances)
        if not positions.is_cuda:
            return self.occupied(positions)
        inside = self.traversed(rays, distances)
        return inside | (self.in_box(positions).abs() > 1.0).any(dim=-1)

    def traversed(
        self, rays: RayBundle, distances: Float[Tensor, "batch ray sample"]
    ) -> Bool[Tensor, "batch ray sample"]:
        """Samples that nerfacc's traversal meets in occupied cells. CUDA only.

        nerfacc takes one step size for all rays; ours differ from ray to ray, so each ray is scaled to steps of 1, and
        sample k becomes the middle of [k, k + 1].
        """
        num_samples = distances.shape[-1]
        start = distances[..., :1]
        spacing = (distances[..., -1:] - start) / (num_samples - 1)
        origins = rays.origins + (start - 0.5 * spacing) * rays.directions
        nears = torch.zeros_like(spacing[..., 0]).flatten()
        intervals, samples = traverse_grids(
            origins.flatten(0, 1),
            (spacing * rays.directions).flatten(0, 1),
            self.cells,
            self.box,
            near_planes=nears,
            far_planes=nears + num_samples,
            step_size=1.0,
        )
        middles = 0.5 * (intervals.vals[intervals.is_left] + intervals.vals[intervals.is_right])
        met = torch.zeros_like(distances, dtype=torch.bool).flatten(0, 1)
        met[samples.ray_indices, middles.long().clamp(max=num_samples - 1)] = True
        return met.unflatten(0, distances.shape[:2])

    def geometry_along(
        self, rays: RayBundle, distances: Float[Tensor, "batch ray sample"], geometry_at: GeometryFunction
    ) -> Float[Tensor, "batch ray sample"]:
        """The geometry at evenly spaced distances, asked for in occupied cells only."""
        wanted = self.occupied_along(rays, distances).flatten(1, 2)
        positions = sample_positions(rays, distances).flatten(1, 2)
        return evaluate_where(geometry_at, positions, wanted).unflatten(1, distances.shape[1:])


@dataclass
class PriorGridConfig(InstantiateConfig):
    """A grid over all objects of a training."""

    _target: Type = field(default_factory=lambda: PriorGrid)
    enabled: bool = False
    """Skip space that no object fills, while training. Pays for objects in front of nothing and for slow fields."""
    resolution: int = 48
    """Cells on each axis of the cube that the cameras see."""
    free_opacity: float = 0.01
    """A cell is free where no object is more opaque than this."""
    margin_cells: int = 1
    """Cells around occupied ones that are not skipped either, so that surfaces can move."""
    decay: float = 0.95
    """What one look leaves of an older maximum."""
    update_interval: int = 16
    """Steps between looks at the field."""
    warmup_steps: int = 256
    """Steps during which nothing is skipped and every look sees all cells; afterwards a quarter, and the occupied."""
    num_latents: int = 4
    """Objects of the step that a look sees."""

    def __post_init__(self) -> None:
        if not 0.0 < self.free_opacity < 0.5:
            raise UserError(f"free_opacity is {self.free_opacity}; a free cell's opacity must lie in (0, .5).")
        if self.resolution < 2 or self.update_interval < 1 or self.margin_cells < 0:
            raise UserError(
                f"a prior grid of {self.resolution} cells, looked at every {self.update_interval} steps, with a margin "
                f"of {self.margin_cells} cells cannot be; give at least 2, 1 and 0."
            )


class PriorGrid(OccupancyGrid):
    """Where any object of the family may be: nerfacc's running maximum, with a margin, from random latents.

    Skipped space gets no gradient, so it is looked at again and again: a quarter of all cells in each update. The
    numbers are saved with the weights.

    Args:
        config: how much is skipped, and how carefully.
        radius: half the side of the cube around the origin that is watched, in world units.
    """

    num_updates: Tensor

    def __init__(self, config: PriorGridConfig, radius: float) -> None:
        super().__init__(torch.full((3,), -radius), torch.full((3,), radius), config.resolution)
        self.config = config
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.long))

    @property
    def ready(self) -> bool:
        """Whether the warm-up is over; a grid that is not ready must not be used."""
        return int(self.num_updates) * self.config.update_interval >= self.config.warmup_steps

    def reset(self) -> None:
        """Forgets everything, for new weights."""
        self.num_updates.zero_()
        self.estimator.get_buffer("occs").zero_()
        self.cells.zero_()

    @torch.no_grad()
    def update(
        self,
        generative_field: GenerativeField,
        geometry: Geometry,
        styles: Styles,
        spacing: float,
        randomness: torch.Generator,
    ) -> None:
        """One look at the field, by nerfacc's rule: occupancy <- max(decay * occupancy, opacity at a random point).

        Args:
            generative_field: the field in training.
            geometry: how its values are read.
            styles: objects of this step; the maximum is taken over the first ``num_latents`` of them.
            spacing: length over which a density makes its opacity, in world units.
            randomness: draws the seed of the look.
        """
        config = self.config
        some = styles[: config.num_latents]
        step = int(self.num_updates) * config.update_interval

        def largest_opacity(points: Float[Tensor, "points 3"]) -> Float[Tensor, "points 1"]:
            parts = []
            for chunk in points.split(max(1, CHUNK_SIZE // len(some))):
                values = generative_field.geometry_logits(chunk.expand(len(some), -1, 3), some)
                parts.append(geometry.opacity(values, spacing).amax(dim=0).float())
            return torch.cat(parts)[:, None]

        seed = int(torch.randint(2**31, (1,), generator=randomness, device=randomness.device))
        device = self.box.device
        # nerfacc draws from the global source, which must not notice.
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            self.estimator.train()
            self.estimator.update_every_n_steps(
                step, largest_opacity, config.free_opacity, config.decay, config.warmup_steps, n=1
            )
        self.estimator.binaries = dilated(self.cells, config.margin_cells)
        self.num_updates += 1


def dilated(cells: Bool[Tensor, "1 x y z"], margin: int) -> Bool[Tensor, "1 x y z"]:
    """Cells within ``margin`` cells of true ones, along each axis and the diagonals."""
    return F.max_pool3d(cells[None].float(), 2 * margin + 1, stride=1, padding=margin)[0] > 0.5


def lattice_of(
    geometry_at: GeometryFunction, lower: Float[Tensor, "3"], upper: Float[Tensor, "3"], resolution: int
) -> Float[Tensor, "x y z"]:
    """One object's geometry at the corners of the cells of a box."""
    steps = torch.linspace(0.0, 1.0, resolution + 1, device=lower.device)
    points = lower + (upper - lower) * torch.cartesian_prod(steps, steps, steps)
    with torch.no_grad():
        values = torch.cat([geometry_at(chunk[None])[0].float() for chunk in points.split(CHUNK_SIZE)])
    return values.reshape(resolution + 1, resolution + 1, resolution + 1)


def occupied_cells(
    lattice: Float[Tensor, "corners corners corners"], limit: float
) -> Bool[Tensor, "1 cells cells cells"]:
    """Cells with a corner above a limit, and their neighbours."""
    return dilated(F.max_pool3d(lattice[None, None], 2, stride=1)[0] > limit, 1)


def bounds_of(
    cells: Bool[Tensor, "1 cells cells cells"], lower: Float[Tensor, "3"], upper: Float[Tensor, "3"]
) -> tuple[Float[Tensor, "3"], Float[Tensor, "3"]]:
    """Corners of the smallest box around the occupied cells of a box; those of the whole box where there are none."""
    occupied = cells[0].nonzero()
    if len(occupied) == 0:
        return lower, upper
    size = (upper - lower) / cells.shape[-1]
    return lower + occupied.amin(dim=0) * size, lower + (occupied.amax(dim=0) + 1) * size


@dataclass
class LatentGridConfig:
    """A grid of the one object that is shown."""

    enabled: bool = True
    """Make the pictures of viewer and exporters from a lattice of the object's logits, with colours of the field."""
    resolution: int = 64
    """Cells on each axis; more follow the surface more closely and take longer to make (their cube)."""
    visible_weight: float = 0.05
    """Samples that count for less beside their ray's strongest are not asked for their colour; smaller is slower and
    closer."""

    def __post_init__(self) -> None:
        if self.resolution < 2 or not 0.0 <= self.visible_weight < 0.5:
            raise UserError(
                f"a latent grid of {self.resolution} cells and a visible weight of {self.visible_weight} cannot be; "
                "give 2 cells or more and a weight in [0, .5)."
            )


class LatentGrid(OccupancyGrid):
    """The geometry of one object on a lattice, read by trilinear interpolation.

    Made once for an object; then the search for the surface and the opacities ask the field nothing. A coarse look at
    the whole cube finds the box around all matter, which the lattice spans; outside it space is free.

    Args:
        geometry_at: the object's geometry.
        geometry: how its values are read.
        radius: half the side of the cube around the origin that may be looked at, in world units.
        config: resolution and what counts as visible.
        device: where the lattice lives.
    """

    def __init__(
        self,
        geometry_at: GeometryFunction,
        geometry: Geometry,
        radius: float,
        config: LatentGridConfig,
        device: torch.device,
    ) -> None:
        free = FREE_SHARE * config.visible_weight
        limit = geometry.value_of(free) if free > 0 else FREE_VALUE
        whole = torch.full((3,), -radius, device=device), torch.full((3,), radius, device=device)
        coarse = min(COARSE_RESOLUTION, config.resolution)
        lower, upper = bounds_of(occupied_cells(lattice_of(geometry_at, *whole, coarse), limit), *whole)
        super().__init__(lower, upper, config.resolution)
        self.config = config
        self.to(device)
        lattice = lattice_of(geometry_at, lower, upper, config.resolution)
        self.estimator.binaries = occupied_cells(lattice, limit)
        self.object_bounds = torch.stack(bounds_of(self.cells, lower, upper))
        # x last, as grid_sample wants it, and measured from free space, which it then reads outside as well.
        self.values = (lattice - FREE_VALUE).permute(2, 1, 0).contiguous()[None, None]

    def geometry_logits(self, positions: Float[Tensor, "1 points 3"]) -> Float[Tensor, "1 points"]:
        """The geometry at world positions; that of free space outside the box."""
        points = self.in_box(positions)[:, None, None]
        found = F.grid_sample(self.values, points, padding_mode="zeros", align_corners=True)
        return found.reshape(positions.shape[:-1]) + FREE_VALUE

    def met_by(self, rays: RayBundle) -> Bool[Tensor, "batch ray"]:
        """Rays that meet the box around all occupied cells between their near and far."""
        assert rays.nears is not None and rays.fars is not None
        lower, upper = self.object_bounds
        flat = rays.directions.abs() < SMALLEST_DIRECTION
        directions = torch.where(flat, SMALLEST_DIRECTION, rays.directions)
        ends = (lower - rays.origins) / directions, (upper - rays.origins) / directions
        first = torch.maximum(torch.minimum(*ends).amax(dim=-1), rays.nears[..., 0])
        return first <= torch.minimum(torch.maximum(*ends).amin(dim=-1), rays.fars[..., 0])

    def geometry_along(
        self, rays: RayBundle, distances: Float[Tensor, "batch ray sample"], geometry_at: GeometryFunction
    ) -> Float[Tensor, "batch ray sample"]:
        """The lattice's geometry at evenly spaced distances; off CUDA a look-up costs less than asking whether to."""
        if distances.is_cuda:
            return super().geometry_along(rays, distances, geometry_at)
        return geometry_at(sample_positions(rays, distances).flatten(1, 2)).unflatten(1, distances.shape[1:])
