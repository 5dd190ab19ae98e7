"""Pictures of primitives on a plane: objects are sphere traced within their own bounds, the plane is met exactly.

Lit by the standing lights of the toy cars, with soft shadows and darkened corners. The plane fades into a pale
background, so that a camera sees the plane or the background everywhere.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from gan3d_ns.cameras.pose_prior import PosePrior
from gan3d_ns.data.procedural_primitives import PALETTE, PLANE_HEIGHT, RGB, PrimitiveScene
from gan3d_ns.data.procedural_rendering import KEY_LIGHT, Precision, lit, sphere_trace, supersampled_rays
from gan3d_ns.data.true_collection import TrueView

PLANE_COLOUR: RGB = (0.72, 0.73, 0.75)
BACKGROUND: RGB = (0.92, 0.93, 0.945)
FADE = (0.05, 1.1)
"""Horizontal distances from the vertical axis, in world units, at which the plane begins and ends to fade."""
LIGHT_RADIUS = 0.16
"""Angular radius of the main light in radians: the width of half shadows over the distance from what throws them."""
SHADOW_SAMPLES = 12
"""Points on the way to the light, within an object's bounds, that are compared with the light's cone."""
OCCLUSION_REACHES = (0.015, 0.05)
"""World units over which the surroundings of a point darken it."""
HIGHLIGHT, HIGHLIGHT_POWER = 0.75, 48.0
"""Strength and sharpness of the main light's reflection on shiny objects."""
MIRROR = 0.30
"""Share of the surroundings' reflection in the colour of shiny objects, seen head-on."""
SURFACE_START = 1e-4
"""World units above the surface where the way to the light starts."""
TRUE_PRECISION = Precision(hit_distance=1e-6, max_steps=256, grazing_distance=1e-6)
PICTURE_PRECISION = Precision(hit_distance=1e-4, max_steps=40, grazing_distance=1e-3)


class Traced(NamedTuple):
    """Where rays end."""

    distance: Float[Tensor, "ray"]
    """Along the unit ray; infinite where it meets neither an object nor the plane."""
    instance: Int64[Tensor, "ray"]
    """Number of the object from 0; -1 where there is none."""


class SceneGeometry(NamedTuple):
    """What rays through the pixels' centres meet."""

    depth: Float[Tensor, "row column"]
    """Euclidean distance from the camera to objects and plane; the prior's far where there is nothing nearer."""
    instance: Int64[Tensor, "row column"]
    """Number of the object from 0; -1 where there is none."""
    normals: Float[Tensor, "row column 3"]
    """Unit normals in the world, out of matter; 0 where the depth is far."""


def trace_scene(
    scene: PrimitiveScene, origin: Float[Tensor, "3"], directions: Float[Tensor, "ray 3"], precision: Precision
) -> Traced:
    """Return where each ray first meets an object or the plane."""
    down = directions[:, 1]
    to_plane = (PLANE_HEIGHT - origin[1]) / down
    distance = torch.where(to_plane > 0, to_plane, torch.full_like(to_plane, math.inf))
    instance = torch.full_like(down, -1, dtype=torch.int64)
    for number, one in enumerate(scene.objects):
        own_origin = one.to_own(origin)
        middle = directions @ (one.centre - origin)
        # The rays that pass the object's bounds, with some room for rounding.
        nearby = (own_origin.square().sum() - middle.square()) < 1.01 * one.bounding_radius**2
        rays = directions[nearby] @ one.axes
        reached, hit = sphere_trace(one, own_origin, rays, torch.zeros(len(rays)), precision)
        closer = torch.zeros_like(nearby)
        closer[nearby] = hit & (reached < distance[nearby])
        distance[closer] = reached[closer[nearby]]
        instance[closer] = number
    return Traced(distance, instance)


