"""Pictures, depths and masks of signed distance scenes by sphere tracing, on the CPU or wherever the rays live."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gan3d_ns.cameras.pose_prior import PosePrior

CONE_ARRIVAL = 0.3
"""A cone stops when the free space around it is below this fraction of its own radius: the rays go on from there."""
CONE_MAX_STEPS = 20
"""The same for cones, whose rays go on from wherever they are."""
NORMAL_STEP = 2e-4
"""World units between the samples of the finite difference that gives normals."""
BLOCK = 8
"""Pixels a side of the cones that are traced before the rays."""
OCCLUSION_REACH = 0.02
"""World units over which the surroundings of a point darken it."""
KEY_LIGHT = (0.45, 0.75, 0.5)
"""Direction towards the main light, from the right, above, in front."""
FILL_LIGHT = (-0.6, 0.25, -0.75)
"""Direction towards the weak light from the other side."""
AMBIENT, KEY, FILL = 0.52, 0.5, 0.16
"""Strength of the lights; an unshaded face towards the main light keeps about its own colour."""


class Precision(NamedTuple):
    """When a ray has arrived at the surface."""

    hit_distance: float
    """Distance to the surface, in world units, that counts as arrived."""
    max_steps: int
    """Sphere tracing steps; rays that graze the surface need the most."""
    grazing_distance: float
    """Rays that run out of steps have arrived where they are nearer than this."""


DEPTH_PRECISION = Precision(hit_distance=1e-5, max_steps=512, grazing_distance=1e-5)
COLOUR_PRECISION = Precision(hit_distance=1e-4, max_steps=40, grazing_distance=1e-3)
"""A thirtieth and a third of a pixel, for pictures of 64 pixels."""


@runtime_checkable
class Scene(Protocol):
    """What can be rendered."""

    bounding_radius: float

    def sdf(self, points: Float[Tensor, "point 3"]) -> Float[Tensor, "point"]:
        """Signed distance in world units, negative inside, 1-Lipschitz."""
        ...

    def colour(self, points: Float[Tensor, "point 3"]) -> Float[Tensor, "point 3"]:
        """Surface colour in [0, 1] at points on or near the surface."""
        ...


class SceneRendering(NamedTuple):
    """What a camera sees of a scene."""

    rgb: Float[Tensor, "3 row column"]
    """Colours in [0, 1] over white, row 0 on top."""
    depth: Float[Tensor, "row column"]
    """Euclidean distance from the camera to the first surface; `far` where the ray meets nothing."""
    mask: Bool[Tensor, "row column"]
    """True where the ray through the pixel's centre meets the scene."""


def render(
    scene: Scene, prior: PosePrior, pose: Float[Tensor, "2"], resolution: int, supersampling: int = 2
) -> SceneRendering:
    """Return the picture of `scene` from one pose of `prior`, with depth and mask at the pixels' centres.

    Args:
        scene: what to look at.
        prior: gives camera and distances.
        pose: (pitch, yaw) in radians.
        resolution: pixels a side.
        supersampling: the colours are the mean over this number of rays squared; depth and mask are not averaged.
    """
    depth = render_depth(scene, prior, pose, resolution)
    colours = render_colours(scene, prior, pose, resolution, supersampling)
    return SceneRendering(rgb=colours, depth=depth, mask=depth < prior.config.far)


def render_depth(
    scene: Scene, prior: PosePrior, pose: Float[Tensor, "2"], resolution: int
) -> Float[Tensor, "row column"]:
    """Return the Euclidean distance to the first surface through each pixel's centre, `far` where there is none."""
    origin, directions = supersampled_rays(prior, pose, resolution, 1)
    distances, hit = _trace_image(scene, origin, directions, DEPTH_PRECISION)
    return torch.where(hit, distances, torch.full_like(distances, prior.config.far))


