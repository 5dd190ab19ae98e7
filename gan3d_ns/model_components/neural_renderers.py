"""Networks that finish a picture: an image of composited features in, the picture in more pixels out."""

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, Optional, Type

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from nerfstudio.configs.base_config import InstantiateConfig
from torch import Tensor, nn

from gan3d_ns.errors import UserError
from gan3d_ns.field_components.picture_randomness import Randomness


class NoNeuralRenderer:
    """Pictures are what the rays show."""


@dataclass
class NeuralRendererConfig(InstantiateConfig):
    """The network that finishes the pictures; this one stands for none."""

    _target: Type = field(default_factory=lambda: NoNeuralRenderer)
    """target class to instantiate"""

    def setup(self, **kwargs: Any) -> Any:
        """The network; None where pictures are what the rays show."""
        return None if self._target is NoNeuralRenderer else super().setup(**kwargs)

    @property
    def style_layers(self) -> "tuple[str, ...]":
        """Names of the layers that take a code, see `NeuralRenderer.style_layers`."""
        return ()

    @property
    def picture_sides(self) -> "tuple[int, ...]":
        """Sides of the pictures that it can make, in pixels; none without a network."""
        return ()


def doubled_sides(ray_side: int, resolution: int) -> "tuple[int, ...]":
    """The side of the feature image, doubled and doubled again up to the resolution."""
    count = (resolution // max(ray_side, 1)).bit_length()
    return tuple(ray_side << doublings for doublings in range(count))


def as_image(features: Float[Tensor, "view ray channel"], columns: int) -> Float[Tensor, "view channel row column"]:
    """Values of rays, row by row from the top left, as an image."""
    return features.unflatten(1, (-1, columns)).permute(0, 3, 1, 2)


def resized(pictures: Float[Tensor, "view 3 row column"], rows: int, columns: int) -> Float[Tensor, "view 3 r c"]:
    """Pictures in another size: bilinear, and averaged where they shrink."""
    if pictures.shape[-2:] == (rows, columns):
        return pictures
    return F.interpolate(pictures, (rows, columns), mode="bilinear", align_corners=False, antialias=True)


class NeuralRenderer(nn.Module):
    """Features of rays -> picture, each doubling of the side a stage of its own.

    A picture of `side` pixels has `ray_side` rays along each side. A training may begin with fewer doublings and fade
    in one after the other; how far it has come is saved with the weights.

    Args:
        feature_dim: channels of the features.
        ray_side: rays along each side of the feature image of a whole picture.
        resolution: side of the largest picture, `ray_side` times a power of two.
        aligned: rays stand at the middle of the pixels that their feature becomes, so that picture and geometry lie
            over each other. Otherwise they span the frame up to its borders, as published.

    Raises:
        UserError: the two sides do not fit together.
    """

    doublings: Int[Tensor, ""]
    fade: Float[Tensor, ""]
    style_layers: tuple[str, ...] = ()
    """Names of the layers that take a code: of `renderer_codes` in the field's styles."""

    def __init__(self, feature_dim: int, ray_side: int, resolution: int, aligned: bool = True) -> None:
        super().__init__()
        self.feature_dim, self.ray_side, self.aligned = feature_dim, ray_side, aligned
        self.most_doublings = (resolution // max(ray_side, 1)).bit_length() - 1
        if ray_side < 2 or self.most_doublings < 0 or ray_side << self.most_doublings != resolution:
            raise UserError(
                f"a neural renderer cannot make {resolution} pixels of {ray_side} rays a side; choose a ray_side of 2 "
                "or more, doubled once or several times (or not at all) for the resolution."
            )
        self.register_buffer("doublings", torch.tensor(self.most_doublings))
        self.register_buffer("fade", torch.tensor(1.0))

    @property
    def side(self) -> int:
        """Side of the pictures that it makes now, in pixels."""
        return self.ray_side << int(self.doublings)

    def grow_to(self, side: int, fade: float = 1.0) -> None:
        """Makes pictures of this side from now on, whose last doubling has this weight in [0, 1].

        Raises:
            UserError: it has no such stage.
        """
        sides = doubled_sides(self.ray_side, self.ray_side << self.most_doublings)
        if side not in sides:
            raise UserError(
                f"the neural renderer makes pictures of {', '.join(map(str, sides))} pixels, not of {side}; change the "
                "curriculum's resolution, or its --pipeline.model.neural-renderer.resolution."
            )
        self.doublings.fill_(sides.index(side))
        self.fade.fill_(fade)

    def coordinates(self) -> Float[Tensor, "1 ray 2"]:
        """Where its rays go through the frame, which spans [-1, 1] between the centres of the outermost pixels."""
        if self.aligned:
            times = self.side // self.ray_side
            pixels = times * torch.arange(self.ray_side, device=self.fade.device) + (times - 1) / 2.0
            steps = 2.0 * pixels / (self.side - 1) - 1.0
        else:
            steps = torch.linspace(-1.0, 1.0, self.ray_side, device=self.fade.device)
        down, right = torch.meshgrid(steps, steps, indexing="ij")
        return torch.stack((right, down), dim=-1).reshape(1, -1, 2)

    @abstractmethod
    def forward(
        self,
        features: Float[Tensor, "view channel row column"],
        styles: Any,
        jitter: Optional[Randomness] = None,
    ) -> Float[Tensor, "view 3 rows columns"]:
        """Pictures in [0, 1] of any features' image, `2**doublings` pixels for each feature and side.

        Args:
            features: composited along rays.
            styles: of the objects, see `style_layers`.
            jitter: randomness of spatial noise in training; without it there is none.
        """

    @abstractmethod
    def ray_colours(self, features: Float[Tensor, "view ray channel"], styles: Any) -> Float[Tensor, "view ray 3"]:
        """The colour of a ray on its own: what a picture shows, away from its borders, that is this feature all over.

        It does not depend on the other rays, so that it is the same from picture to picture.
        """
