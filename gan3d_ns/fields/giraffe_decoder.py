"""GIRAFFE's decoder: a point, a view direction and two codes to a density and a feature (GIRAFFE, section 3.1)."""

from dataclasses import dataclass, field
from typing import Dict, Tuple, Type

import torch
import torch.nn.functional as F
from jaxtyping import Float
from nerfstudio.configs.base_config import InstantiateConfig
from torch import Tensor, nn

from gan3d_ns.errors import UserError
from gan3d_ns.field_components.frequency_encoding import wave_encoding
from gan3d_ns.fields.base_field import Styles


@dataclass
class GiraffeDecoderConfig(InstantiateConfig):
    """Sizes of the network of one kind of thing: of all objects, or of the background."""

    _target: Type = field(default_factory=lambda: GiraffeDecoder)
    shape_dim: int = 256
    """Length of the code that density and feature see."""
    appearance_dim: int = 256
    """Length of the code that the feature alone sees."""
    hidden_dim: int = 128
    """Width of the layers."""
    num_layers: int = 8
    """Layers before the density, the first one included."""
    skip_layers: Tuple[int, ...] = (4,)
    """After these layers, the first one being 0, the encoded position and the shape code are added again."""
    input_scale: float = 2.0
    """Positions are divided by this before they are encoded, so that they stay within one period: 2 for boxes of
    [-1, 1], 12 for the space of a background. View directions are divided by it as well, as released."""
    position_octaves: int = 10
    """Octaves of the encoded position: each doubles the finest detail."""
    direction_octaves: int = 4
    """Octaves of the encoded view direction; 0: features do not depend on it."""

    def __post_init__(self) -> None:
        if min(self.shape_dim, self.appearance_dim, self.hidden_dim, self.num_layers, self.position_octaves) < 1:
            raise UserError(
                f"a decoder needs codes, a width, layers and octaves of 1 at least, got {self.shape_dim} + "
                f"{self.appearance_dim}, {self.hidden_dim}, {self.num_layers} and {self.position_octaves}."
            )
        misplaced = [layer for layer in self.skip_layers if not 1 <= layer < self.num_layers - 1]
        if misplaced:
            raise UserError(
                f"skip_layers are {self.skip_layers}, but only layers 1 to {self.num_layers - 2} can have one; leave "
                f"out {misplaced[0]}."
            )


@dataclass(frozen=True)
class DecoderStyles(Styles):
    """What codes add to the layers that see them, biases included: a matrix product for each thing, not each point."""

    first: Float[Tensor, "*things hidden"]
    skips: Float[Tensor, "*things skip hidden"]
    """Of the layers after which the input joins again."""
    feature: Float[Tensor, "*things hidden"]
    """Of the feature branch, by the appearance code."""


class GiraffeDecoder(nn.Module):
    """(GIRAFFE, section 3.1; released code, decoder.) Without biases written out, gamma the encoding:

        h = relu(W gamma(p) + V z_s), then ReLU layers, with W' gamma(p) + V' z_s added after some of them;
        density = w h;  feature = U relu(A h + B z_a + C gamma(d)).

    Args:
        config: sizes.
        feature_dim: length of the feature.
    """

    def __init__(self, config: GiraffeDecoderConfig, feature_dim: int) -> None:
        super().__init__()
        self.config = config
        hidden, position = config.hidden_dim, 6 * config.position_octaves
        self.position_in = nn.Linear(position, hidden)
        self.shape_in = nn.Linear(config.shape_dim, hidden)
        self.layers = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(config.num_layers - 1))
        self.skip_shapes = nn.ModuleList(nn.Linear(config.shape_dim, hidden) for _ in config.skip_layers)
        self.skip_positions = nn.ModuleList(nn.Linear(position, hidden) for _ in config.skip_layers)
        self.density_head = nn.Linear(hidden, 1)
        self.feature_in = nn.Linear(hidden, hidden)
        self.appearance_in = nn.Linear(config.appearance_dim, hidden)
        if config.direction_octaves > 0:
            self.direction_in = nn.Linear(6 * config.direction_octaves, hidden)
        self.feature_head = nn.Linear(hidden, feature_dim)

    def condition(
        self, shapes: Float[Tensor, "*things shape"], appearances: Float[Tensor, "*things appearance"]
    ) -> DecoderStyles:
        """What the codes of some things add to the layers."""
        skips = [
            layer(shapes) + of_position.bias
            for layer, of_position in zip(self.skip_shapes, self.skip_positions, strict=True)
        ]
        first = self.shape_in(shapes) + self.position_in.bias
        constant = self.feature_in.bias
        if self.config.direction_octaves > 0:
            constant = constant + self.direction_in.bias
        return DecoderStyles(
            first=first,
            skips=torch.stack(skips, dim=-2) if skips else first[..., None, :][..., :0, :],
            feature=self.appearance_in(appearances) + constant,
        )

    def hidden(
        self,
        positions: Float[Tensor, "*points 3"],
        first: Float[Tensor, "*#points hidden"],
        skips: Float[Tensor, "*#points skip hidden"],
    ) -> Float[Tensor, "*points hidden"]:
        """Features after the last layer, at positions in the frame of the thing."""
        config = self.config
        encoded = wave_encoding(positions / config.input_scale, config.position_octaves)
        hidden = torch.relu(F.linear(encoded, self.position_in.weight) + first)
        for index, layer in enumerate(self.layers, start=1):
            hidden = torch.relu(layer(hidden))
            if index in config.skip_layers:
                skip = config.skip_layers.index(index)
                weight: Tensor = self.skip_positions[skip].weight  # pyright: ignore[reportAssignmentType]
                hidden = hidden + F.linear(encoded, weight) + skips[..., skip, :]
        return hidden

    def densities(self, hidden: Float[Tensor, "*points hidden"]) -> Float[Tensor, "*points"]:
        """Densities before their activation."""
        return self.density_head(hidden).squeeze(-1)

    def features(
        self,
        hidden: Float[Tensor, "*points hidden"],
        directions: Float[Tensor, "*points 3"],
        feature: Float[Tensor, "*#points hidden"],
    ) -> Float[Tensor, "*points feature"]:
        """Features, without an activation; directions of any length in the frame of the thing."""
        config = self.config
        branch = F.linear(hidden, self.feature_in.weight) + feature
        if config.direction_octaves > 0:
            units = F.normalize(directions, dim=-1) / config.input_scale
            branch = branch + F.linear(wave_encoding(units, config.direction_octaves), self.direction_in.weight)
        return self.feature_head(torch.relu(branch))


AUTHORS_NAMES: Dict[str, str] = {
    "fc_in": "position_in",
    "fc_z": "shape_in",
    "blocks": "layers",
    "fc_z_skips": "skip_shapes",
    "fc_p_skips": "skip_positions",
    "sigma_out": "density_head",
    "feat_view": "feature_in",
    "fc_z_view": "appearance_in",
    "fc_view": "direction_in",
    "feat_out": "feature_head",
}
"""Layers of the released decoder under our names."""