def render_colours(
    scene: Scene, prior: PosePrior, pose: Float[Tensor, "2"], resolution: int, supersampling: int = 2
) -> Float[Tensor, "3 row column"]:
    """Return the shaded colours in [0, 1] over white: mean of `supersampling` squared rays within each pixel."""
    origin, directions = supersampled_rays(prior, pose, resolution, supersampling)
    distances, hit = _trace_image(scene, origin, directions, COLOUR_PRECISION)
    colours = torch.ones(*hit.shape, 3)
    colours[hit] = shade(scene, origin + distances[hit, None] * directions[hit])
    return torch.nn.functional.avg_pool2d(colours.permute(2, 0, 1), supersampling)


def shade(scene: Scene, points: Float[Tensor, "point 3"]) -> Float[Tensor, "point 3"]:
    """Return the colours in [0, 1] of surface points, the same from all sides: diffuse light times occlusion.

    Lights stand still in the world, so that shading says nothing about the camera.
    """
    normals = surface_normals(scene, points)
    # In the open the distance grows as fast as the step along the normal; in a corner it lags behind.
    openness = scene.sdf(points + OCCLUSION_REACH * normals) / OCCLUSION_REACH
    return lit(scene.colour(points), normals, openness)


def lit(
    colours: Float[Tensor, "point 3"],
    normals: Float[Tensor, "point 3"],
    openness: Float[Tensor, "point"],
    key_share: Float[Tensor, "point"] | float = 1.0,
) -> Float[Tensor, "point 3"]:
    """Return colours in the standing lights.

    `openness` is 1 in the open and smaller in corners, `key_share` the visible share of the main light.
    """
    key, fill = (
        torch.nn.functional.normalize(torch.tensor(light, device=normals.device), dim=0)
        for light in (KEY_LIGHT, FILL_LIGHT)
    )
    light = AMBIENT * (0.8 + 0.2 * normals[:, 1])
    light = light + KEY * key_share * (normals @ key).clamp_min(0.0) + FILL * (normals @ fill).clamp_min(0.0)
    light = light * (0.55 + 0.45 * openness.clamp(0.0, 1.0))
    return (colours * light[:, None]).clamp(0.0, 1.0)


