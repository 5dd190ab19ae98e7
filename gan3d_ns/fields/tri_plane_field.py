"""A tri-plane occupancy field: a small style-based 2D generator draws planes, small decoders read them.

The planes follow EG3D (section 4.1), but geometry has coarser ones of its own: it stays smooth where colour is sharp,
and the surface search reads only these. Geometry is an occupancy logit, so GOF's search applies as it stands.
"""

from dataclasses import dataclass, field
from typing import Dict, Optional, Tuple, Type

import torch
from jaxtyping import Float
from nerfstudio.configs.base_config import InstantiateConfig
from torch import Tensor, nn

from gan3d_ns.errors import UserError
from gan3d_ns.field_components.modulated import LatentMapping, ModulatedConv2d, StyleGenerator2d
from gan3d_ns.field_components.start_shape import StartShape, StartShapeConfig
from gan3d_ns.field_components.tri_plane import sample_tri_planes
from gan3d_ns.fields.base_field import GenerativeField, Styles, tetrahedral_gradient


@dataclass
class TriPlaneFieldConfig(InstantiateConfig):
    """Three planes each for geometry and colour, drawn by a 2D generator, read by two-layer decoders."""

    _target: Type = field(default_factory=lambda: TriPlaneField)
    latent_dim: int = 64
    """Length of the latent vector; also the width of the mapping network."""
    generator_channels: Tuple[int, ...] = (64, 64, 48, 32, 24)
    """Channels of the 2D generator at sides 4, 8, 16, ...: as many entries as doublings plus one."""
    plane_channels: int = 8
    """Features of a plane."""
    geometry_side: int = 32
    """Side of the geometry planes, one of the generator's; colour has the largest. Coarser is smoother."""
    decoder_dim: int = 32
    """Hidden width of the decoders."""


@dataclass(frozen=True)
class TriPlaneStyles(Styles):
    """Feature planes, "batch 3 channels side side": xy, xz and zy."""

    geometry_planes: Float[Tensor, "batch 3 channels geometry_side geometry_side"]
    colour_planes: Float[Tensor, "batch 3 channels side side"]


class TriPlaneField(GenerativeField):
    """Sum of three plane reads -> softplus layer -> occupancy logit, and so for colour, which ignores the view.

    Raises:
        UserError: the generator draws no planes of the geometry's side.
    """

    def __init__(self, config: TriPlaneFieldConfig, start_shape: Optional[StartShapeConfig] = None) -> None:
        super().__init__()
        self.start_shape: StartShape = (start_shape or StartShapeConfig()).setup()
        self.config = config
        self.latent_dim = self.code_dim = config.latent_dim
        self.half_sides = self.start_shape.config.box_half_sides
        self.mapping_network = LatentMapping(config.latent_dim)
        self.plane_generator = StyleGenerator2d(config.latent_dim, config.generator_channels)
        sides = self.plane_generator.sides
        if config.geometry_side not in sides:
            raise UserError(
                f"geometry_side is {config.geometry_side}, but the planes' generator has the sides "
                f"{', '.join(map(str, sides))}; choose one of them or change generator_channels."
            )
        self.geometry_level = sides.index(config.geometry_side)

        def to_planes(level: int) -> ModulatedConv2d:
            width = config.generator_channels[level]
            return ModulatedConv2d(width, 3 * config.plane_channels, config.latent_dim, 1, demodulate=False)

        self.to_geometry, self.to_colour = to_planes(self.geometry_level), to_planes(-1)
        self.geometry_decoder, self.colour_decoder = (
            nn.Sequential(
                nn.Linear(config.plane_channels, config.decoder_dim),
                nn.Softplus(),
                nn.Linear(config.decoder_dim, outputs),
            )
            for outputs in (1, 3)
        )

    def release_geometry(self, amount: float) -> None:
        self.start_shape.geometry_release.fill_(amount)

    def fit_to_checkpoint(self, state: Dict[str, Tensor]) -> Dict[str, Tensor]:
        release = "geometry_release"  # where it was before other fields had a start shape
        return {f"start_shape.{name}" if name == release else name: value for name, value in state.items()}

    def mapping(self, latents: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch code"]:
        return self.mapping_network(latents)

    @property
    def style_layers(self) -> tuple[str, ...]:
        """The generator's sides, and the two layers that make planes of its features."""
        return (*(f"{side}x{side}" for side in self.plane_generator.sides), "geometry", "colour")

    def condition(self, codes: Float[Tensor, "batch code"]) -> TriPlaneStyles:
        return self.condition_layers(codes.expand(len(self.style_layers), -1, -1))

    def condition_layers(self, codes: Float[Tensor, "layer batch code"]) -> TriPlaneStyles:
        features = self.plane_generator(codes[:-2])
        geometry = self.to_geometry(features[self.geometry_level], codes[-2])
        colour = self.to_colour(features[-1], codes[-1])
        return TriPlaneStyles(geometry.unflatten(1, (3, -1)), colour.unflatten(1, (3, -1)))

    def geometry_logits(
        self, positions: Float[Tensor, "batch points 3"], styles: TriPlaneStyles
    ) -> Float[Tensor, "batch points"]:
        features = sample_tri_planes(styles.geometry_planes, self.start_shape.in_box(positions))
        return self.start_shape(self.geometry_decoder(features).squeeze(-1), positions)

    def logit_gradient(
        self, positions: Float[Tensor, "batch points 3"], styles: TriPlaneStyles
    ) -> Float[Tensor, "batch points 3"]:
        """As the base class; while gradients are recorded, by differences over the corners of a tetrahedron.

        Torch cannot differentiate the plane reads twice. Four reads at +-half a texel give the gradient exactly where
        the logit is linear, and span neighbouring texels, which is what a smoothness term should see.
        """
        if not torch.is_grad_enabled():
            return super().logit_gradient(positions, styles)
        step = self.start_shape.smallest_half_side / self.config.geometry_side
        return tetrahedral_gradient(lambda points: self.geometry_logits(points, styles), positions, step)

    def forward(
        self,
        positions: Float[Tensor, "batch points 3"],
        directions: Float[Tensor, "batch points 3"],
        styles: TriPlaneStyles,
    ) -> tuple[Float[Tensor, "batch points"], Float[Tensor, "batch points 3"]]:
        return self.geometry_logits(positions, styles), self.colours(positions, directions, styles)

    def colours(
        self,
        positions: Float[Tensor, "batch points 3"],
        directions: Float[Tensor, "batch points 3"],
        styles: TriPlaneStyles,
    ) -> Float[Tensor, "batch points 3"]:
        features = sample_tri_planes(styles.colour_planes, self.start_shape.in_box(positions))
        return torch.sigmoid(self.colour_decoder(features))
