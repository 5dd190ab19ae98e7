"""CAMPARI's scene: a radiance field of the object, and one of all that lies behind it, outside of a sphere."""

from dataclasses import dataclass, field
from typing import Dict, Literal, Optional, Type

import torch
import torch.nn.functional as F
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.configs.base_config import InstantiateConfig
from torch import Tensor, nn

from gan3d_ns.errors import UserError
from gan3d_ns.field_components.frequency_encoding import encoded_dim, frequency_encoding
from gan3d_ns.field_components.inverted_sphere import inverted_sphere_points
from gan3d_ns.field_components.picture_randomness import Randomness, random_normals, random_uniforms
from gan3d_ns.field_components.start_shape import StartShape, StartShapeConfig
from gan3d_ns.fields.base_field import GenerativeField, Styles

ENDLESS = 1e10
"""The last sample of a ray's background extends to infinity (CAMPARI, released code)."""


@dataclass
class DecomposedFieldConfig(InstantiateConfig):
    """Sizes of the object's network and of the background's, which are alike."""

    _target: Type = field(default_factory=lambda: DecomposedField)
    """target class to instantiate"""
    background_field: bool = True
    """A network for what lies behind the object; off for cut-out objects on a plain background."""
    shape_dim: int = 128
    """Length of each network's shape code, which geometry and colour see."""
    appearance_dim: int = 128
    """Length of each network's appearance code, which colour alone sees."""
    hidden_dim: int = 128
    """Width of the layers."""
    num_layers: int = 8
    """Layers after the first."""
    skip_layer: Optional[int] = None
    """The encoded position and the shape code join again after this layer, counted from 0. None: never, as in the
    release, which has such layers after layer 4 but a slip leaves them out."""
    position_octaves: int = 10
    """Octaves of the object's encoded position: each doubles the finest detail."""
    background_octaves: int = 10
    """Octaves of the background's encoded points, whose unit is the radius of its sphere."""
    direction_octaves: int = 4
    """Octaves of the encoded view direction."""
    use_view_directions: bool = True
    """Let colour change with the view."""
    coordinate_scale: float = 1.0
    """Field units in one world unit."""
    background_radius: float = 1.0
    """Radius in world units of the sphere around the origin outside of which the background lies. Cameras stand inside:
    CAMPARI's at .5 to 1."""
    background_samples: int = 5
    """Samples between that sphere and infinity; a quarter of the object's, as published."""
    background_activation: Literal["relu", "softplus"] = "relu"
    """How the background's values are read as densities: relu as published, which learns nothing where it is empty
    unless there is noise; softplus always learns."""
    start_shape: bool = False
    """Begin with the sphere of `start_shape`, as the tri-plane field; off as published."""

    def __post_init__(self) -> None:
        if min(self.shape_dim, self.appearance_dim, self.hidden_dim, self.num_layers, self.background_samples) < 1:
            raise UserError(
                f"a decomposed field needs codes of 1 number, a width of 1, 1 layer and 1 background sample at least, "
                f"got {self.shape_dim} + {self.appearance_dim}, {self.hidden_dim}, {self.num_layers} and "
                f"{self.background_samples}."
            )
        if self.skip_layer is not None and not 0 <= self.skip_layer < self.num_layers - 1:
            raise UserError(
                f"skip_layer is {self.skip_layer}, but only layers 0 to {self.num_layers - 2} have one after them; "
                "lower it, or set it to None."
            )
        if self.background_radius <= 0 or self.coordinate_scale <= 0:
            raise UserError(
                f"background_radius is {self.background_radius} and coordinate_scale {self.coordinate_scale}; both "
                "must be positive."
            )


@dataclass(frozen=True)
class DecomposedStyles(Styles):
    """What the codes add to the layers that see them, biases included. Background and skip are empty without one."""

    entry: Float[Tensor, "batch hidden"]
    skip: Float[Tensor, "batch skip_hidden"]
    colour: Float[Tensor, "batch hidden"]
    background_entry: Float[Tensor, "batch background_hidden"]
    background_skip: Float[Tensor, "batch background_skip_hidden"]
    background_colour: Float[Tensor, "batch background_hidden"]


