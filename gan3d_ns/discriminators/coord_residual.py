"""CAMPARI's discriminator: a growing tower of residual blocks whose every convolution knows where it is."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Dict, Optional, Type

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from gan3d_ns.discriminators.base import (
    DiscriminatorConfig,
    DiscriminatorOutput,
    StagedDiscriminator,
    is_power_of_two,
    sides_down_to,
)
from gan3d_ns.discriminators.coord_conv import CoordConv2d
from gan3d_ns.errors import UserError

LEAKY_SLOPE = 0.2
LAST_SIDE = 4
LEAST_SIDE = 8
REFERENCE_SIDE = 32


@dataclass
class CoordResidualDiscriminatorConfig(DiscriminatorConfig):
    """Sizes of CAMPARI's discriminator; the defaults are the published ones."""

    _target: Type = field(default_factory=lambda: CoordResidualDiscriminator)
    """target class to instantiate"""
    grows: ClassVar[bool] = True
    """Each side has an adapter of its own, which fades in."""
    resolution: int = 128
    """Side of the largest pictures, in pixels; a power of two."""
    first_resolution: int = 32
    """Side of the smallest pictures, where training starts; a power of two from 8 on."""
    base_channels: int = 256
    """Channels at a side of 32 pixels; they halve with each doubling of the side and double with each halving."""
    max_channels: int = 400
    """Upper limit of the channels at small sides."""


class CoordResidualDiscriminator(StagedDiscriminator):
    """Residual blocks of CoordConv layers, halved by averaging (CAMPARI, released code).

    There is no pose estimate. Pictures are taken in [-1, 1], which is what the original makes of its colours in [0, 1]
    first: its R1 of 10 E|grad|^2 over those colours is an r1_weight of 80, see `losses.r1_penalty`.

    Args:
        config: sizes.
        pose_centre: taken for the sake of other discriminators; unused.

    Raises:
        UserError: where the resolutions are no powers of two in order, from 8 on; in `forward`, where pictures have a
            side that is not one from the first to the largest.
    """

    def __init__(
        self, config: CoordResidualDiscriminatorConfig, pose_centre: Optional[Float[Tensor, "2"]] = None
    ) -> None:
        first = config.first_resolution
        sides = sides_down_to(config.resolution, last=LAST_SIDE, least=LEAST_SIDE)
        if not is_power_of_two(first) or not LEAST_SIDE <= first <= config.resolution:
            raise UserError(
                f"first_resolution is {first}, but CAMPARI's discriminator needs a power of two from {LEAST_SIDE} to "
                f"its resolution, {config.resolution}; change --pipeline.discriminator.first-resolution."
            )
        channels = {
            side: min(config.max_channels, max(1, config.base_channels * REFERENCE_SIDE // side)) for side in sides
        }
        super().__init__(
            config,
            adapters={
                side: nn.Sequential(CoordConv2d(3, channels[side], 1), nn.LeakyReLU(LEAKY_SLOPE))
                for side in sides
                if side >= first
            },
            blocks={side: _ResidualBlock(channels[side], channels[side // 2]) for side in sides[:-1]},
        )
        self.first_resolution = first
        self.head = CoordConv2d(channels[LAST_SIDE], 1, LAST_SIDE)

    def halve_images(self, images: Float[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch 3 half half"]:
        """The images on a regular grid of half the side from corner to corner, interpolated, as published."""
        half = images.shape[-1] // 2
        return functional.interpolate(images, size=(half, half), mode="bilinear", align_corners=True)

    def forward(self, images: Float[Tensor, "batch 3 height width"], fade: float = 1.0) -> DiscriminatorOutput:
        """Scores of the images.

        Args:
            images: in [-1, 1].
            fade: weight in [0, 1] of the stage that belongs to this image size against the next smaller one; without
                effect at the first size.
        """
        first, side = self.first_resolution, images.shape[-1]
        if side < first:
            raise UserError(
                f"the pictures are {side} pixels wide, but this discriminator starts at {first}; set "
                f"--pipeline.discriminator.first-resolution {side}, or start with larger pictures."
            )
        return DiscriminatorOutput(score=self.head(self.features(images, fade)).flatten())

    def load_authors_weights(self, state: Mapping[str, Tensor]) -> None:
        """Loads the state dict of the released discriminator "CoordPG2", strictly.

        Raises:
            UserError: where a name is not one of the released network.
            RuntimeError: the released network has other sizes.
        """
        self.load_state_dict(convert_released_state(state))


class _ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions, averaged to half the side, plus a 1 x 1 convolution of every second pixel."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first = CoordConv2d(in_channels, out_channels, 3, padding=1)
        self.second = CoordConv2d(out_channels, out_channels, 3, padding=1)
        self.skip = CoordConv2d(in_channels, out_channels, 1, stride=2)

    def forward(self, features: Tensor) -> Tensor:
        main = functional.leaky_relu(self.first(features), LEAKY_SLOPE)
        main = functional.leaky_relu(self.second(main), LEAKY_SLOPE)
        return functional.avg_pool2d(main, 2) + self.skip(features)


_RELEASED_NAMES = (
    (re.compile(r"net\.(\d+)\.net\.0\.conv\.(weight|bias)"), "blocks.{side}.first.{parameter}"),
    (re.compile(r"net\.(\d+)\.net\.2\.conv\.(weight|bias)"), "blocks.{side}.second.{parameter}"),
    (re.compile(r"net\.(\d+)\.res\.conv\.(weight|bias)"), "blocks.{side}.skip.{parameter}"),
    (re.compile(r"n_pg_mappings\.(\d+)\.conv\.(weight|bias)"), "from_rgb.{side}.0.{parameter}"),
    (re.compile(r"conv_out()\.conv\.(weight|bias)"), "head.{parameter}"),
)


def convert_released_state(released: Mapping[str, Tensor]) -> Dict[str, Tensor]:
    """The state dict of a CoordResidualDiscriminator of the same size from one of the released discriminators.

    The original counts its blocks from the largest pictures on, whose side follows from their number.

    Args:
        released: the authors' state dict; the tensors are shared, not copied.

    Raises:
        UserError: where a name is not one of the released network.
    """
    state = {name.removeprefix("module."): tensor for name, tensor in released.items()}
    blocks = {name.split(".")[1] for name in state if name.startswith("net.")}
    converted = {}
    for name, tensor in state.items():
        matches = ((pattern.fullmatch(name), template) for pattern, template in _RELEASED_NAMES)
        found = next(((match, template) for match, template in matches if match), None)
        if found is None:
            raise UserError(f"{name!r} is no weight of CAMPARI's published discriminator; is this its file?")
        match, template = found
        side = LAST_SIDE << len(blocks) >> int(match[1] or 0)
        converted[template.format(side=side, parameter=match[2])] = tensor
    return converted
