"""GIRAFFE's scene: several objects in boxes of their own, and a background, added at every point."""

from dataclasses import dataclass, field, replace
from typing import Dict, Literal, Optional, Type

import torch
from jaxtyping import Bool, Float, Int
from nerfstudio.configs.base_config import InstantiateConfig
from torch import Tensor, nn

from gan3d_ns.errors import UserError
from gan3d_ns.fields.base_field import GenerativeField, Styles
from gan3d_ns.fields.giraffe_decoder import AUTHORS_NAMES, DecoderStyles, GiraffeDecoderConfig
from gan3d_ns.fields.nerf_field import world_to_field_rotation
from gan3d_ns.fields.placement import (
    PlacementConfig,
    first_free,
    in_box,
    in_range,
    number_of_objects,
    radians_of_turns,
    turned,
    uniforms_of,
)

BOX_MARGIN = 1.1
"""Matter of an object may lie this far from its box's centre, in half sides (GIRAFFE, released code)."""
SMALLEST_DENSITY = 1e-4
"""Divisor of the weighted mean where there is no matter at all (GIRAFFE, released code)."""
OUTSIDE = -10.0
"""Density before its activation where an object cannot be."""
SHELL_SLOPE = 4.0
"""The background's start is full a quarter of its radius behind its border."""
PUBLISHED_RADIUS = 2.732
"""Distance of GIRAFFE's cameras, in its units."""

Composition = Literal["sum", "max"]
LAYERS = ("shapes", "appearances", "background shape", "background appearance", "placements")


@dataclass
class CompositeFieldConfig(InstantiateConfig):
    """Objects and a background, each with codes of its own."""

    _target: Type = field(default_factory=lambda: CompositeField)
    num_objects: int = 1
    """Objects of a training picture. More can be added afterwards, see the viewer's Scene panel."""
    objects: GiraffeDecoderConfig = field(default_factory=GiraffeDecoderConfig)
    """The network that all objects share."""
    background: GiraffeDecoderConfig = field(
        default_factory=lambda: GiraffeDecoderConfig(
            shape_dim=128, appearance_dim=128, hidden_dim=64, num_layers=4, skip_layers=(), input_scale=12.0
        )
    )
    """The network of the background."""
    feature_dim: int = 128
    """Length of the features that the neural renderer makes pictures of; it must take as many."""
    composition: Composition = "sum"
    """sum: densities are added and features averaged by density. max: at each point the densest alone counts."""
    placement: PlacementConfig = field(default_factory=PlacementConfig)
    """Where the objects of training pictures stand."""
    coordinate_scale: float = PUBLISHED_RADIUS
    """Field units in one world unit. GIRAFFE's cameras stand at radius 2.732, ours at 1."""
    start_gain: float = 0.0
    """Begin with a ball in each object's box, whose density before its activation rises by this from the ball's surface
    to the middle, and with the background outside of all of them; 0: without a form, as published."""
    start_radius: float = 0.8
    """Radius of that ball, in half sides of the box."""
    background_start_radius: float = 0.35
    """Where the background begins at first: this far from the origin, in world units, beyond all objects."""

    def __post_init__(self) -> None:
        if self.num_objects < 1 or self.feature_dim < 1:
            raise UserError(f"a scene needs one object and one feature, got {self.num_objects} and {self.feature_dim}.")
        if len(self.placement.count_probabilities) not in (0, self.num_objects):
            raise UserError(
                f"count_probabilities are {len(self.placement.count_probabilities)} numbers; give one for each of 1 to "
                f"{self.num_objects} objects, or none."
            )


@dataclass(frozen=True)
class CompositeStyles(Styles):
    """The things of each scene. Lengths in field units, angles in radians about the upward axis."""

    scales: Float[Tensor, "batch object 3"]
    """Half the sides of the boxes."""
    translations: Float[Tensor, "batch object 3"]
    """Centres of the boxes."""
    rotations: Float[Tensor, "batch object"]
    """Angles of the turn into the box's frame: the objects themselves stand turned by their negative."""
    present: Bool[Tensor, "batch object"]
    """Which objects are there."""
    objects: DecoderStyles
    """Of each object."""
    background_turn: Float[Tensor, "batch"]
    """Angle of the turn into the background's frame."""
    background_present: Bool[Tensor, "batch"]
    """Whether there is a background."""
    background: DecoderStyles


