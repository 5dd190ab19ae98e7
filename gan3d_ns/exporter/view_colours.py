"""Colours of a surface as the cameras of the pose prior see it: the generator's own pictures, put back on the mesh.

A mesh has one opaque colour a point. What a picture of the generator shows at that point is composited of all matter
along the ray, which the colour of one query at the surface is not as long as the surface is soft. The mean over many
pictures is what agrees with them best.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Optional

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor
from torch.nn.functional import grid_sample

from gan3d_ns.cameras.projection import projected
from gan3d_ns.cameras.view_coverage import mirrored_poses
from gan3d_ns.exporter.mesh import ColourFunction, in_chunks
from gan3d_ns.exporter.object_pictures import PicturedObject

COSINE_POWER = 2.0
"""Weight of a view by the cosine between the normal and the way to the camera; on cars and cats 1 to 4 are as good."""
OPAQUE_FROM = 0.5
"""Pixels with less accumulation show the background rather than the object and count for nothing."""
ENOUGH_WEIGHT = 0.02
"""Sum of weights from which a point counts as seen; below it, the field's own colour fades in."""
OCCLUSION_SLACK = 2e-3
"""Of the mesh's diagonal: how far behind the first surface on its ray a point still counts as on it."""

CountFunction = Callable[[int, int], None]
"""Called with how much is done, of how much; what it raises ends the work."""


@dataclass(frozen=True)
class PriorViews:
    """Pictures of one object from cameras of the prior, on GOF's pixel grid (see `PosePrior.rays`)."""

    camera_to_world: Float[Tensor, "view 3 4"]
    """OpenGL cameras."""
    pictures: Float[Tensor, "view 4 row column"]
    """Composited sRGB with the background, and the accumulation."""
    fov_deg: float


def prior_views(
    pictured: PicturedObject, num_views: int, resolution: int, progress: Optional[CountFunction] = None
) -> PriorViews:
    """The generator's pictures of an object, `resolution` pixels a side, from an even number of cameras."""
    prior, pictures = pictured.prior, []
    poses = mirrored_poses(prior, num_views, pictured.device)
    for index, pose in enumerate(poses):
        if progress is not None:
            progress(index, len(poses))
        seen = pictured.picture(pose, resolution)
        pictures.append(torch.cat((seen.rgb, seen.accumulation[..., None]), dim=-1).float().permute(2, 0, 1).cpu())
    return PriorViews(prior.camera_to_world(poses).cpu(), torch.stack(pictures), prior.config.fov_deg)


class Occluder:
    """Answers which points of a mesh are hidden from a camera by the mesh itself (ray casting by Open3D)."""

    def __init__(self, vertices: Float32[np.ndarray, "vertex 3"], faces: Int64[np.ndarray, "face 3"]) -> None:
        import open3d

        self.tensor = open3d.core.Tensor
        self.scene = open3d.t.geometry.RaycastingScene()
        self.scene.add_triangles(vertices, faces.astype(np.uint32))
        self.slack = OCCLUSION_SLACK * float(np.linalg.norm(vertices.max(axis=0) - vertices.min(axis=0)))

    def visible(
        self, origin: Float[Tensor, "3"], directions: Float[Tensor, "point 3"], distances: Float[Tensor, "point"]
    ) -> Bool[Tensor, "point"]:
        """Whether nothing lies before the points at these distances in unit directions from the origin."""
        rays = torch.cat((origin.expand_as(directions), directions), dim=-1).float().numpy()
        first = self.scene.cast_rays(self.tensor(rays))["t_hit"].numpy()
        return torch.from_numpy(first) > distances - self.slack


@dataclass(frozen=True)
class ViewColours:
    """Colours of points of a mesh: the mean of what the views show of them.

    c = sum_i w_i c_i / sum_i w_i over the views that see the point, with w_i = max(cosine, 0)^2 max(accumulation - 1/2,
    0): views from the front count most, those past the object's rim nothing. Points that no view sees take the field's
    own colour.
    """

    views: PriorViews
    occluder: Occluder
    field_colours: ColourFunction
    """The field's own colours at positions with outward normals, on the generator's device."""
    device: torch.device
    """The generator's."""
    chunk: int = 32768
    """Points at once."""

    @torch.no_grad()
    def __call__(
        self,
        points: Float32[np.ndarray, "point 3"],
        normals: Float32[np.ndarray, "point 3"],
        progress: Optional[CountFunction] = None,
    ) -> Float32[np.ndarray, "point 3"]:
        """sRGB in [0, 1] at points of the mesh with these unit normals."""
        colours = np.empty_like(points)
        for start in range(0, len(points), self.chunk):
            part = slice(start, start + self.chunk)
            colours[part] = self._some(torch.from_numpy(points[part]), torch.from_numpy(normals[part]), progress)
            if progress is not None:
                progress(min(start + self.chunk, len(points)), len(points))
        return colours

    def _some(
        self, points: Float[Tensor, "point 3"], normals: Float[Tensor, "point 3"], progress: Optional[CountFunction]
    ) -> Float32[np.ndarray, "point 3"]:
        total, weight = self.seen(points, normals)
        share = (weight / ENOUGH_WEIGHT).clamp(max=1.0)[:, None]
        colours = share * total / weight.clamp(min=1e-12)[:, None]
        lacking = share[:, 0] < 1.0
        if bool(lacking.any()):
            own = in_chunks(
                self.field_colours, self.chunk, points[lacking].to(self.device), normals[lacking].to(self.device)
            )
            colours[lacking] += (1.0 - share[lacking]) * torch.from_numpy(own)
        return colours.clamp(0.0, 1.0).numpy()

    def seen(
        self, points: Float[Tensor, "point 3"], normals: Float[Tensor, "point 3"]
    ) -> tuple[Float[Tensor, "point 3"], Float[Tensor, "point"]]:
        """Weighted sum of the colours that the views show of each point, and the sum of the weights."""
        total, weight = torch.zeros_like(points), torch.zeros_like(points[:, 0])
        for matrix, picture in zip(self.views.camera_to_world, self.views.pictures, strict=True):
            place, depth, distances = projected(points, matrix, self.views.fov_deg)
            directions = (points - matrix[:, 3]) / distances[:, None]
            cosine = -(directions * normals).sum(dim=-1)
            index = ((cosine > 0.0) & (depth > 0.0) & (place.abs() <= 1.0).all(dim=-1)).nonzero()[:, 0]
            index = index[self.occluder.visible(matrix[:, 3], directions[index], distances[index])]
            seen = grid_sample(picture[None], place[index][None, None], align_corners=True)[0, :, 0].T
            share = cosine[index] ** COSINE_POWER * (seen[:, 3] - OPAQUE_FROM).clamp(min=0.0)
            total.index_add_(0, index, share[:, None] * seen[:, :3])
            weight.index_add_(0, index, share)
        return total, weight
