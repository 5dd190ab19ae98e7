"""GRAF's patch discriminator: strided convolutions with spectral and instance normalisation."""

from dataclasses import dataclass, field
from typing import Dict, List, Optional, Type

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from gan3d_ns.discriminators.base import Discriminator, DiscriminatorConfig, DiscriminatorOutput
from gan3d_ns.errors import UserError

LEAKY_SLOPE = 0.2
LAST_SIDE = 4
SIDES = (16, 32, 64, 128)


@dataclass
class PatchDiscriminatorConfig(DiscriminatorConfig):
    """Sizes of the patch discriminator."""

    _target: Type = field(default_factory=lambda: PatchDiscriminator)
    """target class to instantiate"""
    resolution: int = 32
    """Side of the pictures or patches in pixels, the only one that is taken: 16, 32, 64 or 128."""
    base_channels: int = 64
    """Channels at a side of 32 pixels; they double with each halving of the side, up to eight times as many."""
    instance_norm: bool = True
    """Remove each patch's contrast, as published; off lets small patches also be judged by their colours."""


class PatchDiscriminator(Discriminator):
    """Halves the side by 4x4 convolutions down to 4 pixels, whose joint score is the answer (GRAF, released code).

    Instance normalisation removes each patch's contrast, so that the score is about structure; the scale of the patch
    is not told. 16 pixels are an addition in the same spirit. There is no pose estimate.

    Args:
        config: sizes.
        pose_centre: taken for the sake of other discriminators; unused.

    Raises:
        UserError: the resolution is none of 16, 32, 64 and 128; in `forward`, where images have another size.
    """

    def __init__(self, config: PatchDiscriminatorConfig, pose_centre: Optional[Float[Tensor, "2"]] = None) -> None:
        super().__init__(config)
        if config.resolution not in SIDES:
            sides = ", ".join(map(str, SIDES))
            raise UserError(
                f"resolution is {config.resolution}, but the patch discriminator is made for {sides} pixels; set "
                "--pipeline.discriminator.resolution and --patches.size to one of them."
            )
        layers: List[nn.Module] = []
        inputs, side = 3, config.resolution
        while side > LAST_SIDE:
            side //= 2
            outputs = max(1, 32 * config.base_channels // side)
            layers.append(spectral_norm(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False)))
            # The layer that a larger patch adds in front has no normalisation.
            if config.instance_norm and (len(layers) > 1 or config.resolution <= 32):
                layers.append(nn.InstanceNorm2d(outputs))
            layers.append(nn.LeakyReLU(LEAKY_SLOPE))
            inputs = outputs
        layers.append(spectral_norm(nn.Conv2d(inputs, 1, LAST_SIDE, bias=False)))
        self.main = nn.Sequential(*layers)

    def forward(self, images: Float[Tensor, "batch 3 height width"], fade: float = 1.0) -> DiscriminatorOutput:
        """Scores of the patches.

        Args:
            images: in [-1, 1].
            fade: without effect, since there is one size.
        """
        side = self.config.resolution
        if images.shape[-2:] != (side, side):
            raise UserError(
                f"the pictures are {images.shape[-2]} x {images.shape[-1]} pixels, but this discriminator takes "
                f"{side} x {side} alone; set --patches.size {side}, or --pipeline.discriminator.resolution to the "
                "pictures' side."
            )
        return DiscriminatorOutput(score=self.main(images).flatten())

    def load_authors_weights(self, state: Dict[str, Tensor]) -> None:
        """Loads the state dict of the released discriminator, whose names are ours, strictly.

        Raises:
            RuntimeError: names or shapes do not fit this discriminator.
        """
        self.load_state_dict({name.removeprefix("module."): tensor for name, tensor in state.items()})
