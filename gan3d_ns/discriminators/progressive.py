"""The published discriminators of pi-GAN and GOF: progressive towers of residual blocks, told apart by their blocks.

In the released code (discriminators/discriminators.py) they are "ProgressiveEncoderDiscriminator" (GOF; pi-GAN's
CARLA), "CCSEncoderDiscriminator" (pi-GAN's CelebA) and "StridedDiscriminator" (pi-GAN's cats). What takes part in no
loss there is left out here: the first one's second head, which predicts frequencies and phases, and the last one's
pose layer.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Dict, Literal, NamedTuple, Optional, Type

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from gan3d_ns.discriminators.base import (
    DiscriminatorConfig,
    DiscriminatorOutput,
    StagedDiscriminator,
    sides_down_to,
)
from gan3d_ns.discriminators.coord_conv import CoordConv2d
from gan3d_ns.errors import UserError

LEAKY_SLOPE = 0.2
LAST_SIDE = 2
MAX_CHANNELS = 400
CHANNELS_TIMES_SIDE = 8192
"""Channels are 8192 / side (16 at 512, 256 at 32) and 400 below a side of 32."""
UNUSED_LAYERS = ("freq_phase_layer.", "pose_layer.")

Architecture = Literal["progressive", "ccs", "strided"]


class _Published(NamedTuple):
    """What tells one published discriminator from the others."""

    largest_side: int
    convolution: Type[nn.Conv2d]
    strided: bool
    """The second convolution and the skip halve the side, not an average over 2 x 2."""
    encoder: bool
    """It also estimates pose and latent."""
    kaiming: bool
    """Its blocks start with Kaiming-normal weights."""


PUBLISHED: Dict[Architecture, _Published] = {
    "progressive": _Published(512, CoordConv2d, strided=False, encoder=True, kaiming=False),
    "ccs": _Published(256, CoordConv2d, strided=True, encoder=True, kaiming=True),
    "strided": _Published(256, nn.Conv2d, strided=True, encoder=False, kaiming=True),
}


@dataclass
class ProgressiveDiscriminatorConfig(DiscriminatorConfig):
    """Sizes of a published discriminator; its channels are the published ones."""

    _target: Type = field(default_factory=lambda: ProgressiveDiscriminator)
    """target class to instantiate"""
    grows: ClassVar[bool] = True
    """Each side has an adapter of its own, which fades in."""
    architecture: Architecture = "progressive"
    """progressive: convolutions with coordinates, halved by averaging (GOF; pi-GAN on CARLA). ccs: the same, halved by
    their stride, in half the time (pi-GAN on CelebA). strided: ordinary convolutions, which estimate no pose (pi-GAN on
    cats)."""
    resolution: int = 128
    """Side of the largest images, in pixels; a power of two up to the original's size, 512 (progressive) or 256.
    Smaller powers of two are accepted as they are."""
    latent_dim: int = 256
    """Length of the latent estimate; 0 leaves it out. The published settings give its loss the weight 0."""
    kaiming_initialisation: Optional[bool] = None
    """Kaiming-normal convolutions in the blocks. None as released: GOF's code means to set them, but skips every
    convolution; pi-GAN's ccs and strided have them."""


