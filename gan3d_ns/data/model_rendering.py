"""Pictures, depths and normals of coloured meshes by ray casting, lit as the toy cars are."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from gan3d_ns.cameras.pose_prior import PosePrior
from gan3d_ns.data.model_files import ColouredMesh
from gan3d_ns.data.procedural_rendering import OCCLUSION_REACH, lit, supersampled_rays
from gan3d_ns.data.true_collection import TrueMesh, TrueView

SAMPLES_OF_FACE, ESCAPES = 6, 24
"""Points of each face, and rays from each of them, that look for a way out of the model."""
FACES_AT_ONCE = 1 << 14
"""Whose rays, ESCAPES of each, are in memory together."""
OFFSET = 1e-5
"""World units between a face and the rays that start on it."""


class Hits:
    """Where rays first meet a mesh.

    Args:
        hit: which rays do.
        distance: along the unit ray; infinite where there is no hit.
        face: number of the face that each hitting ray meets.
        corner_weights: barycentric weights of its three corners.
    """

    def __init__(
        self,
        hit: Bool[Tensor, "ray"],
        distance: Float[Tensor, "ray"],
        face: Int64[Tensor, "hit"],
        corner_weights: Float[Tensor, "hit 3"],
    ) -> None:
        self.hit, self.distance, self.face, self.corner_weights = hit, distance, face, corner_weights


class ModelScene:
    """A coloured mesh that rays are cast at. Both sides of its faces are seen."""

    def __init__(self, model: ColouredMesh) -> None:
        import open3d as o3d

        self._core = o3d.core
        self._scene = o3d.t.geometry.RaycastingScene()
        self._scene.add_triangles(
            o3d.core.Tensor(np.ascontiguousarray(model.vertices)),
            o3d.core.Tensor(np.ascontiguousarray(model.faces.astype(np.uint32))),
        )
        self.corners = torch.from_numpy(model.vertices[model.faces])
        self._uv = torch.from_numpy(model.uv)
        self._colours = torch.from_numpy(model.colours)
        self._texture_of = torch.from_numpy(model.texture_of)
        self._textures = [
            torch.from_numpy(texture).permute(2, 0, 1)[None].float() / 255.0 for texture in model.textures
        ]
        edges = self.corners[:, 1:] - self.corners[:, :1]
        self._normals = torch.nn.functional.normalize(torch.linalg.cross(edges[:, 0], edges[:, 1]), dim=-1, eps=1e-20)

    def cast(self, origins: Float[Tensor, "ray 3"], directions: Float[Tensor, "ray 3"]) -> Hits:
        """Where rays first meet the mesh."""
        rays = torch.cat([origins, directions], dim=-1).contiguous().numpy()
        found = self._scene.cast_rays(self._core.Tensor(rays))
        distance = torch.from_numpy(found["t_hit"].numpy())
        hit = distance.isfinite()
        face = torch.from_numpy(found["primitive_ids"].numpy().astype(np.int64))[hit]
        second, third = torch.from_numpy(found["primitive_uvs"].numpy())[hit].unbind(-1)
        return Hits(hit, distance, face, torch.stack([1 - second - third, second, third], dim=-1))

    def normals(self, hits: Hits, directions: Float[Tensor, "ray 3"]) -> Float[Tensor, "hit 3"]:
        """Unit normals of the faces that were met, on the side that the ray comes from."""
        normals = self._normals[hits.face]
        away = (normals * directions[hits.hit]).sum(dim=-1, keepdim=True) > 0
        return torch.where(away, -normals, normals)

    def colours(self, hits: Hits) -> Float[Tensor, "hit 3"]:
        """Unlit colours in [0, 1]: corner colours times the bilinear texture, which repeats."""
        weights = hits.corner_weights[:, :, None]
        colours = (weights * self._colours[hits.face]).sum(dim=1)
        uv = (weights * self._uv[hits.face]).sum(dim=1)
        # A corner at exactly 1 must not come round to 0.
        uv = torch.where((uv < 0) | (uv > 1), uv - uv.floor(), uv)
        grid = torch.stack([2 * uv[:, 0] - 1, 1 - 2 * uv[:, 1]], dim=-1)
        for number, texture in enumerate(self._textures):
            chosen = self._texture_of[hits.face] == number
            if chosen.any():
                looked_up = torch.nn.functional.grid_sample(
                    texture, grid[chosen][None, None], padding_mode="border", align_corners=False
                )
                colours[chosen] *= looked_up[0, :, 0].T
        return colours

    def distance(self, points: Float[Tensor, "point 3"]) -> Float[Tensor, "point"]:
        """Distance to the nearest face."""
        return torch.from_numpy(self._scene.compute_distance(self._core.Tensor(points.contiguous().numpy())).numpy())


def render_model_colours(
    scene: ModelScene, prior: PosePrior, pose: Float[Tensor, "2"], resolution: int, supersampling: int
) -> Float[Tensor, "3 row column"]:
    """Return the shaded colours in [0, 1] over white: mean of `supersampling` squared rays within each pixel."""
    origin, directions = supersampled_rays(prior, pose, resolution, supersampling)
    flat = directions.reshape(-1, 3)
    hits = scene.cast(origin.expand_as(flat), flat)
    normals = scene.normals(hits, flat)
    points = origin + hits.distance[hits.hit, None] * flat[hits.hit]
    openness = scene.distance(points + OCCLUSION_REACH * normals) / OCCLUSION_REACH
    colours = torch.ones_like(flat)
    colours[hits.hit] = lit(scene.colours(hits), normals, openness)
    return torch.nn.functional.avg_pool2d(colours.view(directions.shape).permute(2, 0, 1), supersampling)


def render_model(
    scene: ModelScene, prior: PosePrior, pose: Float[Tensor, "2"], resolution: int, supersampling: int
) -> TrueView:
    """Return the picture from one pose of `prior`, with depth, mask and normals at the pixels' centres."""
    rgb = render_model_colours(scene, prior, pose, resolution, supersampling)
    origin, directions = supersampled_rays(prior, pose, resolution, 1)
    flat = directions.reshape(-1, 3)
    hits = scene.cast(origin.expand_as(flat), flat)
    depth = torch.where(hits.hit, hits.distance, torch.full_like(hits.distance, prior.config.far))
    normals = torch.zeros_like(flat)
    normals[hits.hit] = scene.normals(hits, flat)
    square = (resolution, resolution)
    return TrueView(rgb, depth.view(square), hits.hit.view(square), normals.view(*square, 3))


