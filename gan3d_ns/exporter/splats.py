"""3D Gaussians, and how they are laid over a surface. World frame: +y up, front at +z, unit = radius of the orbit."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from gan3d_ns.exporter.surface_points import SurfacePoints


@dataclass(frozen=True)
class Splats:
    """Gaussians exp(-x^T C^-1 x / 2) with C = R diag(scales^2) R^T, of one colour from all sides."""

    positions: Float[Tensor, "splat 3"]
    scales: Float[Tensor, "splat 3"]
    """Standard deviations in world units along the columns of the rotation; the third is the thickness."""
    rotations: Float[Tensor, "splat 4"]
    """Quaternions (w, x, y, z), of any length but 0."""
    opacities: Float[Tensor, "splat"]
    """In [0, 1], at the centre."""
    colours: Float[Tensor, "splat 3"]
    """sRGB in [0, 1]."""

    def __len__(self) -> int:
        return len(self.positions)

    def to(self, device: torch.device | str) -> Splats:
        """The same on a device."""
        return Splats(*(getattr(self, entry.name).to(device) for entry in fields(self)))

    def detached(self) -> Splats:
        """The same without a graph behind them."""
        return Splats(*(getattr(self, entry.name).detach() for entry in fields(self)))

    @property
    def matrices(self) -> Float[Tensor, "splat 3 3"]:
        """Rotations as matrices: columns are the axes of the Gaussian in the world."""
        w, x, y, z = normalize(self.rotations, dim=-1).unbind(-1)
        rows = (
            (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
            (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
            (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
        )
        return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)

    @property
    def normals(self) -> Float[Tensor, "splat 3"]:
        """The axis of the thickness, out of the object."""
        return self.matrices[:, :, 2]

    @property
    def covariances(self) -> Float[Tensor, "splat 3 3"]:
        """C, in square world units."""
        halves = self.matrices * self.scales[:, None, :]
        return halves @ halves.transpose(1, 2)


def rotations_to(normals: Float[Tensor, "splat 3"]) -> Float[Tensor, "splat 4"]:
    """Unit quaternions (w, x, y, z) of the shortest rotations that take +z to unit normals."""
    x, y, z = normals.unbind(-1)
    quaternions = torch.stack((1.0 + z, -y, x, torch.zeros_like(z)), dim=-1)
    # Half a turn has no shortest axis: that around x will do.
    around_x = torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=normals.dtype, device=normals.device)
    return normalize(torch.where(z[:, None] < -1.0 + 1e-6, around_x, quaternions), dim=-1)


def splats_on(
    points: SurfacePoints, spacing: float, *, size: float = 0.65, thickness: float = 0.15, opacity: float = 0.95
) -> Splats:
    """A flat Gaussian on each point, along the surface.

    Args:
        points: evenly spread over the surface.
        spacing: smallest distance between two points, in world units.
        size: standard deviation along the surface, as a fraction of the spacing: smaller leaves holes, larger blurs.
        thickness: standard deviation along the normal, as a fraction of the spacing.
        opacity: at the centre; neighbours overlap and close the surface.
    """
    shape = points.positions.new_tensor([size, size, thickness]) * spacing
    return Splats(
        positions=points.positions,
        scales=shape.expand(len(points), 3).clone(),
        rotations=rotations_to(points.normals),
        opacities=opacity * points.opacities,
        colours=points.colours,
    )