def light_share(
    scene: PrimitiveScene, points: Float[Tensor, "point 3"], normals: Float[Tensor, "point 3"]
) -> Float[Tensor, "point"]:
    """Return which share of the main light, a disc, surface points see: 1 in the open, 0 in full shadow.

    An object covers the disc from one side; how far is told by its least distance to the way to the disc's middle,
    over that way's length (Aaltonen's and Quilez's soft shadows, with a disc's share of a covered width).
    """
    light = torch.nn.functional.normalize(torch.tensor(KEY_LIGHT), dim=0)
    starts = points + SURFACE_START * normals
    share = torch.ones(len(points))
    for one in scene.objects:
        own = one.to_own(starts)
        ray = light @ one.axes
        middle = -(own @ ray)
        clearance = (own + middle[:, None] * ray).norm(dim=-1)
        reach = one.bounding_radius + LIGHT_RADIUS * (middle + one.bounding_radius).clamp_min(0.0)
        concerned = (clearance < reach) & (middle > -one.bounding_radius)
        if not concerned.any():
            continue
        own, middle = own[concerned], middle[concerned]
        ends = middle + one.bounding_radius
        begins = (middle - one.bounding_radius).clamp_min(0.02 * one.bounding_radius)
        steps = torch.linspace(0.0, 1.0, SHADOW_SAMPLES)[:, None]
        along = begins + steps * (ends - begins).clamp_min(0.0)
        free = one.sdf((own + along[..., None] * ray).view(-1, 3)).view(along.shape)
        width = (free / (LIGHT_RADIUS * along)).amin(dim=0).clamp(-1.0, 1.0)
        covered = torch.acos(width) - width * (1.0 - width.square()).sqrt()
        share[concerned] = share[concerned] * (1.0 - covered / math.pi)
    return share


def openness(
    scene: PrimitiveScene, points: Float[Tensor, "point 3"], normals: Float[Tensor, "point 3"]
) -> Float[Tensor, "point"]:
    """Return how open the surroundings of surface points are, as `lit` takes it: the distance of points above them."""
    total = torch.zeros(len(points))
    for reach in OCCLUSION_REACHES:
        above = points + reach * normals
        free = above[:, 1] - PLANE_HEIGHT
        for one in scene.objects:
            free = torch.minimum(free, one.sdf(one.to_own(above)))
        total = total + (free / reach).clamp(0.0, 1.0)
    return total / len(OCCLUSION_REACHES)


def shade_scene(
    scene: PrimitiveScene,
    points: Float[Tensor, "point 3"],
    instances: Int64[Tensor, "point"],
    directions: Float[Tensor, "point 3"],
) -> Float[Tensor, "point 3"]:
    """Return the colours in [0, 1] of points of objects and of the plane (instance -1), seen along the directions."""
    background, plane = torch.tensor(BACKGROUND), torch.tensor(PLANE_COLOUR)
    on_plane = instances < 0
    normals = scene.normals(points, instances)
    normals[on_plane] = torch.tensor([0.0, 1.0, 0.0])
    palette = torch.stack([*(torch.tensor(PALETTE[one.colour]) for one in scene.primitives), plane])
    sun = light_share(scene, points, normals)
    shaded = lit(palette[instances], normals, openness(scene, points, normals), sun)
    shiny = torch.tensor([*(one.material == "shiny" for one in scene.primitives), False])[instances]
    shaded[shiny] = _polished(shaded[shiny], points[shiny], normals[shiny], directions[shiny], sun[shiny])
    shaded[on_plane] = torch.lerp(shaded[on_plane], background, _faded(points[on_plane])[:, None])
    return shaded


