"""What passes between the training engine and the pipeline in one step: the plan, what is drawn, what is rendered."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import List, Optional, Tuple

import torch
from jaxtyping import Float, Int
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from gan3d_ns.cameras.patches import Patches, draw_patches
from gan3d_ns.cameras.viewpoints import Viewpoints
from gan3d_ns.discriminators.shared_batch import SharedBatch, Total
from gan3d_ns.field_components.picture_randomness import PictureRandomness
from gan3d_ns.fields.base_field import Styles
from gan3d_ns.model_components.surface import SurfaceHits
from gan3d_ns.models.generator import RenderOutput
from gan3d_ns.pipelines.style_mixing import StyleMixing


@dataclass(frozen=True)
class StepPlan:
    """What the schedules say about one step; the training engine makes it."""

    resolution: int
    batch_size: int
    position: int
    """Real pictures that earlier steps have consumed."""
    seed: int
    """Seed of the run's data order."""
    window_half_width: float
    """In world units."""
    opacity_weight: float
    geometry_release: float
    """How far geometry may leave the field's start shape, 0 to 1."""
    top_k_fraction: float
    fade: float
    """Weight of the current resolution in the discriminator, 1 once it has faded in."""
    penalise: bool
    """Whether this step carries the gradient penalties."""
    measure_paths: bool = False
    """Whether this step carries the path-length penalty."""
    batch_split: int = 1
    patch_size: Optional[int] = None
    """Side of the patches that are shown in place of whole pictures."""
    smallest_patch: float = 1.0
    """Smallest side of a patch over that of its picture."""
    density_noise: float = 0.0
    """Standard deviation of the noise on the raw values of densities."""
    num_samples: Optional[int] = None
    """Samples of densities over the whole of each ray; None: as the sampler is configured."""
    camera_release: float = 1.0
    """Whether a camera generator may move the cameras, 0 or 1."""
    process: int = 0
    """Which of the processes that share the batch this one is."""
    num_processes: int = 1

    @property
    def side(self) -> int:
        """Side of what the discriminator is shown, in pixels."""
        return self.patch_size or self.resolution

    def draw_patches(self, count: int, randomness: torch.Generator) -> Optional[Patches]:
        """Random patches for ``count`` pictures, where patches are shown."""
        if self.patch_size is None:
            return None
        return draw_patches(count, self.patch_size, self.smallest_patch, randomness)

    @property
    def share(self) -> slice:
        """The pictures of the batch that this process computes."""
        return slices(0, self.batch_size, self.num_processes)[self.process]

    def parts(self) -> List[slice]:
        """This process's pictures of the batch, in parts none of which is larger than one of ``batch_split``.

        Every process has as many parts, which they compute at the same time.
        """
        count = min(-(-self.batch_split // self.num_processes), self.batch_size // self.num_processes)
        return slices(self.share.start, self.share.stop, count)

    def beside(self, index: Optional[int], total: Total) -> Optional[SharedBatch]:
        """The batch that the processes look at together: their parts of an index, or all; None for one process.

        Args:
            index: of the part; None: all parts.
            total: sums numbers over the processes.
        """
        if self.num_processes == 1:
            return None
        plans = [replace(self, process=process) for process in range(self.num_processes)]
        looked_at = [plan.share if index is None else plan.parts()[index] for plan in plans]
        lengths = [part.stop - part.start for part in looked_at]
        return SharedBatch(sum(lengths[: self.process]), sum(lengths), total)


def slices(start: int, stop: int, count: int) -> List[slice]:
    """A range in so many parts, as equal as they can be."""
    ends = [start + (stop - start) * index // count for index in range(count + 1)]
    return [slice(first, last) for first, last in itertools.pairwise(ends)]


class Purpose(IntEnum):
    """What a picture draws random numbers for: each has a source of its own."""

    SEARCH = 0
    COMPOSITING = 1
    PENALTY = 2


@dataclass(frozen=True)
class Draw:
    """What is random about a batch of pictures, the jitter of their samples as a seed."""

    latents: Float[Tensor, "batch latent"]
    viewpoints: Viewpoints
    """Cameras of the pose prior."""
    compared_rays: Int[Tensor, "compared"]
    """The rays whose normals are compared with a neighbour's, the same in every picture."""
    neighbour_offsets: Float[Tensor, "batch compared 3"]
    """From the surface points of these rays to the neighbours, in world units."""
    side: int
    """Side of each picture in pixels."""
    augmentation: Float[Tensor, "batch showing uniform"]
    """How these pictures, and the real ones beside them, are augmented at each showing."""
    patches: Optional[Patches] = None
    """The part of each picture's frame that is drawn; None: all of it."""
    mixing: Optional[StyleMixing] = None
    """Second latents, which texture follows; None: each picture has one latent."""
    seeds: Tuple[int, ...] = ()
    """Of each picture's own random numbers, see `randomness`."""
    first: int = 0
    """Place of the first of these pictures in the step's batch."""

    def __getitem__(self, part: slice) -> "Draw":
        return replace(
            self,
            latents=self.latents[part],
            viewpoints=self.viewpoints[part],
            neighbour_offsets=self.neighbour_offsets[part],
            augmentation=self.augmentation[part],
            patches=None if self.patches is None else self.patches[part],
            mixing=None if self.mixing is None else self.mixing[part],
            seeds=self.seeds[part],
            first=self.first + (part.start or 0),
        )

    def __len__(self) -> int:
        return self.latents.shape[0]

    def randomness(self, purpose: Purpose) -> PictureRandomness:
        """The random numbers of each picture, from the start: they are the same at every call."""
        return PictureRandomness([seed * len(Purpose) + purpose for seed in self.seeds], self.latents.device)


@dataclass(frozen=True)
class Found:
    """Where the surface search of a batch wants its samples; made without gradient, so that it may outlive a phase."""

    distances: Float[Tensor, "batch ray sample"]
    hits: SurfaceHits
    noise: Optional[Float[Tensor, "batch ray sample part"]] = None
    """What is added to the values of each part of the field at these distances."""


@dataclass(frozen=True)
class Pictures:
    """Generated pictures and what they were drawn from: all that a discriminator's phase asks for."""

    images: Float[Tensor, "batch 3 resolution resolution"]
    """In [-1, 1]."""
    draw: Draw
    viewpoints: Viewpoints
    """The cameras that took them, without gradient: those of the draw, or what a camera generator made of them."""

    @property
    def poses(self) -> Float[Tensor, "batch 2"]:
        """(pitch, yaw) in radians."""
        return self.viewpoints.poses

    @staticmethod
    def of(parts: "Sequence[Pictures]", draw: Draw) -> "Pictures":
        """The pictures of a draw that was rendered in parts."""
        return Pictures(
            torch.cat([part.images for part in parts]), draw, Viewpoints.cat([part.viewpoints for part in parts])
        )


@dataclass(frozen=True)
class Fakes(Pictures):
    """Generated pictures with what made them, which the generator's phase asks for."""

    styles: Styles
    rays: RayBundle
    render: RenderOutput


def shown_as(pictures: Float[Tensor, "batch 3 row column"]) -> Float[Tensor, "batch 3 row column"]:
    """Pictures in [0, 1] as discriminators look at them, in [-1, 1]."""
    return pictures * 2.0 - 1.0
