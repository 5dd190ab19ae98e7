"""What every generative field answers: geometry and colour at a point, given the styles of a latent."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor, nn

from gan3d_ns.field_components.picture_randomness import Randomness

NORMAL_EPSILON = 1e-7

StylesType = TypeVar("StylesType", bound="Styles")


@dataclass(frozen=True)
class Styles:
    """What a field needs of a latent, computed once for it. Every tensor has the latent as its first dimension."""

    def __getitem__(self: StylesType, index: slice | Tensor) -> StylesType:
        return type(self)(**{entry.name: getattr(self, entry.name)[index] for entry in fields(self)})

    def __len__(self) -> int:
        return getattr(self, fields(self)[0].name).shape[0]


def tetrahedral_gradient(
    logits_at: Callable[[Float[Tensor, "batch corners 3"]], Float[Tensor, "batch corners"]],
    positions: Float[Tensor, "batch points 3"],
    step: float,
) -> Float[Tensor, "batch points 3"]:
    """Gradient by four reads at the corners of a tetrahedron, +-step away along each axis; exact for linear logits."""
    corners = positions.new_tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    points = (positions[:, :, None] + step * corners).flatten(1, 2)
    return logits_at(points).unflatten(1, (-1, 4)) @ corners / (4.0 * step)


class GenerativeField(nn.Module):
    """A family of 3D objects: latent -> code -> styles -> (position, direction) -> geometry and colour.

    Positions and directions are in the world frame (+y up, the object at the origin, its front towards +z).
    The geometry value is larger in matter; whether it is read as an occupancy logit or as a density before its
    activation is the sampler's business, so that one field serves both.
    """

    latent_dim: int
    code_dim: int
    latent_parts: Mapping[str, slice] = MappingProxyType({})
    """Where the latent separates what it decides: "shape" and "appearance"; empty where one code decides both."""
    feature_dim: int | None = None
    """Length of the features that :meth:`forward` gives in place of colours, where a neural renderer makes pictures of
    them; None: colours."""
    num_parts: int = 1
    """Fields that are joined at each point; noise in training is drawn for each of them."""
    descriptor_dim: int = 0
    """Length of :meth:`descriptors`; 0 where the field keeps none."""
    has_backdrop: bool = False
    """Whether rays show something of the field's own behind all matter."""
    backdrop_noise_std: float = 0.0
    """Standard deviation of the noise on the backdrop's densities in training; the training engine lowers it."""
    half_sides: tuple[float, float, float] | None = None
    """Half the sides of the box, centred at the origin, that holds all matter; None: the field goes on everywhere."""

    @property
    def expected_half_sides(self) -> tuple[float, float, float] | None:
        """Half the sides of the box that the object is expected in, in world units; None where nothing is known."""
        return self.half_sides

    @abstractmethod
    def mapping(self, latents: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch code"]:
        """Latents ~ N(0, I) to codes, the space in which styles are averaged (truncation) and interpolated."""

    def truncated(
        self, codes: Float[Tensor, "batch code"], centre: Float[Tensor, "code"], amount: float
    ) -> Float[Tensor, "batch code"]:
        """centre + amount (codes - centre); fields whose codes also say where things stand leave those alone."""
        return centre + amount * (codes - centre)

    @abstractmethod
    def condition(self, codes: Float[Tensor, "batch code"]) -> Any:
        """Codes to this field's :class:`Styles`: all the work that does not depend on the rays."""

    @property
    def style_layers(self) -> tuple[str, ...]:
        """Names of the layers that codes steer, in the order of the network: each can take another object's code."""
        return ("all",)

    @property
    def appearance_layers(self) -> tuple[int, ...]:
        """The ``style_layers`` that decide the appearance alone, where the latent itself does not separate it."""
        return ()

    @property
    def truncated_layers(self) -> int | None:
        """How many of the ``style_layers``, from the first on, truncation reaches; None: all of them."""
        return None

    @property
    def separates_appearance(self) -> bool:
        """Whether one object's shape can wear another one's appearance."""
        return "appearance" in self.latent_parts or len(self.appearance_layers) > 0

    def condition_layers(self, codes: Float[Tensor, "layer batch code"]) -> Any:
        """Styles whose layers follow from a code each (style mixing, StyleGAN, section 3.1).

        Equal codes give what :meth:`condition` gives.
        """
        (code,) = codes
        return self.condition(code)

    def cut_out(self, styles: Any) -> Any:
        """The styles of the matter that can be taken out of its picture, as meshes want it: without a background.

        Fields that hold nothing else are taken whole.
        """
        return styles

    @abstractmethod
    def geometry_logits(self, positions: Float[Tensor, "batch points 3"], styles: Any) -> Float[Tensor, "batch points"]:
        """Geometry alone, as the surface search, the mesher and the normals want it."""

    @abstractmethod
    def forward(
        self, positions: Float[Tensor, "batch points 3"], directions: Float[Tensor, "batch points 3"], styles: Any
    ) -> tuple[Float[Tensor, "batch points"], Float[Tensor, "batch points channel"]]:
        """Geometry, and colour in [0, 1] or features; directions are unit vectors from the camera into the scene."""

    def colours(
        self, positions: Float[Tensor, "batch points 3"], directions: Float[Tensor, "batch points 3"], styles: Any
    ) -> Float[Tensor, "batch points channel"]:
        """Colour or features alone, for points whose geometry is known; fields that can save work override it."""
        return self(positions, directions, styles)[1]

    def descriptors(self, positions: Float[Tensor, "batch points 3"], styles: Any) -> Float[Tensor, "batch points d"]:
        """What the field knows of places before its network reads it, of fields that keep such features; else none."""
        return positions[..., :0]

    def noisy(
        self,
        positions: Float[Tensor, "batch points 3"],
        directions: Float[Tensor, "batch points 3"],
        styles: Any,
        noise: Float[Tensor, "batch points part"],
    ) -> tuple[Float[Tensor, "batch points"], Float[Tensor, "batch points channel"]]:
        """As :meth:`forward`, with noise on the geometry of each part, as densities want it in training."""
        values, colours = self(positions, directions, styles)
        return values + noise[..., 0], colours

    def backdrop(
        self, rays: RayBundle, styles: Any, jitter: Randomness | None = None
    ) -> Float[Tensor, "batch ray channel"]:
        """What rays show that meet nothing, where the field :attr:`has_backdrop`.

        Args:
            rays: shape (batch, ray), one row for each of the styles.
            styles: of the objects before it.
            jitter: randomness of its samples in training.
        """
        raise NotImplementedError(f"{type(self).__name__} has nothing behind its matter")

    def logit_gradient(
        self, positions: Float[Tensor, "batch points 3"], styles: Any
    ) -> Float[Tensor, "batch points 3"]:
        """Gradient of the geometry with respect to the world position, by automatic differentiation.

        Keeps the graph for a second differentiation while gradients are being recorded.
        """
        create_graph = torch.is_grad_enabled()
        with torch.enable_grad():
            positions = positions.detach().requires_grad_(True)
            logits = self.geometry_logits(positions, styles)
            (gradient,) = torch.autograd.grad(logits.sum(), positions, create_graph=create_graph)
        return gradient

    def normals(self, positions: Float[Tensor, "batch points 3"], styles: Any) -> Float[Tensor, "batch points 3"]:
        """Unit vectors from matter to free space, -grad / (|grad| + 1e-7) (GOF, released code, get_normal)."""
        gradient = self.logit_gradient(positions, styles)
        normals = -gradient / (gradient.norm(dim=-1, keepdim=True) + NORMAL_EPSILON)
        return torch.nan_to_num(normals).clamp(-1.0, 1.0)

    def release_geometry(self, amount: float) -> None:
        """How far geometry may leave the field's start shape: 0 is that shape alone, 1 is free.

        Fields without a start shape are always free.
        """

    def fit_to_checkpoint(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Prepares for a state dict of this field that is about to be loaded; returns it under today's names.

        Fields whose parameters have several forms take the form that the state has; most have only one.
        """
        return state

    def load_authors_weights(self, state: dict[str, Tensor]) -> None:
        """Loads the state dict of the original release of this field; fields without a release refuse."""
        raise NotImplementedError(f"{type(self).__name__} has no published weights")
