"""StyleGAN2's residual discriminator with the growing stages of VolumeGAN's release."""

import math
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
    sides_down_to,
)
from gan3d_ns.discriminators.batch_deviation import append_batch_deviation
from gan3d_ns.errors import UserError
from gan3d_ns.field_components.style_layers import (
    EqualisedConv2d,
    EqualisedLinear,
    fir_downsample2d,
    fir_filter2d,
)

LEAKY_SLOPE = 0.2
GAIN = math.sqrt(2.0)
"""Factor after each leaky ReLU, which keeps the variance."""
LAST_SIDE = 4
REFERENCE_SIDE = 32


@dataclass
class StyleDiscriminatorConfig(DiscriminatorConfig):
    """Sizes of StyleGAN2's discriminator; the defaults are VolumeGAN's. Its learning rates are equalised."""

    _target: Type = field(default_factory=lambda: StyleDiscriminator)
    """target class to instantiate"""
    grows: ClassVar[bool] = True
    """Each side has an adapter of its own, which fades in."""
    resolution: int = 256
    """Side of the largest pictures, in pixels; a power of two. Smaller ones from 8 on are accepted as they are."""
    base_channels: int = 1024
    """Channels at a side of 32 pixels, before the limit; they halve with each doubling of the side and double with each
    halving. 16 or so trains on a CPU."""
    max_channels: int = 512
    """Upper limit of the channels."""
    deviation_group: int = 4
    """The most images that are compared with each other for the batch statistic."""


class StyleDiscriminator(StagedDiscriminator):
    """Residual blocks halved by a FIR filter, then a batch statistic (StyleGAN2, sections 4 and 4.1; VolumeGAN).

    The stages are those of VolumeGAN's release: its level of detail l stands for pictures of the side
    resolution / 2^floor(l) with the fade 1 - (l - floor(l)). Published weights are kept at unit variance and scaled at
    run time, biases start at 0; there is no pose estimate. What is left out is for half precision: the clamp of the
    convolutions at 256.

    Args:
        config: sizes.
        pose_centre: taken for the sake of other discriminators; unused.

    Raises:
        UserError: where the resolution is no power of two from 8 on, or a group has no image; in `forward`, where
            pictures have another side than the stages.
    """

    def __init__(self, config: StyleDiscriminatorConfig, pose_centre: Optional[Float[Tensor, "2"]] = None) -> None:
        sides = sides_down_to(config.resolution, last=LAST_SIDE, least=2 * LAST_SIDE)
        if config.deviation_group < 1:
            raise UserError(
                f"deviation_group is {config.deviation_group}, but a group needs an image; set "
                "--pipeline.discriminator.deviation-group to 1 (no comparison) or more."
            )
        channels = {
            side: min(config.max_channels, max(1, config.base_channels * REFERENCE_SIDE // side)) for side in sides
        }
        super().__init__(
            config,
            adapters={side: _Adapter(channels[side]) for side in sides},
            blocks={side: _ResidualBlock(channels[side], channels[side // 2]) for side in sides[:-1]},
        )
        self.deviation_group = config.deviation_group
        last = channels[LAST_SIDE]
        self.joint = EqualisedConv2d(last + 1, last, 3)
        self.dense = EqualisedLinear(last * LAST_SIDE**2, last)
        self.head = EqualisedLinear(last, 1)

    def forward(self, images: Float[Tensor, "batch 3 height width"], fade: float = 1.0) -> DiscriminatorOutput:
        """Scores of the images.

        Args:
            images: in [-1, 1]; all real or all generated, because the batch statistic mixes them.
            fade: weight in [0, 1] of the stage that belongs to this image size against the next smaller one.
        """
        hidden = append_batch_deviation(self.features(images, fade), self.deviation_group, self.shared_batch)
        hidden = _activated(self.joint(hidden))
        hidden = _activated(self.dense(hidden.flatten(1)))
        return DiscriminatorOutput(score=self.head(hidden).flatten())

    def load_authors_weights(self, state: Mapping[str, Tensor]) -> None:
        """Loads the state dict of VolumeGAN's released discriminator, strictly.

        Raises:
            UserError: where a name is not one of the released network.
            RuntimeError: the released network has other sizes.
        """
        self.load_state_dict(convert_released_state(state))


def _activated(features: Tensor) -> Tensor:
    return functional.leaky_relu(features, LEAKY_SLOPE) * GAIN


class _Adapter(nn.Module):
    """A 1 x 1 convolution of the colours, activated."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = EqualisedConv2d(3, channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        return _activated(self.convolution(images))


class _ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions, the second at half the side, beside a 1 x 1 skip; the sum over the root of two."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first = EqualisedConv2d(in_channels, in_channels, 3)
        self.second = EqualisedConv2d(in_channels, out_channels, 3, stride=2, padding=0)
        self.skip = EqualisedConv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        # The filter comes before the stride; a margin of two serves its four taps and the kernel of three.
        main = _activated(self.second(fir_filter2d(_activated(self.first(features)), padding=(2, 2))))
        return (main + self.skip(fir_downsample2d(features))) / math.sqrt(2.0)


_TOWER_NAME = re.compile(r"(input|layer|residual)(\d+)\.(weight|bias)")
_OUTPUT_NAME = re.compile(r"output\.(weight|bias)")
_CONSTANT_NAME = re.compile(r"lod|(layer|residual)\d+\.filter")
"""The progress of training, which our trainer counts itself, and the filters, which are constants here."""


def convert_released_state(released: Mapping[str, Tensor]) -> Dict[str, Tensor]:
    """The state dict of a StyleDiscriminator of the same size from VolumeGAN's released discriminator.

    The original counts inputs, layers and residuals from the largest pictures on, whose side follows from their number.

    Args:
        released: the authors' state dict; the tensors are shared, not copied.

    Raises:
        UserError: where a name is not one of the released network.
    """
    state = {name.removeprefix("module."): tensor for name, tensor in released.items()}
    blocks = sum(name.startswith("residual") and name.endswith(".weight") for name in state)
    converted = {}
    for name, tensor in state.items():
        if _CONSTANT_NAME.fullmatch(name):
            continue
        if match := _OUTPUT_NAME.fullmatch(name):
            converted[f"head.{match[1]}"] = tensor
        elif match := _TOWER_NAME.fullmatch(name):
            converted[f"{_place(match[1], int(match[2]), blocks)}.{match[3]}"] = tensor
        else:
            raise UserError(f"{name!r} is no weight of VolumeGAN's published discriminator; is this its file?")
    return converted


def _place(kind: str, index: int, blocks: int) -> str:
    """Where our network has the original's input, layer or residual of this index."""
    if kind == "layer" and index >= 2 * blocks:
        return ("joint", "dense")[min(index - 2 * blocks, 1)]
    block, second = divmod(index, 2) if kind == "layer" else (index, 0)
    side = LAST_SIDE << blocks >> block
    if kind == "input":
        return f"from_rgb.{side}.convolution"
    return f"blocks.{side}." + ("skip" if kind == "residual" else ("first", "second")[second])
