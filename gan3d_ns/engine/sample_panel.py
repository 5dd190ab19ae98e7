"""The picture that tells how a training goes: fixed latents from several yaws, as colour, depth and normals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gan3d_ns.cameras.pose_prior import PosePriorConfig, poses_from_degrees
from gan3d_ns.cameras.trajectories import view_range
from gan3d_ns.cameras.viewpoints import Viewpoints
from gan3d_ns.metrics.geometry_health import GeometryHealth, geometry_health
from gan3d_ns.model_components.latents import LatentSelection
from gan3d_ns.models.gan_model import GanModel

FULL_CIRCLE_SPREAD_DEG = 180.0
DEPTH_MARGIN = 0.1

Kind = Literal["rgb", "depth", "normals"]
KINDS: tuple[Kind, ...] = ("rgb", "depth", "normals")
"""What a panel shows, in this order."""


@dataclass(frozen=True)
class View:
    """One rendered view of several objects; distances in world units."""

    rgb: Float[Tensor, "object side side 3"]
    surface_depth: Float[Tensor, "object side side"]
    hit: Bool[Tensor, "object side side"]
    normals: Float[Tensor, "object side side 3"]


def panel_yaws_deg(prior: PosePriorConfig, count: int) -> list[float]:
    """Evenly spread yaws in degrees over the prior's range; over a full circle the ends are not repeated."""
    spread = view_range(prior).yaw_reach
    if count == 1:
        return [prior.yaw_mean_deg]
    if spread == FULL_CIRCLE_SPREAD_DEG:
        return [prior.yaw_mean_deg + 360.0 * index / count for index in range(count)]
    return [prior.yaw_mean_deg + spread * (2.0 * index / (count - 1) - 1.0) for index in range(count)]


def front_row(prior: PosePriorConfig, count: int) -> int:
    """Which of these yaws is the prior's mean, or the nearest to it."""
    distances = [abs(yaw - prior.yaw_mean_deg) for yaw in panel_yaws_deg(prior, count)]
    return distances.index(min(distances))


def render_view(model: GanModel, seeds: list[int], truncation: float, yaw_deg: float, resolution: int) -> View:
    """The averaged generator's objects of ``seeds`` from one yaw, at the prior's mean elevation."""
    selections = [LatentSelection(seed=seed, truncation=truncation) for seed in seeds]
    return render_selections(model, selections, yaw_deg, resolution)


@torch.no_grad()
def render_selections(model: GanModel, selections: list[LatentSelection], yaw_deg: float, resolution: int) -> View:
    """The chosen objects from one yaw, at the prior's mean elevation."""
    prior = model.pose_prior.config
    pose = poses_from_degrees(torch.tensor([yaw_deg]), torch.tensor([prior.elevation_mean_deg])).to(model.device)
    all_rays, chunk = model.pose_prior.rays(pose, resolution), model.config.eval_num_rays_per_chunk
    parts, pictures = [], []
    for selection in selections:
        generator, styles = model.generator_of(selection), model.styles_of(selection)
        for start in range(0, resolution**2, chunk):
            rays = all_rays[:, start : start + chunk]
            output = generator.render(styles, rays)
            normals = generator.surface_normals(styles, rays, output.surface_depth)
            parts.append((output.rgb, output.surface_depth, output.hit, normals))
        finished = generator.finished(styles, model.pose_prior, Viewpoints(pose), resolution)
        pictures.append(finished)
    square = (len(selections), resolution, resolution)
    rgb, depth, hit, normals = (torch.cat(column, dim=1) for column in zip(*parts, strict=True))
    if all(finished is not None for finished in pictures):
        rgb = torch.cat(pictures).permute(0, 2, 3, 1)
    return View(rgb.reshape(*square, 3), depth.reshape(square), hit.reshape(square), normals.reshape(*square, 3))


def depth_picture(view: View, prior: PosePriorConfig) -> Float[Tensor, "object side side 3"]:
    """Depth as grey, near is white; black where no surface is met."""
    margin = DEPTH_MARGIN * (prior.far - prior.near)
    grey = ((prior.far - view.surface_depth) / (prior.far - prior.near - margin)).clamp(0.0, 1.0) * view.hit
    return grey[..., None].expand(*grey.shape, 3)


def normals_picture(view: View) -> Float[Tensor, "object side side 3"]:
    """World normals as n / 2 + 1/2; black where no surface is met."""
    return (view.normals / 2.0 + 0.5) * view.hit[..., None]


def picture(view: View, prior: PosePriorConfig, what: Kind) -> Float[Tensor, "object side side 3"]:
    """One kind of picture of a view."""
    if what == "rgb":
        return view.rgb
    return depth_picture(view, prior) if what == "depth" else normals_picture(view)


def as_grid(cells: list[Float[Tensor, "object side side 3"]]) -> Float[Tensor, "height width 3"]:
    """Objects as columns, the list's entries as rows."""
    return torch.cat([torch.cat(list(row), dim=1) for row in cells], dim=0).clamp(0.0, 1.0)


def sample_panel(
    model: GanModel, seeds: list[int], truncation: float, num_yaws: int, resolution: int
) -> tuple[Float[Tensor, "height width 3"], GeometryHealth]:
    """The panel (a column for each seed; rows of colour, depth and normals at each yaw) and the frontal health."""
    prior = model.pose_prior.config
    views = [render_view(model, seeds, truncation, yaw, resolution) for yaw in panel_yaws_deg(prior, num_yaws)]
    rows = [picture(view, prior, what) for what in KINDS for view in views]
    front = views[front_row(prior, num_yaws)]
    return as_grid(rows).cpu(), geometry_health(front.surface_depth, front.hit)
