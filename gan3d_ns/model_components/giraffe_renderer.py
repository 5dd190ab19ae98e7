"""GIRAFFE's neural renderer: a feature image to a picture, doubled in size block by block (GIRAFFE, section 3.4)."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional, Type, Union

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gan3d_ns.field_components.picture_randomness import Randomness
from gan3d_ns.model_components.neural_renderers import NeuralRenderer, NeuralRendererConfig, doubled_sides

LEAKY_SLOPE = 0.2
BLUR = (0.25, 0.5, 0.25)
"""Binomial weights across a row and down a column."""


@dataclass
class GiraffeRendererConfig(NeuralRendererConfig):
    """Sizes of the renderer."""

    _target: Type = field(default_factory=lambda: GiraffeRenderer)
    """target class to instantiate"""
    feature_dim: int = 128
    """Channels of the field's features."""
    ray_side: int = 16
    """Rays along each side of a picture; each becomes resolution / ray_side pixels a side."""
    resolution: int = 64
    """Side of the largest pictures, in pixels: ray_side times a power of two."""
    min_channels: int = 32
    """Channels halve with each doubling, down to this."""
    aligned: bool = True
    """Rays stand at the middle of the pixels that their feature becomes, so that geometry lies over the picture. As
    published they span the frame up to its borders."""

    @property
    def picture_sides(self) -> "tuple[int, ...]":
        return doubled_sides(self.ray_side, self.resolution)


class GiraffeRenderer(NeuralRenderer):
    """(GIRAFFE, figure 4; released code, neural_renderer.)

    Each block doubles the feature image (nearest neighbour), convolves it and adds a convolution of the result to the
    colours so far, which are doubled as well (bilinear, then blurred): skip connections to colour, whose sum ends in a
    sigmoid.

    Args:
        config: sizes.
    """

    def __init__(self, config: GiraffeRendererConfig) -> None:
        super().__init__(config.feature_dim, config.ray_side, config.resolution, config.aligned)
        self.config = config
        channels = [config.feature_dim]
        for _ in range(self.most_doublings):
            channels.append(max(config.min_channels, channels[-1] // 2))
        self.blocks = nn.ModuleList(
            nn.Conv2d(wide, narrow, 3, padding=1) for wide, narrow in itertools.pairwise(channels)
        )
        self.to_rgb = nn.ModuleList(nn.Conv2d(width, 3, 3, padding=1) for width in channels)

    def forward(
        self, features: Float[Tensor, "view channel row column"], styles: Any, jitter: Optional[Randomness] = None
    ) -> Float[Tensor, "view 3 rows columns"]:
        """The picture in [0, 1]; ``styles`` and ``jitter`` have no say in it."""
        rgb = self.to_rgb[0](features)
        for index in range(int(self.doublings)):
            features = F.leaky_relu(self.blocks[index](F.interpolate(features, scale_factor=2.0)), LEAKY_SLOPE)
            rgb = doubled_colours(rgb) + self.share_of(index) * self.to_rgb[index + 1](features)
        return torch.sigmoid(rgb)

    def ray_colours(self, features: Float[Tensor, "view ray channel"], styles: Any) -> Float[Tensor, "view ray 3"]:
        """The colour in [0, 1] of a picture that shows a ray's feature everywhere, away from its borders.

        There every tap of a kernel sees the same, so that a convolution is a product with its summed kernel.
        """
        rgb = of_constant(self.to_rgb[0], features)
        for index in range(int(self.doublings)):
            features = F.leaky_relu(of_constant(self.blocks[index], features), LEAKY_SLOPE)
            rgb = rgb + self.share_of(index) * of_constant(self.to_rgb[index + 1], features)
        return torch.sigmoid(rgb)

    def share_of(self, index: int) -> Union[Float[Tensor, ""], float]:
        """How far the colours of a block are heard: the last one may be fading in."""
        return self.fade if index == int(self.doublings) - 1 else 1.0


def doubled_colours(rgb: Float[Tensor, "batch 3 row column"]) -> Float[Tensor, "batch 3 rows columns"]:
    """Twice the size: bilinear between pixel middles, then a 3 x 3 binomial blur that mirrors at the borders."""
    rgb = F.interpolate(rgb, scale_factor=2.0, mode="bilinear", align_corners=False)
    taps = rgb.new_tensor(BLUR)
    kernel = (taps[:, None] * taps).expand(3, 1, 3, 3)
    return F.conv2d(F.pad(rgb, (1, 1, 1, 1), mode="reflect"), kernel, groups=3)


def of_constant(layer: nn.Module, features: Float[Tensor, "*batch channel"]) -> Float[Tensor, "*batch out"]:
    """What a convolution makes of an image that is the same everywhere, away from its borders."""
    assert isinstance(layer, nn.Conv2d)
    return F.linear(features, layer.weight.sum(dim=(-2, -1)), layer.bias)


AUTHORS_NAMES = {"conv_layers": "blocks", "conv_rgb": "to_rgb"}
"""Layers of the released renderer under our names."""


def translate_renderer_name(name: str) -> str:
    """Our parameter name for one of GIRAFFE's renderer (without its prefix); unknown names are returned as they are."""
    layer, _, rest = name.partition(".")
    return f"{AUTHORS_NAMES.get(layer, layer)}.{rest}"


def load_giraffe_renderer(renderer: GiraffeRenderer, state: Mapping[str, Tensor]) -> None:
    """Loads the state dict of the released renderer; its blur, a constant, is left out.

    Raises:
        RuntimeError: names or shapes do not fit.
    """
    own = dict(renderer.named_buffers())
    taken = {translate_renderer_name(name): value for name, value in state.items() if not name.startswith("upsample")}
    renderer.load_state_dict({**own, **taken})
