"""VolumeGAN's textural representation: a feature image becomes the picture by style-modulated 1x1 convolutions."""

import math
from dataclasses import dataclass, field
from typing import Any, Dict, Literal, Optional, Type

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gan3d_ns.errors import UserError
from gan3d_ns.field_components.modulated import EqualisedModulatedLinear
from gan3d_ns.field_components.picture_randomness import Randomness, random_normals
from gan3d_ns.field_components.style_layers import EqualisedLinear, fir_upsample2d
from gan3d_ns.model_components.neural_renderers import NeuralRenderer, NeuralRendererConfig, doubled_sides

RELU_GAIN = math.sqrt(2.0)
COLOURS = 3


@dataclass
class StyleRendererConfig(NeuralRendererConfig):
    """StyleGAN2's synthesis with 1x1 kernels: pixels meet only where features are doubled."""

    _target: Type = field(default_factory=lambda: StyleRenderer)
    """target class to instantiate"""
    feature_dim: int = 512
    """Channels of the feature image; those of the field's features."""
    code_dim: int = 512
    """Length of the codes; those of the field."""
    ray_side: int = 32
    """Rays along each side of the feature image. More show geometry in more detail, at their square in cost."""
    resolution: int = 256
    """Side of the largest pictures, the ray side times a power of two."""
    channels_times_side: int = 32768
    """Channels of a stage are this over its side, and at most `max_channels`."""
    max_channels: int = 512
    """Channels of the smallest stages."""
    base_rgb: Literal["features", "layer"] = "features"
    """The picture that the stages add to. features: the feature image's first three channels, as released. layer: what
    a 1x1 convolution makes of all of them."""
    colour_gain: float = 1.0
    """Scale of the stages' first colours. Small ones begin with the base picture, in which a white background is
    white: short trainings then need not learn that."""
    rate: float = 1.0
    """Factor of the learning rates; 1 as released, which wants long trainings."""
    aligned: bool = True
    """Let rays go through the middles of the pixels that their features become, so that picture and geometry lie over
    each other. False: from border to border of the frame, as released."""

    faded_borders: bool = False
    """Count what lies outside of the picture as 0 where features and colours are doubled, as released: borders fade.
    False: the outermost pixels go on."""

    def __post_init__(self) -> None:
        if min(self.feature_dim, self.code_dim, self.max_channels) < COLOURS:
            raise UserError(
                f"the neural renderer needs features, codes and channels of 3 numbers at least, got "
                f"{self.feature_dim}, {self.code_dim} and {self.max_channels}."
            )
        if self.channels_times_side < COLOURS * self.resolution:
            raise UserError(
                f"channels_times_side is {self.channels_times_side}, which leaves pictures of {self.resolution} pixels "
                f"fewer than 3 channels; raise it to {COLOURS * self.resolution} at least."
            )

    @property
    def sides(self) -> "tuple[int, ...]":
        """Sides of the pictures after each stage, in pixels."""
        return self.picture_sides[1:]

    @property
    def picture_sides(self) -> "tuple[int, ...]":
        return doubled_sides(self.ray_side, self.resolution)

    @property
    def style_layers(self) -> "tuple[str, ...]":
        """Two layers a stage and, behind them all, the picture's colours."""
        layers = (f"{side}x{side} {name}" for side in self.sides for name in ("first", "second"))
        return (*layers, "picture") if self.sides else ()


class NoisyLayer(EqualisedModulatedLinear):
    """A styled layer that also adds spatial noise, of a strength that is learnt from 0."""

    def __init__(self, in_features: int, out_features: int, code_dim: int, rate: float) -> None:
        super().__init__(in_features, out_features, code_dim, rate=rate)
        self.noise_strength = nn.Parameter(torch.zeros(()))


