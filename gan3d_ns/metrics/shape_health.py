"""The health of a training's objects as records: more of them than the report during a training looks at."""

import functools
from collections.abc import Callable
from statistics import fmean

import torch

from gan3d_ns.cameras.viewpoints import Viewpoints
from gan3d_ns.metrics.generated_views import Views, draw_views, render_views
from gan3d_ns.metrics.geometry_health import geometry_health, occupied_fraction
from gan3d_ns.metrics.picture_health import picture_health
from gan3d_ns.metrics.records import Record
from gan3d_ns.metrics.settings import HealthConfig
from gan3d_ns.metrics.view_consistency import view_consistency
from gan3d_ns.models.gan_model import GanModel


@torch.no_grad()
def measure_health(
    model: GanModel, settings: HealthConfig, report: Callable[[float], None] = lambda done: None
) -> list[Record]:
    """Which way surfaces face, how deep they are, how much is filled, whether close views agree, how objects differ."""
    drawn = draw_views(model, settings.num_objects, settings.seed)
    middle = model.pose_prior.mean_pose(model.device)
    frontal = Views(drawn.latents, Viewpoints(middle.expand(settings.num_objects, 2)))
    colours, depths, hits, filled, close = [], [], [], [], []
    generator, box = model.generator_ema, model.scene_box.aabb.to(model.device)
    randomness = torch.Generator(device=box.device).manual_seed(settings.seed)
    views = render_views(model, frontal, settings.resolution, settings.truncation)
    for index, view in enumerate(views):
        report(index / settings.num_objects)
        colours.append(view.rgb)
        depths.append(view.surface_depth)
        hits.append(view.hit)
        styles = generator.styles(frontal.latents[index : index + 1].to(model.device), settings.truncation)
        field = functools.partial(generator.field.geometry_logits, styles=styles)
        filled.append(occupied_fraction(field, generator.geometry.level, box, randomness))
        close.append(view_consistency(generator, styles, model.pose_prior, middle[None]))
    health = geometry_health(torch.cat(depths), torch.cat(hits))
    pictures = picture_health(torch.cat(colours).permute(0, 2, 3, 1)[:, None])
    protocol = {
        "objects": settings.num_objects,
        "pose": "mean of the pose prior",
        "resolution": settings.resolution,
        "truncation": settings.truncation,
        "seed": settings.seed,
        "weights": "average",
    }
    length = "world units"
    return [
        Record("relief", health.relief, protocol, unit=length),
        Record("hollow_fraction", health.hollow_fraction, protocol, better="lower"),
        Record("depth_spread", health.depth_spread, protocol, unit=length),
        Record("hit_rate", health.hit_rate, protocol),
        Record("occupied_fraction", fmean(filled), protocol),
        Record("view_error", float(torch.cat([views.error for views in close]).nanmean()), protocol, better="lower"),
        Record("view_overlap", float(torch.cat([views.share for views in close]).mean()), protocol, better="higher"),
        Record("variety", pictures.variety, protocol),
        Record("contrast", pictures.contrast, protocol),
    ]
