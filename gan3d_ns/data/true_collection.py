"""Collections whose cameras and shapes are known: what metrics of geometry and pose compare with."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int64
from torch import Tensor

from gan3d_ns.cameras.pose_prior import PosePrior

TRUTH_FILE = "truth.npz"
"""What is true of the pictures, beside them."""
SHARED_CAMERA = ("fov_deg", "radius", "near", "far", "planar_depth")
"""What a generator's pose prior must have in common with the truth's for their pictures and depths to be compared."""


class TrueView(NamedTuple):
    """What a camera really sees; distances in world units."""

    rgb: Float[Tensor, "3 row column"]
    """Colours in [0, 1], row 0 on top."""
    depth: Float[Tensor, "row column"]
    """Distance along the unit ray through the pixel's centre to the surface; the prior's far where there is none."""
    mask: Bool[Tensor, "row column"]
    """True where that ray meets the object."""
    normals: Float[Tensor, "row column 3"]
    """Unit normals in the world, out of matter; 0 where there is no surface."""


class TrueMesh(NamedTuple):
    """A true surface, in world units."""

    vertices: Float[Tensor, "vertex 3"]
    faces: Int64[Tensor, "face 3"]


@runtime_checkable
class TrueCollection(Protocol):
    """A folder of pictures with what they show. Picture i shows object `object_of(i)` from pose `pose(i)`."""

    folder: Path

    @property
    def prior(self) -> PosePrior:
        """Where the cameras stand."""
        ...

    @property
    def num_objects(self) -> int:
        """Number of objects."""
        ...

    def __len__(self) -> int:
        """Number of pictures."""
        ...

    def object_of(self, index: int) -> int:
        """Which object a picture shows."""
        ...

    def pose(self, index: int) -> Float[Tensor, "2"]:
        """True (pitch, yaw) in radians."""
        ...

    def view(self, index: int, resolution: int, pose: Float[Tensor, "2"] | None = None) -> TrueView:
        """The object of a picture, from the picture's pose or from any other."""
        ...

    def mesh(self, number: int) -> TrueMesh:
        """The surface of an object."""
        ...