class StyleStage(nn.Module):
    """One doubling: two styled layers, the first before the doubling, and the colours that they add.

    Codes are those of (first layer, second layer, colours), the last of which the next stage's first layer shares.
    """

    def __init__(self, in_channels: int, out_channels: int, code_dim: int, rate: float) -> None:
        super().__init__()
        self.first = NoisyLayer(in_channels, out_channels, code_dim, rate)
        self.second = NoisyLayer(out_channels, out_channels, code_dim, rate)
        self.colour = EqualisedModulatedLinear(out_channels, COLOURS, code_dim, demodulate=False, rate=rate)


class StyleRenderer(NeuralRenderer):
    """(VolumeGAN, section 3.3; released code.) Stages of modulated 1x1 convolutions, whose colours are added up.

    A stage doubles the features after its first product, and the colours so far, with StyleGAN2's FIR filter, which is
    bilinear interpolation but for its fading borders. The pictures in [-1, 1] are moved to [0, 1]; as in the release,
    nothing keeps them inside while training.
    """

    def __init__(self, config: StyleRendererConfig) -> None:
        super().__init__(config.feature_dim, config.ray_side, config.resolution, config.aligned)
        self.config = config
        widths = [min(config.max_channels, config.channels_times_side // side) for side in config.sides]
        self.base: Optional[EqualisedLinear] = None
        if config.base_rgb == "layer":
            self.base = EqualisedLinear(config.feature_dim, COLOURS, rate=config.rate)
        self.stages = nn.ModuleList(
            StyleStage(fan_in, width, config.code_dim, config.rate)
            for fan_in, width in zip([config.feature_dim, *widths], widths, strict=False)
        )
        with torch.no_grad():
            for stage in self.stages:
                stage.colour.weight.mul_(config.colour_gain)  # pyright: ignore
        self.style_layers = config.style_layers

    def base_colours(self, features: Float[Tensor, "view ray channel"]) -> Float[Tensor, "view ray 3"]:
        """The picture before any stage, in [-1, 1]."""
        return features[..., :COLOURS] if self.base is None else self.base(features)

    def spatial_noise(self, like: Float[Tensor, "view channel row column"], jitter: Randomness) -> Tensor:
        """A random image for each view, the same for all channels."""
        count, _, rows, columns = like.shape
        return random_normals((count, 1, rows, columns), jitter, like.device)

    def forward(
        self,
        features: Float[Tensor, "view channel row column"],
        styles: Any,
        jitter: Optional[Randomness] = None,
    ) -> Float[Tensor, "view 3 rows columns"]:
        """Pictures, nominally in [0, 1]; see the base class. Without ``jitter`` they are clipped to that range."""
        signed = self.signed_pictures(features, styles.renderer_codes, jitter)
        pictures = signed / 2.0 + 0.5
        return pictures if jitter is not None else pictures.clamp(0.0, 1.0)

    def signed_pictures(
        self,
        features: Float[Tensor, "view channel row column"],
        codes: Float[Tensor, "view layer code"],
        jitter: Optional[Randomness] = None,
    ) -> Float[Tensor, "view 3 rows columns"]:
        """Pictures as the release makes them, nominally in [-1, 1]."""

        def product(matrix: Tensor, image: Tensor) -> Tensor:
            return (matrix.transpose(1, 2) @ image.flatten(2)).unflatten(2, image.shape[2:])

        def activated(image: Tensor, bias: Tensor, strength: Tensor) -> Tensor:
            if jitter is not None:
                image = image + strength * self.spatial_noise(image, jitter)
            return F.leaky_relu(image + bias[..., None, None], 0.2) * RELU_GAIN

        rows = features.shape[-2]
        colours = self.base_colours(features.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, (rows, -1))
        before = colours
        for index in range(int(self.doublings)):
            stage: StyleStage = self.stages[index]  # pyright: ignore[reportAssignmentType]
            (first, first_bias), (second, second_bias), (third, bias) = self.stage_weights(stage, index, codes)
            features = activated(self.doubled(product(first, features)), first_bias, stage.first.noise_strength)
            features = activated(product(second, features), second_bias, stage.second.noise_strength)
            before = colours
            colours = self.doubled(colours) + product(third, features) + bias[..., None, None]
        if self.fading:
            repeated = F.interpolate(before, scale_factor=2.0, mode="nearest")
            colours = repeated + self.fade * (colours - repeated)
        return colours

    def doubled(
        self, image: Float[Tensor, "view channel row column"]
    ) -> Float[Tensor, "view channel double_row double_column"]:
        """The image at twice its side: bilinear between the middles of pixels."""
        if self.config.faded_borders:
            return fir_upsample2d(image)
        return F.interpolate(image, scale_factor=2.0, mode="bilinear", align_corners=False)

    @property
    def fading(self) -> bool:
        """Whether the last stage has not yet its full weight."""
        return bool(self.fade < 1.0) and int(self.doublings) > 0

    def stage_weights(
        self, stage: StyleStage, index: int, codes: Float[Tensor, "view layer code"]
    ) -> "tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], tuple[Tensor, Tensor]]":
        """Weights and biases of a stage's two layers and of its colours, for each view."""
        first, second, colour = codes[:, 2 * index : 2 * index + 3].unbind(dim=1)
        return stage.first(first), stage.second(second), stage.colour(colour)

    def ray_colours(self, features: Float[Tensor, "view ray channel"], styles: Any) -> Float[Tensor, "view ray 3"]:
        """See the base class: the same layers, without doubling and noise; clipped to [0, 1]."""

        def activated(values: Tensor, weights: "tuple[Tensor, Tensor]") -> Tensor:
            matrix, bias = weights
            return F.leaky_relu(values @ matrix + bias[:, None], 0.2) * RELU_GAIN

        colours = before = self.base_colours(features)
        for index in range(int(self.doublings)):
            stage: StyleStage = self.stages[index]  # pyright: ignore[reportAssignmentType]
            first, second, (matrix, bias) = self.stage_weights(stage, index, styles.renderer_codes)
            features = activated(activated(features, first), second)
            before, colours = colours, colours + features @ matrix + bias[:, None]
        if self.fading:
            colours = before + self.fade * (colours - before)
        return (colours / 2.0 + 0.5).clamp(0.0, 1.0)

    def load_authors_weights(self, state: Dict[str, Tensor]) -> None:
        """Loads what belongs to the renderer from a generator state dict of the release, strictly.

        The release's level of detail, where it is there, says how far it has grown. Its stored noise is left out:
        pictures here have fresh noise while training and none afterwards.

        Raises:
            RuntimeError: names or shapes do not fit this renderer.
        """
        halvings = float(state.get("synthesis.lod", torch.zeros(())))
        self.doublings.fill_(self.most_doublings - math.floor(halvings))
        self.fade.fill_(1.0 - (halvings - math.floor(halvings)))
        named = {translate_synthesis_name(name): tensor for name, tensor in state.items()}
        # 1x1 convolutions are matrices here.
        ours = {name: value[:, :, 0, 0] if value.ndim == 4 else value for name, value in named.items() if name}
        self.load_state_dict({"doublings": self.doublings, "fade": self.fade, **ours})


def translate_synthesis_name(name: str) -> Optional[str]:
    """Our parameter name for one of the release's renderer; None for what is no parameter of it."""
    part, _, entry = name.removeprefix("synthesis.").partition(".")
    kind, number = part.rstrip("0123456789"), part.lstrip("abcdefghijklmnopqrstuvwxyz")
    if not name.startswith("synthesis.") or not number or entry in ("noise", "filter"):
        return None
    if kind == "output":
        return f"base.{entry}" if number == "0" else f"stages.{int(number) - 1}.colour.{entry}"
    return f"stages.{(int(number) - 1) // 2}.{'first' if int(number) % 2 else 'second'}.{entry}"
