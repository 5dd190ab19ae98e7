"""GIRAFFE's discriminator: strided convolutions and nothing else (after DCGAN, Radford et al. 2016)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Optional, Type

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from gan3d_ns.discriminators.base import Discriminator, DiscriminatorConfig, DiscriminatorOutput, is_power_of_two
from gan3d_ns.errors import UserError

LEAKY_SLOPE = 0.2
LAST_SIDE = 4
LEAST_SIDE = 16


@dataclass
class DCDiscriminatorConfig(DiscriminatorConfig):
    """Sizes of GIRAFFE's discriminator."""

    _target: Type = field(default_factory=lambda: DCDiscriminator)
    """target class to instantiate"""
    resolution: int = 64
    """Side of the pictures in pixels, the only one that is taken; a power of two from 16 on (published: 64, 256)."""
    last_channels: int = 512
    """Channels at a side of 4 pixels; they halve with each doubling of the side. 64 or so trains on a CPU."""


class DCDiscriminator(Discriminator):
    """Halves the side by 4x4 convolutions down to 4 pixels, whose joint score is the answer (GIRAFFE, released code).

    No normalisation, no biases, no pose estimate. The original looks at colours in [0, 1], and so does this network,
    inside: penalties on its slope are taken with respect to pictures in [-1, 1], see `losses.r1_penalty`, so that the
    published R1 of 10 E|grad|^2 is an r1_weight of 80.

    Args:
        config: sizes.
        pose_centre: taken for the sake of other discriminators; unused.

    Raises:
        UserError: the resolution is no power of two from 16 on; in `forward`, where pictures have another size.
    """

    def __init__(self, config: DCDiscriminatorConfig, pose_centre: Optional[Float[Tensor, "2"]] = None) -> None:
        super().__init__(config)
        if not is_power_of_two(config.resolution) or config.resolution < LEAST_SIDE:
            raise UserError(
                f"resolution is {config.resolution}, but GIRAFFE's discriminator needs a power of two from "
                f"{LEAST_SIDE} on; change --pipeline.discriminator.resolution."
            )
        widths, side = [config.last_channels], 2 * LAST_SIDE
        while side < config.resolution:
            widths.insert(0, max(1, widths[0] // 2))
            side *= 2
        self.blocks = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False)
            for inputs, outputs in zip([3, *widths[:-1]], widths, strict=True)
        )
        self.conv_out = nn.Conv2d(config.last_channels, 1, LAST_SIDE, bias=False)

    def forward(self, images: Float[Tensor, "batch 3 height width"], fade: float = 1.0) -> DiscriminatorOutput:
        """Scores of the pictures.

        Args:
            images: in [-1, 1].
            fade: without effect, since there is one size.
        """
        side = self.config.resolution
        if images.shape[-2:] != (side, side):
            raise UserError(
                f"the pictures are {images.shape[-2]} x {images.shape[-1]} pixels, but this discriminator takes "
                f"{side} x {side} alone; set --pipeline.discriminator.resolution to the pictures' side."
            )
        hidden = 0.5 * images + 0.5
        for block in self.blocks:
            hidden = functional.leaky_relu(block(hidden), LEAKY_SLOPE)
        return DiscriminatorOutput(score=self.conv_out(hidden).flatten())

    def load_authors_weights(self, state: Mapping[str, Tensor]) -> None:
        """Loads the state dict of the released discriminator, whose names are ours, strictly.

        Raises:
            RuntimeError: names or shapes do not fit this discriminator.
        """
        self.load_state_dict({name.removeprefix("module."): tensor for name, tensor in state.items()})
