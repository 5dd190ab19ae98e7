"""The FiLM-SIREN field of pi-GAN and GOF (released code, SPATIALSIRENBASELINE, and TALLSIREN without a box)."""

from dataclasses import dataclass, field
from typing import Type

import torch
from jaxtyping import Float
from nerfstudio.configs.base_config import InstantiateConfig
from torch import Tensor, nn

from gan3d_ns.field_components.film_siren import (
    FREQUENCY_SCALE,
    FREQUENCY_SHIFT,
    FilmSirenLayer,
    MappingNetwork,
    uniform_,
)
from gan3d_ns.field_components.sine_chain import (
    ColourLayer,
    SineChain,
    chain_gradient,
    chain_logits,
    chain_logits_and_colours,
)
from gan3d_ns.fields.base_field import GenerativeField, Styles


@dataclass
class FilmSirenFieldConfig(InstantiateConfig):
    """A sine network whose layers are scaled and shifted by the latent."""

    _target: Type = field(default_factory=lambda: FilmSirenField)
    latent_dim: int = 256
    """Length of the latent vector."""
    hidden_dim: int = 256
    """Width of the sine layers and of the mapping network."""
    num_layers: int = 8
    """Sine layers before the geometry head."""
    box_side: float = 0.24
    """Side of the world cube, centred at the origin, that is mapped onto [-1, 1]. 2 leaves world coordinates as they
    are, as pi-GAN's network for CARLA (TALLSIREN)."""
    lock_view_dependence: bool = False
    """Replace every view direction by (0, 0, -1): colours then do not change with the view."""
    sphere_prior_gain: float = 0.0
    """Slope of a sphere added to the logit, gain * (radius - |x|) in box units; 0 as published."""
    sphere_prior_radius: float = 0.8
    """Radius of that sphere in box units."""
    blockwise: bool = True
    """Evaluate the layers in blocks with hand-written derivatives: faster, and at full size 9.5 KB are kept for a point
    instead of 28. False: layer by layer, as torch differentiates it; also used by itself where positions or directions
    want a gradient."""
    recompute: bool = False
    """Keep no activations for the backward pass and compute them again there: .5 KB for a point, in 1.2 times the time.
    Needs `blockwise`."""


@dataclass(frozen=True)
class FilmStyles(Styles):
    """Effective frequencies (15 f + 30) and phase shifts, each "batch layers+1 hidden"; the last layer is colour's."""

    frequencies: Float[Tensor, "batch layers hidden"]
    phase_shifts: Float[Tensor, "batch layers hidden"]