def _polished(
    colours: Float[Tensor, "point 3"],
    points: Float[Tensor, "point 3"],
    normals: Float[Tensor, "point 3"],
    directions: Float[Tensor, "point 3"],
    sun: Float[Tensor, "point"],
) -> Float[Tensor, "point 3"]:
    """Colours with the reflections of the main light, of the background and of the plane."""
    light = torch.nn.functional.normalize(torch.tensor(KEY_LIGHT), dim=0)
    facing = -(directions * normals).sum(dim=-1, keepdim=True)
    mirrored = directions + 2.0 * facing * normals
    # The horizon is soft; the plane is met further out the flatter the reflected ray.
    sky = torch.sigmoid(mirrored[:, 1:2] / 0.08)
    around = torch.lerp(0.8 * torch.tensor(PLANE_COLOUR), torch.tensor(BACKGROUND), sky)
    share = MIRROR + (1.0 - MIRROR) * (1.0 - facing.clamp(0.0, 1.0)).pow(5)
    glint = HIGHLIGHT * (mirrored @ light).clamp_min(0.0).pow(HIGHLIGHT_POWER) * sun
    # As on lacquered metal, the reflection has something of the colour.
    tint = 0.5 + 0.5 * colours / colours.amax(dim=-1, keepdim=True).clamp_min(1e-3)
    return (torch.lerp(colours, around * tint, share) + glint[:, None]).clamp(0.0, 1.0)


def _faded(points: Float[Tensor, "point 3"]) -> Float[Tensor, "point"]:
    """How much of the background there is in the plane's colour: 0 near the middle, 1 far out."""
    out = torch.hypot(points[:, 0], points[:, 2])
    share = ((out - FADE[0]) / (FADE[1] - FADE[0])).clamp(0.0, 1.0)
    return share * share * (3.0 - 2.0 * share)


def render_scene_colours(
    scene: PrimitiveScene, prior: PosePrior, pose: Float[Tensor, "2"], resolution: int, supersampling: int
) -> Float[Tensor, "3 row column"]:
    """Return the picture, colours in [0, 1]: mean of `supersampling` squared rays within each pixel."""
    origin, directions = supersampled_rays(prior, pose, resolution, supersampling)
    flat = directions.reshape(-1, 3)
    traced = trace_scene(scene, origin, flat, PICTURE_PRECISION)
    colours = torch.tensor(BACKGROUND).repeat(len(flat), 1)
    met = traced.distance.isfinite()
    points = origin + traced.distance[met, None] * flat[met]
    colours[met] = shade_scene(scene, points, traced.instance[met], flat[met])
    return torch.nn.functional.avg_pool2d(colours.view(directions.shape).permute(2, 0, 1), supersampling)


def see_scene(
    scene: PrimitiveScene,
    prior: PosePrior,
    pose: Float[Tensor, "2"],
    resolution: int,
    precision: Precision = TRUE_PRECISION,
) -> SceneGeometry:
    """Return what the rays through the pixels' centres meet."""
    origin, directions = supersampled_rays(prior, pose, resolution, 1)
    flat = directions.reshape(-1, 3)
    distance, instance = trace_scene(scene, origin, flat, precision)
    met = distance < prior.config.far
    instance = torch.where(met, instance, -1)
    depth = torch.where(met, distance, torch.full_like(distance, prior.config.far))
    normals = torch.zeros_like(flat)
    normals[met & (instance < 0)] = torch.tensor([0.0, 1.0, 0.0])
    on_object = instance >= 0
    points = origin + depth[on_object, None] * flat[on_object]
    normals[on_object] = scene.normals(points, instance[on_object])
    square = (resolution, resolution)
    return SceneGeometry(depth.view(square), instance.view(square), normals.view(*square, 3))


def scene_view(
    scene: PrimitiveScene, prior: PosePrior, pose: Float[Tensor, "2"], resolution: int, supersampling: int
) -> TrueView:
    """Return the picture with depth, mask (of the objects, without the plane) and normals at the pixels' centres."""
    depth, instance, normals = see_scene(scene, prior, pose, resolution)
    rgb = render_scene_colours(scene, prior, pose, resolution, supersampling)
    return TrueView(rgb, depth, instance >= 0, normals)