class Decoder(nn.Module):
    """(CAMPARI, released code, decoder.) Geometry sees the shape code; colour sees geometry, view and appearance code.

    h = W gamma(p) + W_s z_s; layer by layer h <- W_k relu(h); the value is W relu(h) and the colour
    sigmoid(W_o relu(relu(h) + W_v gamma(d) + W_a z_a)). The release's relu works in place, which makes the inner one.

    Args:
        config: the sizes.
        dim: length of a point.
        num_octaves: of its encoding.
    """

    def __init__(self, config: DecomposedFieldConfig, dim: int, num_octaves: int) -> None:
        super().__init__()
        self.config, self.num_octaves = config, num_octaves
        hidden, encoded = config.hidden_dim, encoded_dim(num_octaves, dim)
        self.entry = nn.Linear(encoded, hidden)
        self.shape_entry = nn.Linear(config.shape_dim, hidden)
        self.layers = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(config.num_layers))
        self.geometry_head = nn.Linear(hidden, 1)
        self.appearance_entry = nn.Linear(config.appearance_dim, hidden)
        self.colour_head = nn.Linear(hidden, 3)
        if config.use_view_directions:
            self.direction_entry = nn.Linear(encoded_dim(config.direction_octaves), hidden)
        if config.skip_layer is not None:
            self.skip = nn.Linear(encoded, hidden)
            self.shape_skip = nn.Linear(config.shape_dim, hidden)

    def shape_styles(
        self, codes: Float[Tensor, "batch shape"]
    ) -> tuple[Float[Tensor, "batch hidden"], Float[Tensor, "batch skip_hidden"]]:
        """What a shape code adds at the entry and at the skip connection, whose biases it takes along."""
        entry = self.shape_entry(codes) + self.entry.bias
        return entry, codes[:, :0] if self.config.skip_layer is None else self.shape_skip(codes) + self.skip.bias

    def appearance_style(self, codes: Float[Tensor, "batch appearance"]) -> Float[Tensor, "batch hidden"]:
        """What an appearance code adds to the colour branch, the direction's bias taken along."""
        style = self.appearance_entry(codes)
        return style + self.direction_entry.bias if self.config.use_view_directions else style

    def trunk(
        self,
        points: Float[Tensor, "batch points dim"],
        entry: Float[Tensor, "batch hidden"],
        skip: Float[Tensor, "batch skip_hidden"],
    ) -> Float[Tensor, "batch points hidden"]:
        """relu(h), at points in field units."""
        encoded = frequency_encoding(points, self.num_octaves)
        hidden = torch.relu(F.linear(encoded, self.entry.weight) + entry[:, None])
        for index, layer in enumerate(self.layers):
            hidden = layer(hidden)
            if index == self.config.skip_layer:
                hidden = hidden + F.linear(encoded, self.skip.weight) + skip[:, None]
            hidden = torch.relu(hidden)
        return hidden

    def values(self, features: Float[Tensor, "batch points hidden"]) -> Float[Tensor, "batch points"]:
        """Densities before their activation."""
        return self.geometry_head(features).squeeze(-1)

    def colours(
        self,
        features: Float[Tensor, "batch points hidden"],
        directions: Float[Tensor, "batch points 3"],
        colour: Float[Tensor, "batch hidden"],
    ) -> Float[Tensor, "batch points 3"]:
        """Colours in [0, 1], seen along unit directions."""
        branch = features + colour[:, None]
        if self.config.use_view_directions:
            encoded = frequency_encoding(directions, self.config.direction_octaves)
            branch = branch + F.linear(encoded, self.direction_entry.weight)
        return torch.sigmoid(self.colour_head(torch.relu(branch)))