def composed(
    raw: Float[Tensor, "batch part points"], how: Composition = "sum"
) -> tuple[Float[Tensor, "batch points"], Float[Tensor, "batch part points"]]:
    """Density of all parts together, and the weights of their features (GIRAFFE, equation 9).

    With sigma_j = relu(raw_j). sum: sigma = sum_j sigma_j and w_j = sigma_j / sigma. max: those of the densest part.
    Where there is no matter weights are 0 and the value is the largest raw one: nothing to a relu, but below 0, so that
    lattices and meshes that interpolate between points find the border where it is.
    """
    largest, index = raw.max(dim=1, keepdim=True)
    densities = torch.relu(raw)
    if how == "max":
        return largest[:, 0], torch.zeros_like(raw).scatter(1, index, 1.0) * (largest > 0)
    total = densities.sum(dim=1)
    divisor = torch.where(total == 0, SMALLEST_DENSITY, total)
    return torch.where(total > 0, total, largest[:, 0]), densities / divisor[:, None]


@dataclass(frozen=True)
class ObjectPoints:
    """The points that lie in some object's box: a row for each pair of a point and such an object."""

    batch: Int[Tensor, "row"]
    object: Int[Tensor, "row"]
    point: Int[Tensor, "row"]
    positions: Float[Tensor, "row 3"]
    """In the box's frame."""


