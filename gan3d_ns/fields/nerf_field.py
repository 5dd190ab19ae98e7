"""GRAF's conditional radiance field: a NeRF whose geometry sees a shape code and whose colour an appearance code."""

import math
from dataclasses import dataclass, field
from typing import Dict, Optional, Type

import torch
import torch.nn.functional as F
from jaxtyping import Float
from nerfstudio.configs.base_config import InstantiateConfig
from torch import Tensor, nn

from gan3d_ns.errors import UserError
from gan3d_ns.field_components.frequency_encoding import encoded_dim, frequency_encoding
from gan3d_ns.field_components.start_shape import StartShape, StartShapeConfig
from gan3d_ns.fields.base_field import GenerativeField, Styles


@dataclass
class NerfFieldConfig(InstantiateConfig):
    """A network of ReLU layers on encoded positions, joined by the halves of the latent."""

    _target: Type = field(default_factory=lambda: NerfField)
    shape_dim: int = 128
    """Length of the latent's first part, which geometry and colour see."""
    appearance_dim: int = 128
    """Length of the latent's second part, which colour alone sees."""
    hidden_dim: int = 256
    """Width of the layers; the colour branch has half of it."""
    num_layers: int = 8
    """Layers before the geometry head."""
    skip_layer: Optional[int] = 4
    """The encoded position and the shape code join again after this layer, counted from 0; None: never."""
    positional_encoding: bool = True
    """Encode positions and directions by sines and cosines; off is the naive NeRF, whose pictures stay blurred."""
    position_octaves: int = 10
    """Octaves of the encoded position: each doubles the finest detail."""
    direction_octaves: int = 4
    """Octaves of the encoded view direction."""
    use_view_directions: bool = True
    """Let colour change with the view; off for collections whose cameras are hardly known (GRAF's birds)."""
    coordinate_scale: float = 10.0
    """Field units in one world unit. GRAF's cameras stand at radius 10, ours at 1."""
    front_azimuth_deg: float = 0.0
    """Azimuth in the field's own frame that is the world's front, in degrees: for weights of the release the middle of
    the training cameras."""
    start_shape: bool = False
    """Begin with the sphere (and backdrop) of `start_shape`, as the tri-plane field; off as published."""

    def __post_init__(self) -> None:
        if min(self.shape_dim, self.appearance_dim, self.hidden_dim // 2, self.num_layers) < 1:
            raise UserError(
                f"a NeRF field needs codes of 1 number, a width of 2 and 1 layer at least, got {self.shape_dim} + "
                f"{self.appearance_dim}, {self.hidden_dim} and {self.num_layers}."
            )
        if self.skip_layer is not None and not 0 <= self.skip_layer < self.num_layers - 1:
            raise UserError(
                f"skip_layer is {self.skip_layer}, but only layers 0 to {self.num_layers - 2} have one after them; "
                "lower it, or set it to None."
            )


@dataclass(frozen=True)
class NerfStyles(Styles):
    """What the codes add to the layers that see them, biases included: a matrix product for each latent, not point."""

    first: Float[Tensor, "batch hidden"]
    skip: Float[Tensor, "batch skip_hidden"]
    """Of the layer after the skip connection; empty without one."""
    colour: Float[Tensor, "batch colour_hidden"]


def world_to_field_rotation(front_azimuth_deg: float) -> Float[Tensor, "3 3"]:
    """The rotation from our world (+y up, front +z) to GRAF's (+z up, azimuth from +x towards +y).

    Our camera angles (pitch, yaw) are GRAF's polar angle pitch and azimuth front + pi/2 - yaw. With the front at
    azimuth 0 the field's (x, y, z) are our (z, x, y).
    """
    sine, cosine = math.sin(math.radians(front_azimuth_deg)), math.cos(math.radians(front_azimuth_deg))
    return torch.tensor([[-sine, 0.0, cosine], [cosine, 0.0, sine], [0.0, 1.0, 0.0]])


class NerfField(GenerativeField):
    """(GRAF, section 3.1 and figure 3; released code, NeRF.)

    [gamma(x), z_s] -> ReLU layers, with the input joined again half way -> geometry value, and a feature that together
    with [gamma(d), z_a] gives the colour. Geometry depends on the shape code alone. The value is a density before its
    activation, in field units: read it with `Density(unit_length=1 / coordinate_scale)`.
    """

    rotation: Float[Tensor, "3 3"]

    def __init__(self, config: NerfFieldConfig, start_shape: Optional[StartShapeConfig] = None) -> None:
        super().__init__()
        self.config = config
        self.latent_dim = self.code_dim = config.shape_dim + config.appearance_dim
        self.latent_parts = {
            "shape": slice(0, config.shape_dim),
            "appearance": slice(config.shape_dim, self.latent_dim),
        }
        self.mapping_network = nn.Identity()
        self.register_buffer("rotation", world_to_field_rotation(config.front_azimuth_deg), persistent=False)
        self.start_shape: Optional[StartShape] = None
        if config.start_shape:
            self.start_shape = (start_shape or StartShapeConfig()).setup()
            self.half_sides = self.start_shape.config.box_half_sides  # pyright: ignore[reportOptionalMemberAccess]

        encoded, hidden = config.position_octaves, config.hidden_dim
        self.position_octaves = encoded if config.positional_encoding else 0
        self.direction_octaves = config.direction_octaves if config.positional_encoding else 0
        self.position_dim = encoded_dim(self.position_octaves)
        entry = self.position_dim + config.shape_dim
        skip = config.skip_layer
        self.trunk = nn.ModuleList(
            nn.Linear(
                entry if index == 0 else hidden + (entry if skip is not None and index == skip + 1 else 0), hidden
            )
            for index in range(config.num_layers)
        )
        self.geometry_head = nn.Linear(hidden, 1)
        self.feature = nn.Linear(hidden, hidden)
        self.direction_dim = encoded_dim(self.direction_octaves) if config.use_view_directions else 0
        self.colour_layer = nn.Linear(hidden + self.direction_dim + config.appearance_dim, hidden // 2)
        self.colour_head = nn.Linear(hidden // 2, 3)

    def release_geometry(self, amount: float) -> None:
        if self.start_shape is not None:
            self.start_shape.geometry_release.fill_(amount)

    def mapping(self, latents: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch code"]:
        """The latents themselves: GRAF has no mapping network."""
        return latents

    def condition(self, codes: Float[Tensor, "batch code"]) -> NerfStyles:
        shape, appearance = (codes[:, self.latent_parts[name]] for name in ("shape", "appearance"))
        position, config = self.position_dim, self.config

        def share_of(layer: nn.Linear, columns: slice, code: Tensor) -> Tensor:
            return F.linear(code, layer.weight[:, columns], layer.bias)

        of_shape = slice(position, position + config.shape_dim)
        skip = codes[:, :0]
        if config.skip_layer is not None:
            skip = share_of(self.trunk[config.skip_layer + 1], of_shape, shape)  # pyright: ignore
        return NerfStyles(
            first=share_of(self.trunk[0], of_shape, shape),  # pyright: ignore
            skip=skip,
            colour=share_of(self.colour_layer, slice(-config.appearance_dim, None), appearance),
        )

    @property
    def style_layers(self) -> tuple[str, ...]:
        """The layers that see a code: of the shape at the entry and after the skip connection, of the appearance."""
        return ("entry", *(() if self.config.skip_layer is None else ("skip",)), "colour")

    def condition_layers(self, codes: Float[Tensor, "layer batch code"]) -> NerfStyles:
        first, skip, colour = (self.condition(code) for code in (codes[0], codes[-2], codes[-1]))
        return NerfStyles(first=first.first, skip=skip.skip, colour=colour.colour)

    def in_field(self, vectors: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points 3"]:
        """World vectors in the field's frame."""
        return vectors @ self.rotation.T.to(vectors.dtype)

    def trunk_features(
        self, positions: Float[Tensor, "batch points 3"], styles: NerfStyles
    ) -> Float[Tensor, "batch points hidden"]:
        """Features after the last trunk layer, at world positions."""
        encoded = frequency_encoding(self.in_field(positions) * self.config.coordinate_scale, self.position_octaves)
        skip, features = self.config.skip_layer, encoded
        for index, layer in enumerate(self.trunk):
            weight: Tensor = layer.weight  # pyright: ignore[reportAssignmentType]
            if index == 0:
                features = F.linear(encoded, weight[:, : self.position_dim]) + styles.first[:, None]
            elif skip is not None and index == skip + 1:
                features = F.linear(features, weight[:, -self.config.hidden_dim :]) + styles.skip[:, None]
                features = features + F.linear(encoded, weight[:, : self.position_dim])
            else:
                features = layer(features)
            features = torch.relu(features)
        return features

    def values(
        self, features: Float[Tensor, "batch points hidden"], positions: Float[Tensor, "batch points 3"]
    ) -> Float[Tensor, "batch points"]:
        """The geometry of trunk features, with the start shape where there is one."""
        values = self.geometry_head(features).squeeze(-1)
        return values if self.start_shape is None else self.start_shape(values, positions)

    def geometry_logits(
        self, positions: Float[Tensor, "batch points 3"], styles: NerfStyles
    ) -> Float[Tensor, "batch points"]:
        return self.values(self.trunk_features(positions, styles), positions)

    def forward(
        self,
        positions: Float[Tensor, "batch points 3"],
        directions: Float[Tensor, "batch points 3"],
        styles: NerfStyles,
    ) -> tuple[Float[Tensor, "batch points"], Float[Tensor, "batch points 3"]]:
        features = self.trunk_features(positions, styles)
        weight, hidden = self.colour_layer.weight, self.config.hidden_dim
        # The feature is linear in the trunk's, and so is what the colour layer makes of it: one product for both.
        joined = weight[:, :hidden]
        constant = styles.colour + F.linear(self.feature.bias, joined)
        branch = F.linear(features, joined @ self.feature.weight) + constant[:, None]
        if self.direction_dim:
            encoded = frequency_encoding(self.in_field(directions), self.direction_octaves)
            branch = branch + F.linear(encoded, weight[:, hidden : hidden + self.direction_dim])
        rgb = torch.sigmoid(self.colour_head(torch.relu(branch)))
        return self.values(features, positions), rgb

    def load_authors_weights(self, state: Dict[str, Tensor]) -> None:
        """Loads the state dict of the released generator's network (names ``pts_linears.*``), strictly.

        Raises:
            RuntimeError: names or shapes do not fit this field.
        """
        own = {} if self.start_shape is None else {"start_shape.geometry_release": self.start_shape.geometry_release}
        self.load_state_dict({**own, **{translate_graf_name(name): tensor for name, tensor in state.items()}})


def translate_graf_name(name: str) -> str:
    """Our parameter name for one of GRAF's network; unknown names are returned as they are."""
    name = name.removeprefix("module.")
    for theirs, ours in (
        ("pts_linears.", "trunk."),
        ("views_linears.0.", "colour_layer."),
        ("feature_linear.", "feature."),
        ("alpha_linear.", "geometry_head."),
        ("rgb_linear.", "colour_head."),
    ):
        if name.startswith(theirs):
            return ours + name[len(theirs) :]
    return name
