"""A tri-plane occupancy field: a small style-based 2D generator draws planes, small decoders read them.

The planes follow EG3D (section 4.1), but geometry has coarser ones of its own: it stays smooth where colour is sharp,
and the surface search reads only these. Geometry is an occupancy logit, so GOF's search applies as it stands.
"""

from dataclasses import dataclass, field
from typing import Optional, Tuple, Type

import torch
from jaxtyping import Float
from nerfstudio.configs.base_config import InstantiateConfig
from torch import Tensor, nn

from gan3d_ns.errors import UserError
from gan3d_ns.field_components.modulated import ModulatedConv2d, StyleGenerator2d
from gan3d_ns.field_components.tri_plane import sample_tri_planes
from gan3d_ns.fields.base_field import GenerativeField, Styles

NORMALISATION_EPSILON = 1e-8


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
    box_half_sides: Tuple[float, float, float] = (0.16, 0.16, 0.12)
    """Half the sides of the box that the planes span, centred at the origin, in world units. The frame of a camera of
    12 degrees is 0.105 wide at the origin and 0.149 to its corners; near and far leave 0.12 towards the camera."""
    geometry_rate: float = 0.1875
    """Scale of the decoder's logit: below 1 geometry learns more slowly than colour, which keeps dark spots of the
    pictures from becoming holes."""
    sphere_prior_gain: float = 6.0
    """Slope of the start shape added to the logit, per box unit (half the smallest side): the first surface faces
    outwards; larger values keep surfaces closer to it."""
    sphere_prior_radius: float = 0.75
    """Radius of the start shape's sphere in box units."""
    max_displacement: Optional[float] = None
    """How far, in box units, surfaces may lie from the start shape's: a soft bound on the decoder's logit. None leaves
    them free inside the envelope. About .3 suits heads and prevents pits and floating shards."""
    envelope_radius: float = 0.92
    """Matter stays inside this radius in box units. A generator that may fill the near plane paints its pictures there
    and learns no shape."""
    envelope_slope: float = 60.0
    """How fast the logit falls beyond the envelope, per box unit."""
    backdrop: Optional[float] = None
    """Height z in box units below which the start shape is matter everywhere: a wall behind the object, for pictures
    with a background. None for objects that are seen from all around."""
    backdrop_envelope: float = 0.0
    """The backdrop stays below this height in box units, outside the object's envelope."""

    def __post_init__(self) -> None:
        if self.max_displacement is not None and self.max_displacement <= 0:
            raise UserError(
                f"max_displacement is {self.max_displacement}; give a positive length, or None for no bound."
            )


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

    geometry_release: Float[Tensor, ""]

    def __init__(self, config: TriPlaneFieldConfig) -> None:
        super().__init__()
        self.register_buffer("geometry_release", torch.ones(()))
        self.config = config
        self.latent_dim = self.code_dim = config.latent_dim
        self.half_sides = config.box_half_sides
        self.mapping_network = nn.Sequential(
            nn.Linear(config.latent_dim, config.latent_dim),
            nn.LeakyReLU(0.2),
            nn.Linear(config.latent_dim, config.latent_dim),
            nn.LeakyReLU(0.2),
        )
        for layer in self.mapping_network:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, a=0.2, nonlinearity="leaky_relu")
                nn.init.zeros_(layer.bias)
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
        self.geometry_release.fill_(amount)

    def mapping(self, latents: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch code"]:
        scale = latents.square().mean(dim=-1, keepdim=True)
        return self.mapping_network(latents * torch.rsqrt(scale + NORMALISATION_EPSILON))

    def condition(self, codes: Float[Tensor, "batch code"]) -> TriPlaneStyles:
        features = self.plane_generator(codes)
        geometry = self.to_geometry(features[self.geometry_level], codes)
        colour = self.to_colour(features[-1], codes)
        return TriPlaneStyles(geometry.unflatten(1, (3, -1)), colour.unflatten(1, (3, -1)))

    def in_box(self, positions: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points 3"]:
        """World positions in units of the planes, which span [-1, 1] on each axis."""
        return positions / positions.new_tensor(self.config.box_half_sides)

    def shaped(
        self, logits: Float[Tensor, "batch points"], positions: Float[Tensor, "batch points 3"]
    ) -> Float[Tensor, "batch points"]:
        """Decoder logits, as far as they are released, with the start shape and the envelope, at world positions.

        Added, not clipped: a clipped logit has no gradient, and matter that reached the envelope could not leave it.
        """
        config = self.config
        positions = positions / min(config.box_half_sides)
        radius = positions.norm(dim=-1)
        inside = config.sphere_prior_radius - radius
        beyond = torch.relu(radius - config.envelope_radius)
        if config.backdrop is not None:
            inside = torch.maximum(inside, config.backdrop - positions[..., 2])
            beyond = torch.minimum(beyond, torch.relu(positions[..., 2] - config.backdrop_envelope))
        logits = self.geometry_release * config.geometry_rate * logits
        if config.max_displacement is not None:
            bound = config.sphere_prior_gain * config.max_displacement
            logits = bound * torch.tanh(logits / bound)
        return logits + config.sphere_prior_gain * inside - config.envelope_slope * beyond

    def geometry_logits(
        self, positions: Float[Tensor, "batch points 3"], styles: TriPlaneStyles
    ) -> Float[Tensor, "batch points"]:
        features = sample_tri_planes(styles.geometry_planes, self.in_box(positions))
        return self.shaped(self.geometry_decoder(features).squeeze(-1), positions)

    def logit_gradient(
        self, positions: Float[Tensor, "batch points 3"], styles: TriPlaneStyles
    ) -> Float[Tensor, "batch points 3"]:
        """As the base class; while gradients are recorded, by differences over the corners of a tetrahedron.

        Torch cannot differentiate the plane reads twice. Four reads at +-half a texel give the gradient exactly where
        the logit is linear, and span neighbouring texels, which is what a smoothness term should see.
        """
        if not torch.is_grad_enabled():
            return super().logit_gradient(positions, styles)
        corners = positions.new_tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
        step = min(self.config.box_half_sides) / self.config.geometry_side
        points = (positions[:, :, None] + step * corners).flatten(1, 2)
        logits = self.geometry_logits(points, styles).unflatten(1, (-1, 4))
        return logits @ corners / (4.0 * step)

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
        return torch.sigmoid(self.colour_decoder(sample_tri_planes(styles.colour_planes, self.in_box(positions))))