class CompositeField(GenerativeField):
    """(GIRAFFE, sections 3.1 to 3.3.)

    An object's box has a frame of its own, p_box = R (p - t) / s, in which its decoder sees it; outside 1.1 of the box
    it is not. The value is the density of all things together in field units, below 0 where there is nothing: read it
    with `Density(activation="relu", unit_length=1 / coordinate_scale)`. In place of colours it gives features.

    The latent holds the shape codes of objects and background, then their appearance codes, then the placements, which
    stay what they are under truncation.
    """

    rotation: Float[Tensor, "3 3"]

    def __init__(self, config: CompositeFieldConfig) -> None:
        super().__init__()
        self.config = config
        things, backdrop, count = config.objects, config.background, config.num_objects
        self.feature_dim, self.num_parts, self.has_backdrop = config.feature_dim, count + 1, False
        shape = count * things.shape_dim + backdrop.shape_dim
        appearance = count * things.appearance_dim + backdrop.appearance_dim
        placement = count * config.placement.numbers_each + 2
        self.latent_dim = self.code_dim = shape + appearance + placement
        self.latent_parts = {
            "shape": slice(0, shape),
            "appearance": slice(shape, shape + appearance),
            "placement": slice(shape + appearance, self.code_dim),
        }
        self.mapping_network = nn.Identity()
        self.register_buffer("rotation", world_to_field_rotation(0.0), persistent=False)
        self.object_decoder = things.setup(feature_dim=config.feature_dim)
        self.background_decoder = backdrop.setup(feature_dim=config.feature_dim)

    def mapping(self, latents: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch code"]:
        """The latents themselves: GIRAFFE has no mapping network."""
        return latents

    def truncated(
        self, codes: Float[Tensor, "batch code"], centre: Float[Tensor, "code"], amount: float
    ) -> Float[Tensor, "batch code"]:
        """centre + amount (codes - centre) of shapes and appearances; the places of the objects stay."""
        placement = self.latent_parts["placement"]
        pulled = centre + amount * (codes - centre)
        return torch.cat((pulled[:, : placement.start], codes[:, placement]), dim=1)

    @property
    def style_layers(self) -> tuple[str, ...]:
        """What can be taken from another scene."""
        return LAYERS

    def code_slices(self) -> Dict[str, slice]:
        """Where the codes of each style layer stand in the latent."""
        shape, appearance, placement = (self.latent_parts[name] for name in ("shape", "appearance", "placement"))
        of_shape = shape.stop - self.config.background.shape_dim
        of_appearance = appearance.stop - self.config.background.appearance_dim
        slices = (
            slice(shape.start, of_shape),
            slice(appearance.start, of_appearance),
            slice(of_shape, shape.stop),
            slice(of_appearance, appearance.stop),
            placement,
        )
        return dict(zip(LAYERS, slices, strict=True))

    def condition(self, codes: Float[Tensor, "batch code"]) -> CompositeStyles:
        return self.condition_layers(codes.expand(len(LAYERS), *codes.shape))

    def condition_layers(self, codes: Float[Tensor, "layer batch code"]) -> CompositeStyles:
        count = self.config.num_objects
        parts = {name: code[:, where] for (name, where), code in zip(self.code_slices().items(), codes, strict=True)}
        shapes, appearances = (parts[name].unflatten(1, (count, -1)) for name in ("shapes", "appearances"))
        backdrop = parts["background shape"], parts["background appearance"]
        return self.placed(
            parts["placements"],
            self.object_decoder.condition(shapes, appearances),
            self.background_decoder.condition(*backdrop),
        )

    def placed(
        self, latents: Float[Tensor, "batch placement"], objects: DecoderStyles, background: DecoderStyles
    ) -> CompositeStyles:
        """The styles of objects and background at the places that normally distributed numbers decide."""
        config, count = self.config.placement, self.config.num_objects
        uniforms = uniforms_of(latents)
        each = uniforms[:, :-2].unflatten(1, (count, -1))
        scales = in_range(each[..., :1], config.smallest_scale, config.largest_scale)
        places = in_range(each[..., 2:].unflatten(-1, (-1, 3)), config.lowest_translation, config.highest_translation)
        translations = places[:, :, 0] if config.padding is None else first_free(places, scales, config.padding)
        number = number_of_objects(uniforms[:, -2], config.count_probabilities, count)
        return CompositeStyles(
            scales=scales,
            translations=translations,
            rotations=radians_of_turns(each[..., 1], config.rotation_turns),
            present=torch.arange(count, device=latents.device) < number[:, None],
            objects=objects,
            background_turn=radians_of_turns(uniforms[:, -1], config.background_turns),
            background_present=torch.ones_like(number, dtype=torch.bool),
            background=background,
        )

    def cut_out(self, styles: CompositeStyles) -> CompositeStyles:
        """The objects alone."""
        return replace(styles, background_present=torch.zeros_like(styles.background_present))

    def in_field(self, vectors: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points 3"]:
        """World vectors in the field's frame."""
        return vectors @ self.rotation.T.to(vectors.dtype)

    def points_of_objects(self, positions: Float[Tensor, "batch points 3"], styles: CompositeStyles) -> ObjectPoints:
        """The points in the boxes of the objects that are there; positions in the field's frame and units."""
        places = in_box(
            positions[:, None], styles.translations[:, :, None], styles.rotations[:, :, None], styles.scales[:, :, None]
        )
        inside = (places.detach().abs() <= BOX_MARGIN).all(dim=-1) & styles.present[..., None]
        batch, index, point = inside.nonzero(as_tuple=True)
        return ObjectPoints(batch, index, point, places[batch, index, point])

    def ball(self, positions: Float[Tensor, "row 3"]) -> Float[Tensor, "row"]:
        """What an object's density starts from, in the frame of its box: positive inside a ball."""
        return self.config.start_gain * (1.0 - positions.norm(dim=-1) / self.config.start_radius)

    def shell(self, positions: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points"]:
        """What the background's density starts from, in the world: positive beyond the objects."""
        depth = positions.norm(dim=-1) / self.config.background_start_radius - 1.0
        return self.config.start_gain * (SHELL_SLOPE * depth).clamp(-1.0, 1.0)

    def evaluate(
        self,
        positions: Float[Tensor, "batch points 3"],
        styles: CompositeStyles,
        directions: Optional[Float[Tensor, "batch points 3"]] = None,
        noise: Optional[Float[Tensor, "batch points part"]] = None,
    ) -> tuple[Float[Tensor, "batch points"], Optional[Float[Tensor, "batch points feature"]]]:
        """Composed density at world positions and, for world directions, the feature.

        Objects are asked at the points of their boxes alone. ``noise`` is added to each thing's density before its
        relu, the background's last.
        """
        batch, num_points, _ = positions.shape
        places = self.in_field(positions) * self.config.coordinate_scale
        things, inside = styles.objects, self.points_of_objects(places, styles)
        of_things = inside.batch, inside.object
        hidden = self.object_decoder.hidden(inside.positions, things.first[of_things], things.skips[of_things])
        raw = self.object_decoder.densities(hidden) + self.ball(inside.positions)
        if noise is not None:
            raw = raw + noise[inside.batch, inside.point, inside.object]
        values = raw.new_full((batch, styles.present.shape[1], num_points), OUTSIDE)
        values = values.index_put((*of_things, inside.point), raw)

        background, behind = styles.background, None
        if bool(styles.background_present.any()):
            turn = styles.background_turn[:, None]
            behind = self.background_decoder.hidden(
                turned(places, turn), background.first[:, None], background.skips[:, None]
            )
            raw = self.background_decoder.densities(behind) + self.shell(positions)
            raw = raw if noise is None else raw + noise[..., -1]
            raw = torch.where(styles.background_present[:, None], raw, OUTSIDE)
            values = torch.cat((values, raw[:, None]), dim=1)
        values, weights = composed(values, self.config.composition)
        if directions is None:
            return values, None

        directions = self.in_field(directions)
        ways = turned(directions[inside.batch, inside.point], styles.rotations[of_things]) / styles.scales[of_things]
        features = self.object_decoder.features(hidden, ways, things.feature[of_things])
        features = features * weights[(*of_things, inside.point)][:, None]
        total = features.new_zeros(batch * num_points, self.config.feature_dim)
        total = total.index_add(0, inside.batch * num_points + inside.point, features).unflatten(0, (batch, num_points))
        if behind is not None:
            ways = turned(directions, styles.background_turn[:, None])
            features = self.background_decoder.features(behind, ways, background.feature[:, None])
            total = total + weights[:, -1, :, None] * features
        return values, total

    def geometry_logits(
        self, positions: Float[Tensor, "batch points 3"], styles: CompositeStyles
    ) -> Float[Tensor, "batch points"]:
        return self.evaluate(positions, styles)[0]

    def forward(
        self,
        positions: Float[Tensor, "batch points 3"],
        directions: Float[Tensor, "batch points 3"],
        styles: CompositeStyles,
    ) -> tuple[Float[Tensor, "batch points"], Float[Tensor, "batch points feature"]]:
        values, features = self.evaluate(positions, styles, directions)
        assert features is not None
        return values, features

    def noisy(
        self,
        positions: Float[Tensor, "batch points 3"],
        directions: Float[Tensor, "batch points 3"],
        styles: CompositeStyles,
        noise: Float[Tensor, "batch points part"],
    ) -> tuple[Float[Tensor, "batch points"], Float[Tensor, "batch points feature"]]:
        """As forward, with noise on the density of every object and, the last column, of the background."""
        values, features = self.evaluate(positions, styles, directions, noise)
        assert features is not None
        return values, features

    def load_authors_weights(self, state: Dict[str, Tensor]) -> None:
        """Loads decoder and background of the released generator (names ``decoder.*``, ``background_generator.*``).

        Raises:
            RuntimeError: names or shapes do not fit this field.
        """
        self.load_state_dict({translate_giraffe_name(name): tensor for name, tensor in state.items()})


def translate_giraffe_name(name: str) -> str:
    """Our parameter name for one of GIRAFFE's decoders; unknown names are returned as they are."""
    name = name.removeprefix("module.")
    for theirs, ours in (("decoder.", "object_decoder."), ("background_generator.", "background_decoder.")):
        if name.startswith(theirs):
            layer, _, rest = name.removeprefix(theirs).partition(".")
            return f"{ours}{AUTHORS_NAMES.get(layer, layer)}.{rest}"
    return name