def surface_normals(scene: Scene, points: Float[Tensor, "point 3"]) -> Float[Tensor, "point 3"]:
    """Return unit normals that point out of the matter: the distance's gradient from four samples in a tetrahedron."""
    corners = torch.tensor([[1.0, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], device=points.device)
    samples = points[None] + NORMAL_STEP * corners[:, None]
    distances = scene.sdf(samples.reshape(-1, 3)).view(4, -1)
    return torch.nn.functional.normalize(distances.T @ corners, dim=-1)


def seen_normals(
    scene: Scene, prior: PosePrior, pose: Float[Tensor, "2"], depth: Float[Tensor, "row column"]
) -> Float[Tensor, "row column 3"]:
    """Return the unit normals where the rays of a depth image end; 0 where it is `far`."""
    origin, directions = supersampled_rays(prior, pose, len(depth), 1)
    hit = depth < prior.config.far
    normals = torch.zeros_like(directions)
    normals[hit] = surface_normals(scene, origin + depth[hit, None] * directions[hit])
    return normals


def supersampled_rays(
    prior: PosePrior, pose: Float[Tensor, "2"], resolution: int, supersampling: int
) -> tuple[Float[Tensor, "3"], Float[Tensor, "row column 3"]]:
    """Return origin and unit directions of supersampled rays; with supersampling 1 those of PosePrior.rays."""
    num = resolution * supersampling
    # Sub-pixels are evenly spread over each pixel; pixel centres span -1 to 1 (the prior's grid).
    centres = (torch.arange(num, dtype=torch.float32) + 0.5) / supersampling - 0.5
    offsets = (2.0 * centres / (resolution - 1) - 1.0) * math.tan(math.radians(prior.config.fov_deg) / 2)
    right, down = torch.meshgrid(offsets, offsets, indexing="xy")
    directions = torch.nn.functional.normalize(torch.stack([right, -down, -torch.ones_like(right)], dim=-1), dim=-1)
    camera_to_world = prior.camera_to_world(pose[None])[0]
    return camera_to_world[:, 3], directions @ camera_to_world[:, :3].T


def _trace_image(
    scene: Scene,
    origin: Float[Tensor, "3"],
    directions: Float[Tensor, "row column 3"],
    precision: Precision,
) -> tuple[Float[Tensor, "row column"], Bool[Tensor, "row column"]]:
    """Distance and hit of each ray of an image. Blocks of rays first go forward together, as cones."""
    rows, columns, _ = directions.shape
    block_rows, block_columns = -(-rows // BLOCK), -(-columns // BLOCK)
    # Blocks at the border repeat its last ray.
    row_of = torch.arange(block_rows * BLOCK).clamp_max(rows - 1)
    column_of = torch.arange(block_columns * BLOCK).clamp_max(columns - 1)
    blocks = directions[row_of][:, column_of].view(block_rows, BLOCK, block_columns, BLOCK, 3).transpose(1, 2)
    blocks = blocks.reshape(block_rows * block_columns, BLOCK * BLOCK, 3)
    axes = torch.nn.functional.normalize(blocks.mean(dim=1), dim=-1)
    # All rays of a block stay within slope * t of the axis at distance t.
    slopes = (blocks - axes[:, None]).norm(dim=-1).amax(dim=1)
    starts, alive = sphere_trace(scene, origin, axes, slopes, precision._replace(max_steps=CONE_MAX_STEPS))
    block_of = (torch.arange(rows) // BLOCK)[:, None] * block_columns + torch.arange(columns) // BLOCK
    enters = alive[block_of]
    distances = torch.zeros(rows, columns)
    hit = torch.zeros(rows, columns, dtype=torch.bool)
    distances[enters], hit[enters] = sphere_trace(
        scene,
        origin,
        directions[enters],
        torch.zeros(int(enters.sum())),
        precision,
        starts[block_of][enters],
    )
    return distances, hit


def sphere_trace(
    scene: Scene,
    origin: Float[Tensor, "3"],
    directions: Float[Tensor, "ray 3"],
    slopes: Float[Tensor, "ray"],
    precision: Precision,
    starts: Float[Tensor, "ray"] | None = None,
) -> tuple[Float[Tensor, "ray"], Bool[Tensor, "ray"]]:
    """Return how far each ray goes and whether it meets the scene there (Hart 1996, "Sphere tracing").

    Args:
        scene: what the rays may meet.
        origin: where all rays begin.
        directions: of unit length.
        slopes: the ray is a cone of this radius at distance 1, which stops where it may first touch; 0: a line.
        precision: when a ray has arrived; cones also arrive where little of their width is free.
        starts: distances that are known to be free.
    """
    # Entry into and exit from the bounding sphere, grown by the cone's radius.
    middle = -(directions @ origin)
    clearance = (origin + middle[:, None] * directions).norm(dim=-1)
    radius = scene.bounding_radius + slopes * (middle + scene.bounding_radius)
    half_chord = (radius.square() - clearance.square()).clamp_min(0.0).sqrt()
    distances = middle - half_chord
    if starts is not None:
        distances = torch.maximum(distances, starts)
    ends = middle + half_chord
    hit = torch.zeros_like(distances, dtype=torch.bool)
    active = torch.nonzero(clearance < radius).squeeze(1)
    for _ in range(precision.max_steps):
        if len(active) == 0:
            break
        reached = distances[active]
        cone = slopes[active] * reached
        free = scene.sdf(origin + reached[:, None] * directions[active]) - cone
        arrived = free < CONE_ARRIVAL * cone + precision.hit_distance
        hit[active[arrived]] = True
        # A cone widens on the way: a step of free / (1 + slope) keeps it clear.
        reached = reached + torch.where(arrived, 0.0, free / (1.0 + slopes[active]))
        distances[active] = reached
        active = active[~arrived & (reached < ends[active])]
    else:
        # Cones that still move are not known to be free beyond where they are.
        near = scene.sdf(origin + distances[active, None] * directions[active]) < precision.grazing_distance
        hit[active] = near | (slopes[active] > 0)
    return distances, hit
