"""The shape that a field's surfaces start from: a sphere, and a wall behind it where pictures have a background."""

from dataclasses import dataclass, field
from typing import Optional, Tuple, Type

import torch
from jaxtyping import Float
from nerfstudio.configs.base_config import InstantiateConfig
from torch import Tensor, nn

from gan3d_ns.errors import UserError


@dataclass
class StartShapeConfig(InstantiateConfig):
    """The box of a field, the shape that it starts from, and how far it may leave it."""

    _target: Type = field(default_factory=lambda: StartShape)
    box_half_sides: Tuple[float, float, float] = (0.16, 0.16, 0.12)
    """Half the sides of the box that the field spans, centred at the origin, in world units. The frame of a camera of
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


class StartShape(nn.Module):
    """Adds the start shape to a decoder's logits. Positions are in world units, lengths in box units.

    ``geometry_release`` says how far the decoder is heard, 0 to 1; it is saved with the weights.
    """

    geometry_release: Float[Tensor, ""]

    def __init__(self, config: StartShapeConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("geometry_release", torch.ones(()))

    @property
    def smallest_half_side(self) -> float:
        """The world length of one box unit."""
        return min(self.config.box_half_sides)

    def in_box(self, positions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
        """World positions in units of the box, which spans [-1, 1] on each axis."""
        return positions / positions.new_tensor(self.config.box_half_sides)

    def forward(
        self, logits: Float[Tensor, "batch points"], positions: Float[Tensor, "batch points 3"]
    ) -> Float[Tensor, "batch points"]:
        """Decoder logits, as far as they are released, with the start shape and the envelope, at world positions.

        Added, not clipped: a clipped logit has no gradient, and matter that reached the envelope could not leave it.
        """
        config = self.config
        positions = positions / self.smallest_half_side
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