class FilmSirenField(GenerativeField):
    """Eight FiLM-SIREN layers, a linear geometry head and one view-dependent FiLM-SIREN layer for colour.

    pi-GAN reads the geometry as a density, GOF as an occupancy logit; the network is the same.

    A code holds the raw frequencies of all layers and then the raw phases (GOF, released code, section 2 of the
    field's description): truncation averages these raw values.
    """

    def __init__(self, config: FilmSirenFieldConfig) -> None:
        super().__init__()
        self.config = config
        self.latent_dim = config.latent_dim
        hidden = config.hidden_dim
        self.code_dim = 2 * (config.num_layers + 1) * hidden
        self.mapping_network = MappingNetwork(config.latent_dim, hidden, self.code_dim)
        self.trunk = nn.ModuleList(
            FilmSirenLayer(3 if index == 0 else hidden, hidden, is_first=index == 0)
            for index in range(config.num_layers)
        )
        self.geometry_head = nn.Linear(hidden, 1)
        self.colour_layer = FilmSirenLayer(hidden + 3, hidden)
        self.colour_head = nn.Linear(hidden, 3)
        for head in (self.geometry_head, self.colour_head):
            uniform_(head.weight, (6.0 / hidden) ** 0.5 / 25.0)

    @property
    def expected_half_sides(self) -> tuple[float, float, float]:
        """The box that its coordinates are scaled to; it goes on beyond."""
        half = self.config.box_side / 2.0
        return half, half, half

    def mapping(self, latents: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch code"]:
        # Never in half precision: frequencies multiply coordinates, so that rounding them would move the object.
        with torch.autocast(latents.device.type, enabled=False):
            return self.mapping_network(latents)

    def condition(self, codes: Float[Tensor, "batch code"]) -> FilmStyles:
        frequencies, phases = codes.unflatten(-1, (2, -1, self.config.hidden_dim)).unbind(dim=1)
        return FilmStyles(FREQUENCY_SCALE * frequencies + FREQUENCY_SHIFT, phases)

    @property
    def style_layers(self) -> tuple[str, ...]:
        """The layers of the trunk and the one of colour."""
        return (*(f"layer {index + 1}" for index in range(self.config.num_layers)), "colour")

    def condition_layers(self, codes: Float[Tensor, "layer batch code"]) -> FilmStyles:
        each = [self.condition(code) for code in codes]
        return FilmStyles(
            torch.stack([styles.frequencies[:, index] for index, styles in enumerate(each)], dim=1),
            torch.stack([styles.phase_shifts[:, index] for index, styles in enumerate(each)], dim=1),
        )

    def trunk_features(
        self, positions: Float[Tensor, "batch points 3"], styles: FilmStyles
    ) -> Float[Tensor, "batch points hidden"]:
        """Features after the last trunk layer."""
        features = self.in_box(positions)
        for index, layer in enumerate(self.trunk):
            features = layer(features, styles.frequencies[:, index], styles.phase_shifts[:, index])
        return features

    def takes_blocks(self, *inputs: Tensor) -> bool:
        """Whether the blockwise path answers for these inputs: it has no derivative with respect to them."""
        wanted = torch.is_grad_enabled() and any(entry.requires_grad for entry in inputs)
        return self.config.blockwise and not wanted

    def chain(self, styles: FilmStyles) -> SineChain:
        """The trunk and the geometry head, with the styles folded in."""
        folded = [
            layer.folded(styles.frequencies[:, index], styles.phase_shifts[:, index])  # pyright: ignore
            for index, layer in enumerate(self.trunk)
        ]
        matrices, offsets = zip(*folded, strict=True)
        head = self.geometry_head
        return SineChain(list(matrices), list(offsets), head.weight[0], head.bias)

    def in_box(self, positions: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points 3"]:
        """World positions in units of half the box's side."""
        return positions * (2.0 / self.config.box_side)

    def with_sphere(
        self, logits: Float[Tensor, "batch points"], positions: Float[Tensor, "batch points 3"]
    ) -> Float[Tensor, "batch points"]:
        """Logits with the sphere prior, where there is one, at world positions."""
        if not self.config.sphere_prior_gain:
            return logits
        radius = self.in_box(positions).norm(dim=-1)
        return logits + self.config.sphere_prior_gain * (self.config.sphere_prior_radius - radius)

    def geometry_logits(
        self, positions: Float[Tensor, "batch points 3"], styles: FilmStyles
    ) -> Float[Tensor, "batch points"]:
        if self.takes_blocks(positions):
            logits = chain_logits(self.chain(styles), self.in_box(positions), self.config.recompute)
        else:
            logits = self.geometry_head(self.trunk_features(positions, styles)).squeeze(-1)
        return self.with_sphere(logits, positions)

    def logit_gradient(
        self, positions: Float[Tensor, "batch points 3"], styles: FilmStyles
    ) -> Float[Tensor, "batch points 3"]:
        """As the base class; blockwise by the chain rule, written out, which needs one backward pass instead of two."""
        if not self.config.blockwise:
            return super().logit_gradient(positions, styles)
        points = self.in_box(positions.detach())
        gradient = chain_gradient(self.chain(styles), points, self.config.recompute)
        if self.config.sphere_prior_gain:
            gradient = gradient - self.config.sphere_prior_gain * nn.functional.normalize(points, dim=-1)
        return gradient * (2.0 / self.config.box_side)

    def forward(
        self,
        positions: Float[Tensor, "batch points 3"],
        directions: Float[Tensor, "batch points 3"],
        styles: FilmStyles,
    ) -> tuple[Float[Tensor, "batch points"], Float[Tensor, "batch points 3"]]:
        if self.config.lock_view_dependence:
            directions = torch.zeros_like(directions) - directions.new_tensor([0.0, 0.0, 1.0])
        frequencies, phase_shifts = styles.frequencies[:, -1], styles.phase_shifts[:, -1]
        if self.takes_blocks(positions, directions):
            matrix, offset = self.colour_layer.folded(frequencies, phase_shifts)
            head = self.colour_head
            colour = ColourLayer(matrix[:, 3:], matrix[:, :3], offset, head.weight.T, head.bias)
            points, recompute = self.in_box(positions), self.config.recompute
            logits, raw = chain_logits_and_colours(self.chain(styles), colour, points, directions, recompute)
        else:
            features = self.trunk_features(positions, styles)
            logits = self.geometry_head(features).squeeze(-1)
            raw = self.colour_head(self.colour_layer(torch.cat((directions, features), -1), frequencies, phase_shifts))
        return self.with_sphere(logits, positions), torch.sigmoid(raw)

    def load_authors_weights(self, state: dict[str, Tensor]) -> None:
        """Loads a generator state dict of the pi-GAN or GOF release (names ``siren.*``), strictly.

        Raises:
            RuntimeError: names or shapes do not fit this field.
        """
        self.load_state_dict({translate_gof_name(name): tensor for name, tensor in state.items()})


def translate_gof_name(name: str) -> str:
    """Our parameter name for one of the original pi-GAN or GOF generator; unknown names are returned as they are."""
    for theirs, ours in (
        ("siren.mapping_network.network.", "mapping_network.layers."),
        ("siren.network.", "trunk."),
        ("siren.final_layer.", "geometry_head."),
        ("siren.color_layer_sine.", "colour_layer."),
        ("siren.color_layer_linear.0.", "colour_head."),
    ):
        if name.startswith(theirs):
            return ours + name[len(theirs) :].replace("layer.", "linear.")
    return name