def faces_in_sight(scene: ModelScene) -> Bool[np.ndarray, "face"]:
    """Which faces can be seen from somewhere outside: models have parts within others, which no camera ever shows.

    A face is in sight where one of some rays from some of its points meets nothing.
    """
    randomness = torch.Generator().manual_seed(0)
    seen = torch.zeros(len(scene.corners), dtype=torch.bool)
    turns = torch.arange(ESCAPES) * math.pi * (3.0 - math.sqrt(5.0))
    heights = 1.0 - (2.0 * torch.arange(ESCAPES) + 1.0) / ESCAPES
    across = (1.0 - heights.square()).sqrt()
    sphere = torch.stack([across * turns.cos(), heights, across * turns.sin()], dim=-1)
    for _ in range(SAMPLES_OF_FACE):
        weights = torch.rand(len(scene.corners), 3, generator=randomness).clamp_min(1e-3).log().neg()
        points = (scene.corners * (weights / weights.sum(dim=1, keepdim=True))[:, :, None]).sum(dim=1)
        for chosen in (~seen).nonzero()[:, 0].split(FACES_AT_ONCE):
            rays = sphere.repeat(len(chosen), 1)
            hits = scene.cast(points[chosen].repeat_interleave(ESCAPES, dim=0) + OFFSET * rays, rays)
            seen[chosen] = (~hits.hit).view(-1, ESCAPES).any(dim=1)
    return seen.numpy()


def outer_mesh(model: ColouredMesh, in_sight: Bool[np.ndarray, "face"]) -> TrueMesh:
    """The faces in sight, with only their own vertices."""
    used, faces = np.unique(model.faces[in_sight], return_inverse=True)
    return TrueMesh(torch.from_numpy(model.vertices[used]), torch.from_numpy(faces.reshape(-1, 3).astype(np.int64)))