class ProgressiveDiscriminator(StagedDiscriminator):
    """A published discriminator for images of any power-of-two side from 4 to `config.resolution`.

    Args:
        config: sizes.
        pose_centre: (pitch, yaw) in radians to add to the initial bias of the pose estimate; None as published.

    Raises:
        UserError: where the resolution is no power of two from 4 to the original's largest.
    """

    def __init__(
        self, config: ProgressiveDiscriminatorConfig, pose_centre: Optional[Float[Tensor, "2"]] = None
    ) -> None:
        published = PUBLISHED[config.architecture]
        sides = sides_down_to(config.resolution, last=LAST_SIDE, least=2 * LAST_SIDE)
        if config.resolution > published.largest_side:
            raise UserError(
                f"resolution is {config.resolution}, but the published {config.architecture} discriminator ends at "
                f"{published.largest_side}."
            )
        channels = {side: CHANNELS_TIMES_SIDE // side if side >= 32 else MAX_CHANNELS for side in sides}
        super().__init__(
            config,
            adapters={
                side: nn.Sequential(nn.Conv2d(3, channels[side], 1), nn.LeakyReLU(LEAKY_SLOPE)) for side in sides
            },
            blocks={
                side: _ResidualBlock(channels[side], channels[side // 2], published.convolution, published.strided)
                for side in sides[:-1]
            },
        )
        self.estimates_pose = published.encoder
        self.head = nn.Conv2d(MAX_CHANNELS, 1 + (config.latent_dim + 2) * published.encoder, LAST_SIDE)
        kaiming = config.kaiming_initialisation
        with torch.no_grad():
            if published.kaiming if kaiming is None else kaiming:
                for block in self.blocks.values():
                    for convolution in (block.first, block.second):
                        nn.init.kaiming_normal_(convolution.weight, a=LEAKY_SLOPE)  # pyright: ignore
            if pose_centre is not None and published.encoder:
                bias = self.head.bias
                assert bias is not None
                bias[-2:] += pose_centre.to(bias)

    def halve_images(self, images: Float[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch 3 half half"]:
        """Every second pixel (nearest neighbour), as published."""
        return images[:, :, ::2, ::2]

    def forward(self, images: Float[Tensor, "batch 3 height width"], fade: float = 1.0) -> DiscriminatorOutput:
        """Scores of the images; poses and latents where the architecture estimates them.

        Args:
            images: in [-1, 1].
            fade: weight in [0, 1] of the stage that belongs to this image size against the next smaller one.
        """
        estimate = self.head(self.features(images, fade)).flatten(1)
        if not self.estimates_pose:
            return DiscriminatorOutput(score=estimate[:, 0])
        latent = estimate[:, 1:-2]
        return DiscriminatorOutput(
            score=estimate[:, 0], pose=estimate[:, -2:], latent=latent if latent.shape[1] > 0 else None
        )


class _ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside a projected skip, to half the side; the sum over the root of two."""

    def __init__(self, in_channels: int, out_channels: int, convolution: Type[nn.Conv2d], strided: bool) -> None:
        super().__init__()
        stride = 2 if strided else 1
        self.first = convolution(in_channels, out_channels, 3, padding=1)
        self.second = convolution(out_channels, out_channels, 3, stride=stride, padding=1)
        projected = strided or in_channels != out_channels
        self.skip = nn.Conv2d(in_channels, out_channels, 1, stride=stride) if projected else nn.Identity()
        self.halve = nn.Identity() if strided else nn.AvgPool2d(2)

    def forward(self, features: Tensor) -> Tensor:
        main = functional.leaky_relu(self.first(features), LEAKY_SLOPE)
        main = functional.leaky_relu(self.second(main), LEAKY_SLOPE)
        return (self.halve(main) + self.skip(self.halve(features))) / math.sqrt(2.0)


_RELEASED_NAMES = (
    (re.compile(r"layers\.(\d+)\.network\.0\.(?:conv\.)?(\w+)"), "blocks.{side}.first.{parameter}"),
    (re.compile(r"layers\.(\d+)\.network\.2\.(?:conv\.)?(\w+)"), "blocks.{side}.second.{parameter}"),
    (re.compile(r"layers\.(\d+)\.proj\.(\w+)"), "blocks.{side}.skip.{parameter}"),
    (re.compile(r"fromRGB\.(\d+)\.model\.0\.(\w+)"), "from_rgb.{side}.0.{parameter}"),
    (re.compile(r"final_layer()\.(\w+)"), "head.{parameter}"),
)


def convert_released_state(
    released: Mapping[str, Tensor], resolution: int, architecture: Architecture = "progressive"
) -> Dict[str, Tensor]:
    """The state dict of a ProgressiveDiscriminator from one of the authors' discriminators.

    Args:
        released: the authors' state dict; the tensors are shared, not copied.
        resolution: the resolution of our network; stages above it and what takes part in no loss are left out.
        architecture: which of the discriminators it is.

    Raises:
        UserError: where a name is not one of the authors' network.
    """
    converted = {}
    for name, tensor in released.items():
        if name.startswith(UNUSED_LAYERS):
            continue
        matches = ((pattern.fullmatch(name), template) for pattern, template in _RELEASED_NAMES)
        found = next(((match, template) for match, template in matches if match), None)
        if found is None:
            raise UserError(f"{name!r} is no weight of the published {architecture} discriminator; is this its file?")
        match, template = found
        side = PUBLISHED[architecture].largest_side >> int(match[1] or 0)
        if match[1] == "" or side <= resolution:
            converted[template.format(side=side, parameter=match[2])] = tensor
    return converted
