"""GOF's discriminator: a progressive tower of CoordConv blocks that also reads pose and latent from the image.

"ProgressiveEncoderDiscriminator" of the released code of GOF and pi-GAN (discriminators/discriminators.py). Its second
head, which predicts frequencies and phases, takes part in no loss and is left out.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Optional, Type

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
LARGEST_SIDE = 512
LAST_SIDE = 2
MAX_CHANNELS = 400
CHANNELS_TIMES_SIDE = 8192
"""Channels are 8192 / side (16 at 512, 256 at 32) and 400 below a side of 32."""
UNUSED_HEAD = "freq_phase_layer."


@dataclass
class ProgressiveDiscriminatorConfig(DiscriminatorConfig):
    """Sizes of GOF's discriminator; its channels are the published ones."""

    _target: Type = field(default_factory=lambda: ProgressiveDiscriminator)
    """target class to instantiate"""
    grows: ClassVar[bool] = True
    resolution: int = 128
    """Side of the largest images, in pixels; a power of two up to 512, the original's size. Smaller powers of two are
    accepted as they are."""
    latent_dim: int = 256
    """Length of the latent estimate; 0 leaves it out. The published settings give its loss the weight 0."""
    kaiming_initialisation: bool = False
    """Kaiming-normal convolutions, which the authors' code means to set. As released it skips every convolution, and
    the published settings were trained with the framework's default, which False keeps."""


class ProgressiveDiscriminator(StagedDiscriminator):
    """GOF's discriminator for images of any power-of-two side from 4 to `config.resolution`.

    Args:
        config: sizes.
        pose_centre: (pitch, yaw) in radians to add to the initial bias of the pose estimate; None as published.

    Raises:
        UserError: where the resolution is no power of two from 4 to 512.
    """

    def __init__(
        self, config: ProgressiveDiscriminatorConfig, pose_centre: Optional[Float[Tensor, "2"]] = None
    ) -> None:
        sides = sides_down_to(config.resolution, last=LAST_SIDE, least=2 * LAST_SIDE)
        if config.resolution > LARGEST_SIDE:
            raise UserError(f"resolution is {config.resolution}, but GOF's discriminator ends at {LARGEST_SIDE}.")
        channels = {side: CHANNELS_TIMES_SIDE // side if side >= 32 else MAX_CHANNELS for side in sides}
        super().__init__(
            config,
            adapters={
                side: nn.Sequential(nn.Conv2d(3, channels[side], 1), nn.LeakyReLU(LEAKY_SLOPE)) for side in sides
            },
            blocks={side: _CoordConvBlock(channels[side], channels[side // 2]) for side in sides[:-1]},
        )
        self.head = nn.Conv2d(MAX_CHANNELS, 1 + config.latent_dim + 2, LAST_SIDE)
        with torch.no_grad():
            if config.kaiming_initialisation:
                for module in self.modules():
                    if isinstance(module, nn.Conv2d):
                        nn.init.kaiming_normal_(module.weight, a=LEAKY_SLOPE)
            if pose_centre is not None:
                bias = self.head.bias
                assert bias is not None
                bias[-2:] += pose_centre.to(bias)

    def halve_images(self, images: Float[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch 3 half half"]:
        """Every second pixel (nearest neighbour), as published."""
        return images[:, :, ::2, ::2]

    def forward(self, images: Float[Tensor, "batch 3 height width"], fade: float = 1.0) -> DiscriminatorOutput:
        """Scores, poses and latents of the images.

        Args:
            images: in [-1, 1].
            fade: weight in [0, 1] of the stage that belongs to this image size against the next smaller one.
        """
        estimate = self.head(self.features(images, fade)).flatten(1)
        latent = estimate[:, 1:-2]
        return DiscriminatorOutput(
            score=estimate[:, 0], pose=estimate[:, -2:], latent=latent if latent.shape[1] > 0 else None
        )


class _CoordConvBlock(nn.Module):
    """Two CoordConv 3 x 3 and an average over 2 x 2, beside a projected skip; the sum over the root of two."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first = CoordConv2d(in_channels, out_channels, 3, padding=1)
        self.second = CoordConv2d(out_channels, out_channels, 3, padding=1)
        self.skip = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        main = functional.leaky_relu(self.first(features), LEAKY_SLOPE)
        main = functional.avg_pool2d(functional.leaky_relu(self.second(main), LEAKY_SLOPE), 2)
        return (main + self.skip(functional.avg_pool2d(features, 2))) / math.sqrt(2.0)


_RELEASED_NAMES = (
    (re.compile(r"layers\.(\d+)\.network\.0\.conv\.(\w+)"), "blocks.{side}.first.{parameter}"),
    (re.compile(r"layers\.(\d+)\.network\.2\.conv\.(\w+)"), "blocks.{side}.second.{parameter}"),
    (re.compile(r"layers\.(\d+)\.proj\.(\w+)"), "blocks.{side}.skip.{parameter}"),
    (re.compile(r"fromRGB\.(\d+)\.model\.0\.(\w+)"), "from_rgb.{side}.0.{parameter}"),
    (re.compile(r"final_layer()\.(\w+)"), "head.{parameter}"),
)


def convert_released_state(released: Mapping[str, Tensor], resolution: int = LARGEST_SIDE) -> dict[str, Tensor]:
    """The state dict of a ProgressiveDiscriminator from one of the authors' ProgressiveEncoderDiscriminator.

    Args:
        released: the authors' state dict; the tensors are shared, not copied.
        resolution: the resolution of our network; stages above it and the unused second head are left out.

    Raises:
        UserError: where a name is not one of the authors' network.
    """
    converted = {}
    for name, tensor in released.items():
        if name.startswith(UNUSED_HEAD):
            continue
        matches = ((pattern.fullmatch(name), template) for pattern, template in _RELEASED_NAMES)
        found = next(((match, template) for match, template in matches if match), None)
        if found is None:
            raise UserError(f"{name!r} is no weight of GOF's ProgressiveEncoderDiscriminator; is this its checkpoint?")
        match, template = found
        side = LARGEST_SIDE >> int(match[1] or 0)
        if match[1] == "" or side <= resolution:
            converted[template.format(side=side, parameter=match[2])] = tensor
    return converted
