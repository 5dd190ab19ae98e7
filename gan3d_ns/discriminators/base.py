"""What every discriminator is: images in, a score for each and what else can be read from them."""

from dataclasses import dataclass, field
from typing import ClassVar, Optional, Type

from jaxtyping import Float
from nerfstudio.configs.base_config import InstantiateConfig
from torch import Tensor, nn

from gan3d_ns.discriminators.shared_batch import SharedBatch
from gan3d_ns.errors import UserError


@dataclass(frozen=True)
class DiscriminatorOutput:
    """What a discriminator says about a batch of images."""

    score: Float[Tensor, "batch"]
    """Logit of "this image is real"."""
    pose: Optional[Float[Tensor, "batch 2"]] = None
    """Estimated (pitch, yaw) in radians."""
    latent: Optional[Float[Tensor, "batch latent"]] = None
    """Estimated latent code."""


@dataclass
class DiscriminatorConfig(InstantiateConfig):
    """What all discriminators can be asked for. `setup` also takes `pose_centre`, the mean pose of the prior."""

    _target: Type = field(default_factory=lambda: Discriminator)
    """target class to instantiate"""
    resolution: int = 64
    """Side of the largest images, in pixels; a power of two. Smaller powers of two are accepted as they are."""

    grows: ClassVar[bool] = False
    """Whether it is built to be grown stage by stage with the resolution of whole pictures."""


class Discriminator(nn.Module):
    """Base of the discriminators.

    Args:
        config: sizes.
    """

    config: DiscriminatorConfig

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        self.shared_batch: Optional[SharedBatch] = None
        """The batch that the images are part of while several processes train together."""

    def forward(self, images: Float[Tensor, "batch 3 height width"], fade: float = 1.0) -> DiscriminatorOutput:
        """Scores of the images.

        Args:
            images: in [-1, 1].
            fade: weight in [0, 1] of the stage that belongs to this image size against the next smaller one.
        """
        raise NotImplementedError


def is_power_of_two(value: int) -> bool:
    """Whether the value is 1, 2, 4, 8, ..."""
    return value > 0 and value & (value - 1) == 0


class StagedDiscriminator(Discriminator):
    """A tower of blocks, one for each side from `config.resolution` downwards, each of which halves the side.

    Images enter at the block for their side through an adapter of their own (`from_rgb`), so that one network serves a
    curriculum of growing resolutions. While a stage fades in, the first block's output is blended with the adapter of
    the next smaller side (Karras et al. 2018, section 2).

    Args:
        config: sizes.
        adapters: images to features, for each side at which images enter or from which the next one fades in; the
            smallest side fades in from nothing where there is none below it.
        blocks: for each side but the last one, features to features of half the side.

    Raises:
        UserError: in `forward`, where images are not square or their side has no block or no adapter.
    """

    def __init__(
        self, config: DiscriminatorConfig, adapters: dict[int, nn.Module], blocks: dict[int, nn.Module]
    ) -> None:
        super().__init__(config)
        self.from_rgb = nn.ModuleDict({str(side): module for side, module in adapters.items()})
        self.blocks = nn.ModuleDict({str(side): module for side, module in blocks.items()})
        self.sides = sorted(blocks, reverse=True)

    def halve_images(self, images: Float[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch 3 half half"]:
        """Images of half the side, by averaging, as the smaller stages see them while the next one fades in."""
        return nn.functional.avg_pool2d(images, 2)

    def features(
        self, images: Float[Tensor, "batch 3 height width"], fade: float = 1.0
    ) -> Float[Tensor, "batch channel last last"]:
        """What the last block gives for images of any of the supported sides."""
        side = images.shape[-1]
        entries = [side for side in reversed(self.sides) if str(side) in self.from_rgb]
        if images.shape[-2] != side or side not in entries:
            raise UserError(
                f"the images are {images.shape[-2]} x {side} pixels, but this discriminator takes squares with a side "
                f"of {', '.join(map(str, entries))}; change the images' resolution or its `resolution`."
            )
        hidden = self.blocks[str(side)](self.from_rgb[str(side)](images))
        if fade < 1.0 and str(side // 2) in self.from_rgb:
            coarse = self.from_rgb[str(side // 2)](self.halve_images(images))
            hidden = fade * hidden + (1.0 - fade) * coarse
        for smaller in self.sides[self.sides.index(side) + 1 :]:
            hidden = self.blocks[str(smaller)](hidden)
        return hidden


def sides_down_to(resolution: int, last: int, least: int) -> list[int]:
    """The sides [resolution, resolution / 2, ..., last].

    Raises:
        UserError: where the resolution is no power of two or smaller than `least`.
    """
    if not is_power_of_two(resolution) or resolution < least:
        raise UserError(f"resolution is {resolution}, but a discriminator needs a power of two from {least} on.")
    return [resolution >> step for step in range((resolution // last).bit_length())]
