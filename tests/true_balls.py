"""A collection with truth that costs nothing: balls beside the origin, in a texture that belongs to the place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import trimesh
from torch import Tensor

from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS, PosePrior
from gan3d_ns.data.true_collection import TrueMesh, TrueView


class TrueBalls:
    """Object n is a ball of some radius around a centre; pictures 2 n and 2 n + 1 show it.

    Args:
        centres: of the balls in world units.
        radii: of each.
        preset: the pose prior.
    """

    def __init__(self, centres: Tensor, radii: Tensor, preset: str = "procedural") -> None:
        self.folder = Path("balls")
        self.prior = PosePrior(POSE_PRIOR_PRESETS[preset])
        self.centres, self.radii, self.num_objects = centres, radii, len(radii)
        self.poses = self.prior.sample(2 * self.num_objects, torch.Generator().manual_seed(5))

    def __len__(self) -> int:
        return 2 * self.num_objects

    def object_of(self, index: int) -> int:
        return index // 2

    def pose(self, index: int) -> Tensor:
        return self.poses[index]

    def view(self, index: int, resolution: int, pose: Tensor | None = None) -> TrueView:
        number = self.object_of(index)
        rays = self.prior.rays((self.pose(index) if pose is None else pose)[None], resolution)
        origins, directions = rays.origins[0] - self.centres[number], rays.directions[0]
        middle = -(origins * directions).sum(dim=-1)
        chord = self.radii[number] ** 2 - (origins + middle[:, None] * directions).square().sum(dim=-1)
        distance = middle - chord.clamp(min=0.0).sqrt()
        points, mask = origins + distance[:, None] * directions, chord > 0
        rgb = torch.where(mask[:, None], 0.5 + 0.4 * torch.sin(60.0 * points), 1.0)
        square = (resolution, resolution)
        return TrueView(
            rgb=rgb.reshape(*square, 3).permute(2, 0, 1),
            depth=torch.where(mask, distance, self.prior.config.far).reshape(square),
            mask=mask.reshape(square),
            normals=torch.where(mask[:, None], points / self.radii[number], 0.0).reshape(*square, 3),
        )

    def mesh(self, number: int) -> TrueMesh:
        ball = trimesh.creation.icosphere(subdivisions=3, radius=float(self.radii[number]))
        vertices = torch.from_numpy(np.asarray(ball.vertices, dtype=np.float32)) + self.centres[number]
        return TrueMesh(vertices, torch.from_numpy(np.asarray(ball.faces, dtype=np.int64)))


def balls(count: int = 4, preset: str = "procedural") -> TrueBalls:
    """Balls of different sizes at the origin."""
    return TrueBalls(torch.zeros(count, 3), torch.linspace(0.05, 0.08, count), preset)