class DecomposedField(GenerativeField):
    """An object before a background, each with a code for its shape and one for its appearance (CAMPARI, section 3.1).

    The latent holds the shape codes of object and background, then their appearance codes. The object's value is a
    density before its activation, in field units: read it with `Density(unit_length=1 / coordinate_scale)`. Meshes,
    depths and normals are the object's alone; the background is seen behind it.
    """

    rotation: Float[Tensor, "3 3"]

    def __init__(self, config: DecomposedFieldConfig, start_shape: Optional[StartShapeConfig] = None) -> None:
        super().__init__()
        self.config = config
        self.has_backdrop = config.background_field
        networks = 2 if config.background_field else 1
        shapes = networks * config.shape_dim
        self.latent_dim = self.code_dim = shapes + networks * config.appearance_dim
        self.latent_parts = {"shape": slice(0, shapes), "appearance": slice(shapes, self.latent_dim)}
        self.mapping_network = nn.Identity()
        # The release's world is +z up and its frontal camera stands at +y: its (x, y, z) are our (-x, z, y).
        rotation = torch.tensor([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
        self.register_buffer("rotation", rotation, persistent=False)
        self.object = Decoder(config, 3, config.position_octaves)
        self.background = Decoder(config, 4, config.background_octaves) if config.background_field else None
        self.start_shape: Optional[StartShape] = None
        if config.start_shape:
            self.start_shape = (start_shape or StartShapeConfig()).setup()
            self.half_sides = self.start_shape.config.box_half_sides  # pyright: ignore[reportOptionalMemberAccess]

    def release_geometry(self, amount: float) -> None:
        if self.start_shape is not None:
            self.start_shape.geometry_release.fill_(amount)

    def mapping(self, latents: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch code"]:
        """The latents themselves: CAMPARI has no mapping network."""
        return latents

    @property
    def style_layers(self) -> tuple[str, ...]:
        """The object's shape and colour, and the background's where there is one."""
        return ("shape", "colour", *(() if self.background is None else ("background shape", "background colour")))

    def condition(self, codes: Float[Tensor, "batch code"]) -> DecomposedStyles:
        return self.condition_layers(codes.expand(len(self.style_layers), *codes.shape))

    def condition_layers(self, codes: Float[Tensor, "layer batch code"]) -> DecomposedStyles:
        shape, appearance = self.config.shape_dim, self.config.appearance_dim
        of_colours = self.latent_parts["appearance"].start
        entry, skip = self.object.shape_styles(codes[0][:, :shape])
        colour = self.object.appearance_style(codes[1][:, of_colours : of_colours + appearance])
        nothing = codes[0][:, :0]
        behind = (nothing, nothing, nothing)
        if self.background is not None:
            behind = (
                *self.background.shape_styles(codes[2][:, shape : 2 * shape]),
                self.background.appearance_style(codes[3][:, of_colours + appearance :]),
            )
        return DecomposedStyles(entry, skip, colour, *behind)

    def in_field(self, vectors: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
        """World vectors in the field's frame."""
        return vectors @ self.rotation.T.to(vectors.dtype)

    def features(
        self, positions: Float[Tensor, "batch points 3"], styles: DecomposedStyles
    ) -> Float[Tensor, "batch points hidden"]:
        """The object's features at world positions."""
        points = self.in_field(positions) * self.config.coordinate_scale
        return self.object.trunk(points, styles.entry, styles.skip)

    def values(
        self, features: Float[Tensor, "batch points hidden"], positions: Float[Tensor, "batch points 3"]
    ) -> Float[Tensor, "batch points"]:
        """The object's geometry, with the start shape where there is one."""
        values = self.object.values(features)
        return values if self.start_shape is None else self.start_shape(values, positions)

    def geometry_logits(
        self, positions: Float[Tensor, "batch points 3"], styles: DecomposedStyles
    ) -> Float[Tensor, "batch points"]:
        return self.values(self.features(positions, styles), positions)

    def forward(
        self,
        positions: Float[Tensor, "batch points 3"],
        directions: Float[Tensor, "batch points 3"],
        styles: DecomposedStyles,
    ) -> tuple[Float[Tensor, "batch points"], Float[Tensor, "batch points 3"]]:
        features = self.features(positions, styles)
        rgb = self.object.colours(features, self.in_field(directions), styles.colour)
        return self.values(features, positions), rgb

    def background_at(
        self,
        points: Float[Tensor, "batch points 4"],
        directions: Float[Tensor, "batch points 3"],
        styles: DecomposedStyles,
    ) -> tuple[Float[Tensor, "batch points"], Float[Tensor, "batch points 3"]]:
        """Densities before their activation, per inverse radius, and colours of the background.

        Args:
            points: unit vectors in the field's frame, and inverse radii (see `inverted_sphere_points`).
            directions: unit vectors in the field's frame.
            styles: of the objects before it.
        """
        assert self.background is not None
        features = self.background.trunk(points, styles.background_entry, styles.background_skip)
        return self.background.values(features), self.background.colours(features, directions, styles.background_colour)

    def inverse_radii(self, rays: RayBundle, jitter: Randomness | None = None) -> Float[Tensor, "*batch sample"]:
        """The background's samples from near to far, 1 to 0; jittered, one in each interval between the middles."""
        count, device = self.config.background_samples, rays.origins.device
        even = torch.linspace(1.0, 0.0, count, device=device).expand(*rays.origins.shape[:-1], count)
        if jitter is None:
            return even
        middles = 0.5 * (even[..., 1:] + even[..., :-1])
        starts = torch.cat((even[..., :1], middles), dim=-1)
        ends = torch.cat((middles, even[..., -1:]), dim=-1)
        return starts + (ends - starts) * random_uniforms(even.shape, jitter, device)

    def background_weights(
        self,
        values: Float[Tensor, "*batch sample"],
        inverse_radii: Float[Tensor, "*batch sample"],
    ) -> Float[Tensor, "*batch sample"]:
        """Compositing weights of the background's samples, spaced in inverse radius; the last one is endless."""
        active = torch.relu(values) if self.config.background_activation == "relu" else F.softplus(values)
        intervals = F.pad(inverse_radii[..., :-1] - inverse_radii[..., 1:], (0, 1), value=ENDLESS)
        clear = torch.exp(-intervals * active)
        return (1.0 - clear) * F.pad(clear.cumprod(dim=-1)[..., :-1], (1, 0), value=1.0)

    def backdrop(
        self, rays: RayBundle, styles: DecomposedStyles, jitter: Randomness | None = None
    ) -> Float[Tensor, "batch ray 3"]:
        directions = self.in_field(rays.directions)
        radii = self.inverse_radii(rays, jitter)
        origins = self.in_field(rays.origins) / self.config.background_radius
        points = inverted_sphere_points(origins, directions, radii).flatten(1, 2)
        along = directions[..., None, :].expand(*radii.shape, 3).flatten(1, 2)
        values, colours = self.background_at(points, along, styles)
        if jitter is not None and self.backdrop_noise_std > 0:
            noise = random_normals(values.shape, jitter, values.device)
            values = values + self.backdrop_noise_std * noise
        weights = self.background_weights(values.unflatten(1, radii.shape[1:]), radii)
        return (weights[..., None] * colours.unflatten(1, radii.shape[1:])).sum(dim=-2)

    def load_authors_weights(self, state: Dict[str, Tensor]) -> None:
        """Loads the decoders of the released generator's state dict, strictly; skip layers only where they are used.

        Raises:
            RuntimeError: names or shapes do not fit this field.
        """
        own = {} if self.start_shape is None else {"start_shape.geometry_release": self.start_shape.geometry_release}
        theirs = {translate_campari_name(name): tensor for name, tensor in state.items()}
        unused = ("skip.", "shape_skip.") if self.config.skip_layer is None else ()
        kept = {name: value for name, value in theirs.items() if not name.partition(".")[2].startswith(unused)}
        self.load_state_dict({**own, **kept})


NAMES = {
    "fc_in": "entry",
    "fc_c": "shape_entry",
    "blocks": "layers",
    "skips.0": "skip",
    "skips_c.0": "shape_skip",
    "fc_out": "geometry_head",
    "fc_view_c": "appearance_entry",
    "fc_view": "direction_entry",
    "net_view.1": "colour_head",
}
"""Layers of the release's decoders, and what they are called here."""


def translate_campari_name(name: str) -> str:
    """Our parameter name for one of the release's decoders; unknown names are returned as they are."""
    for theirs, ours in (("decoder.", "object."), ("decoder_bg.", "background.")):
        if name.startswith(theirs):
            rest = name[len(theirs) :]
            for layer, own in NAMES.items():
                if rest.startswith(f"{layer}."):
                    return f"{ours}{own}{rest[len(layer) :]}"
    return name
