"""A discriminator for two CPU cores: a few residual blocks, with a batch statistic and a pose estimate."""

import math
from dataclasses import dataclass, field
from typing import Optional, Type

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
from gan3d_ns.discriminators.batch_deviation import append_batch_deviation
from gan3d_ns.discriminators.coord_conv import CoordConv2d

LEAKY_SLOPE = 0.2
POSE_WEIGHT_SCALE = 0.1
"""Initial weights of the pose estimate against the score's: it starts close to the prior's mean."""
LAST_SIDE = 4
REFERENCE_SIDE = 32


@dataclass
class SmallDiscriminatorConfig(DiscriminatorConfig):
    """Sizes of the small discriminator."""

    _target: Type = field(default_factory=lambda: SmallDiscriminator)
    """target class to instantiate"""
    base_channels: int = 24
    """Channels at a side of 32 pixels; they halve with each doubling of the side and double with each halving."""
    max_channels: int = 192
    """Upper limit of the channels at small sides. Time and memory grow with it; raise it for varied collections."""


class SmallDiscriminator(StagedDiscriminator):
    """Residual blocks with the second convolution at half the side, which halves the cost of GOF's.

    The coordinates are appended to the image, not in each layer. Before the last convolution stands the batch
    statistic of Karras et al. (2018, section 3): the standard deviation over the images of this call, averaged to one
    number. Call it for real and generated images apart.

    Args:
        config: sizes.
        pose_centre: (pitch, yaw) in radians where the pose estimate starts, as a rule `PosePrior.mean_pose()`.

    Raises:
        UserError: where the resolution is no power of two from 16 on.
    """

    def __init__(self, config: SmallDiscriminatorConfig, pose_centre: Optional[Float[Tensor, "2"]] = None) -> None:
        sides = sides_down_to(config.resolution, last=LAST_SIDE, least=16)
        channels = {
            side: min(config.max_channels, max(1, config.base_channels * REFERENCE_SIDE // side)) for side in sides
        }
        super().__init__(
            config,
            adapters={side: _Adapter(channels[side]) for side in sides},
            blocks={side: _ResidualBlock(channels[side], channels[side // 2]) for side in sides[:-1]},
        )
        last = channels[LAST_SIDE]
        self.joint = nn.Conv2d(last + 1, last, 3, padding=1)
        self.head = nn.Linear(last * LAST_SIDE**2, 3)
        self._initialise(pose_centre)

    def _initialise(self, pose_centre: Optional[Tensor]) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=LEAKY_SLOPE)
                nn.init.zeros_(module.bias)  # pyright: ignore[reportArgumentType]
        with torch.no_grad():
            nn.init.normal_(self.head.weight, std=self.head.in_features**-0.5)
            self.head.weight[1:] *= POSE_WEIGHT_SCALE
            self.head.bias.zero_()
            if pose_centre is not None:
                self.head.bias[1:] = pose_centre
        # A fifth faster on CPUs; the values are the same.
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, images: Float[Tensor, "batch 3 height width"], fade: float = 1.0) -> DiscriminatorOutput:
        """Scores and poses of the images.

        Args:
            images: in [-1, 1]; all real or all generated, because the batch statistic mixes them.
            fade: weight in [0, 1] of the stage that belongs to this image size against the next smaller one.
        """
        hidden = append_batch_deviation(self.features(images, fade), shared=self.shared_batch)
        hidden = functional.leaky_relu(self.joint(hidden), LEAKY_SLOPE)
        estimate = self.head(hidden.flatten(1))
        return DiscriminatorOutput(score=estimate[:, 0], pose=estimate[:, 1:])


class _Adapter(nn.Sequential):
    def __init__(self, channels: int) -> None:
        super().__init__(CoordConv2d(3, channels, 1), nn.LeakyReLU(LEAKY_SLOPE))


class _ResidualBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, in_channels, 3, padding=1)
        self.second = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.skip = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        main = functional.avg_pool2d(functional.leaky_relu(self.first(features), LEAKY_SLOPE), 2)
        main = functional.leaky_relu(self.second(main), LEAKY_SLOPE)
        return (main + self.skip(functional.avg_pool2d(features, 2))) / math.sqrt(2.0)
