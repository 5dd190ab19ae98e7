"""Depths and normals of a generator against the truth, by objects that it answers held-out pictures with.

Protocol. Some pictures of a collection whose shapes are known, and which the generator has not been trained on, are
inverted from their true poses (see `metrics.inversion`): this gives the generator's object for each picture, found by
its colours alone. From the picture's pose both objects are then compared, and from poses beside it their pictures:

* ``inversion_error``: mean absolute difference of the colours, in [0, 1], from the pose of the picture. Where it is
  large the generator has no such object, and the other numbers say little about its geometry.
* ``depth_error``: mean absolute difference of the distances along the rays, in percent of far - near, the depth of the
  space that the cameras see (so that a percent is (far - near) / 100 world units).
* ``scale_invariant_depth_error``: sqrt(mean d^2 - (mean d)^2), d = log depth - log true depth (Eigen et al. 2014,
  section 3.2, with lambda = 1), in 1e-2; here too a depth is the distance along the ray.
* ``normal_angle``: mean angle between the true normals and those of the generator's field at its surface, in degrees.
* ``mask_iou``: pixels where both have a surface over those where one has. It is low for generators that draw the
  background as a surface.
* ``novel_view_error_30``, ``_90``: as the inversion's error, from poses turned about the object by so many degrees to
  either side. A flat card with the right picture on it is good from the front alone.

Surfaces are those of the generator's renderer: a level set of occupancies; of densities where half of the light is
absorbed. In soft matter that place is a choice: how much of an error of depths or normals comes from it is not
measured here. Depths and normals are compared where both have a surface: ``mask_iou`` says how much that is. Each
number is the mean of the pictures' own; its deviation that over pictures.

``..._of_mean_object`` are the same for the generator's average object (truncation 0) in place of the inverted ones:
a trivial answer that knows the category and the pose, but has not looked at the picture. It is no bound: what a
generator is worth shows in the difference.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gan3d_ns.cameras.pose_prior import PosePrior
from gan3d_ns.cameras.viewpoints import Viewpoints
from gan3d_ns.data.true_collection import SHARED_CAMERA, TrueCollection, TrueView
from gan3d_ns.errors import UserError
from gan3d_ns.metrics.inversion import Inverted, code_spread, invert, turned
from gan3d_ns.metrics.records import Record, Value
from gan3d_ns.metrics.settings import SurfaceConfig
from gan3d_ns.models.gan_model import GanModel

OF_MEAN_OBJECT = "_of_mean_object"
INVERSION_SHARE = 0.8
"""Of the time, for the report."""
UNITS: Mapping[str, str] = {
    "depth_error": "% of far - near",
    "scale_invariant_depth_error": "1e-2",
    "normal_angle": "deg",
}


@dataclass(frozen=True)
class Seen:
    """What cameras see of one object each, true or generated; distances in world units."""

    rgb: Float[Tensor, "picture 3 row column"]
    """Colours in [0, 1]."""
    depth: Float[Tensor, "picture row column"]
    """Along the unit ray to the surface; anything where there is none."""
    hit: Bool[Tensor, "picture row column"]
    normals: Float[Tensor, "picture row column 3"]
    """Unit normals out of matter, in the true world's frame; 0 where there is no surface."""


@dataclass(frozen=True)
class SurfaceComparison:
    """True objects beside generated ones, from the pictures' poses and from beside them."""

    indices: List[int]
    """Which pictures of the collection."""
    inverted: Inverted
    true: Seen
    found: Seen
    """The inverted objects."""
    average: Seen
    """The average object from the same poses."""
    novel: Dict[float, Tuple[Tensor, Tensor, Tensor]]
    """By the yaw that was added, in degrees: true pictures, inverted ones and those of the average object."""


def depth_error(
    depth: Float[Tensor, "picture row column"],
    true_depth: Float[Tensor, "picture row column"],
    counted: Bool[Tensor, "picture row column"],
) -> Float[Tensor, "picture"]:
    """Mean absolute difference of each picture in world units; NaN where no pixel counts."""
    return masked_mean((depth - true_depth).abs(), counted)


def scale_invariant_depth_error(
    depth: Float[Tensor, "picture row column"],
    true_depth: Float[Tensor, "picture row column"],
    counted: Bool[Tensor, "picture row column"],
) -> Float[Tensor, "picture"]:
    """Standard deviation of each picture's log depth difference: 0 for depths that are a multiple of the true ones."""
    ones = torch.ones_like(depth)
    difference = torch.where(counted, depth, ones).log() - torch.where(counted, true_depth, ones).log()
    mean = masked_mean(difference, counted)
    # About the mean: the difference of the two moments would lose the digits of small errors.
    return masked_mean((difference - mean[:, None, None]).square(), counted).sqrt()


def normal_angle_deg(
    normals: Float[Tensor, "picture row column 3"],
    true_normals: Float[Tensor, "picture row column 3"],
    counted: Bool[Tensor, "picture row column"],
) -> Float[Tensor, "picture"]:
    """Mean angle of each picture between unit normals, in degrees.

    By both chord lengths, 2 atan2(|a - b|, |a + b|), which is exact for small angles where the arc cosine is not.
    """
    angles = 2.0 * torch.atan2((normals - true_normals).norm(dim=-1), (normals + true_normals).norm(dim=-1))
    return torch.rad2deg(masked_mean(angles, counted))


def mask_iou(
    hit: Bool[Tensor, "picture row column"], mask: Bool[Tensor, "picture row column"]
) -> Float[Tensor, "picture"]:
    """Intersection of each picture's masks over their union; NaN where both are empty."""
    return (hit & mask).sum(dim=(1, 2)) / (hit | mask).sum(dim=(1, 2))


def colour_error(
    rgb: Float[Tensor, "picture 3 row column"], true_rgb: Float[Tensor, "picture 3 row column"]
) -> Float[Tensor, "picture"]:
    """Mean absolute difference of each picture's colours."""
    return (rgb - true_rgb).abs().mean(dim=(1, 2, 3))


def masked_mean(
    values: Float[Tensor, "picture row column"], counted: Bool[Tensor, "picture row column"]
) -> Float[Tensor, "picture"]:
    """Mean of each picture over the pixels that count; NaN without any."""
    return torch.where(counted, values, torch.zeros_like(values)).sum(dim=(1, 2)) / counted.sum(dim=(1, 2))


@torch.no_grad()
def see_objects(
    model: GanModel,
    codes: Float[Tensor, "layer picture code"],
    poses: Float[Tensor, "picture 2"],
    resolution: int,
    yaw_offset_rad: float = 0.0,
    with_normals: bool = True,
) -> Seen:
    """What the cameras of true poses see of the averaged generator's objects, one object for each, on the CPU.

    Args:
        model: of any method.
        codes: of each layer for each object.
        poses: true (pitch, yaw) in radians.
        resolution: side of the pictures in pixels.
        yaw_offset_rad: the model's yaw minus the true one. Normals are turned back by it.
        with_normals: otherwise they are 0.
    """
    generator, chunk = model.generator_ema, model.config.eval_num_rays_per_chunk
    # The same camera stands elsewhere in the two worlds: its axes tell how one world lies in the other.
    own_poses = turned(poses, yaw_offset_rad)
    to_true = model.pose_prior.camera_to_world(poses)[:, :, :3] @ model.pose_prior.camera_to_world(own_poses)[
        :, :, :3
    ].transpose(1, 2)
    found: List[List[Tensor]] = []
    for index in range(len(poses)):
        styles = generator.field.condition_layers(codes[:, index : index + 1])
        viewpoints = Viewpoints(own_poses[index : index + 1].to(model.device))
        all_rays = model.pose_prior.viewpoint_rays(viewpoints, resolution)
        parts: List[List[Tensor]] = [[], [], [], []]
        for start in range(0, resolution**2, chunk):
            rays = all_rays[:, start : start + chunk]
            render = generator.render(styles, rays)
            normals = torch.zeros_like(render.rgb)
            if with_normals:
                normals = generator.surface_normals(styles, rays, render.surface_depth, render.hit)
            values = (render.rgb.clamp(0.0, 1.0), render.surface_depth, render.hit, normals)
            for kept, value in zip(parts, values, strict=True):
                kept.append(value[0].cpu())
        seen = [torch.cat(kept).unflatten(0, (resolution, resolution)) for kept in parts]
        finished = generator.finished(styles, model.pose_prior, viewpoints, resolution)
        if finished is not None:
            seen[0] = finished[0].permute(1, 2, 0).clamp(0.0, 1.0).cpu()
        found.append(seen)
    rgb, depth, hit, normals = (torch.stack(values) for values in zip(*found, strict=True))
    normals = torch.einsum("pij,prcj->prci", to_true, normals)
    return Seen(rgb.permute(0, 3, 1, 2), depth, hit, normals)


def true_view(truth: TrueCollection, index: int, resolution: int, pose: Float[Tensor, "2"]) -> TrueView:
    """The view of a collection.

    Raises:
        UserError: the collection has no view of this resolution.
    """
    view = truth.view(index, resolution, pose)
    if view.rgb.shape[-1] != resolution or view.depth.shape[-1] != resolution:
        raise UserError(
            f"the truth in {truth.folder} gives views of {min(view.rgb.shape[-1], view.depth.shape[-1])} pixels where "
            f"{resolution} are asked for; lower the resolution."
        )
    return view


def check_camera(prior: PosePrior, truth: TrueCollection) -> None:
    """Refuses a generator whose camera is not the truth's: its pictures and depths mean something else.

    Raises:
        UserError: names what differs.
    """
    for name in SHARED_CAMERA:
        own, true = getattr(prior.config, name), getattr(truth.prior.config, name)
        if own != true:
            raise UserError(
                f"the run's pose prior has {name} {own}, but the collection {truth.folder.name} was taken with {true}; "
                "measure it on a collection of its own camera."
            )


def compare_surfaces(
    model: GanModel,
    truth: TrueCollection,
    settings: Optional[SurfaceConfig] = None,
    yaw_offset_rad: Optional[float] = 0.0,
    report: Callable[[float], None] = lambda done: None,
) -> SurfaceComparison:
    """True objects and the generator's answers to their pictures, as pictures; see :func:`measure_surface`."""
    settings = settings or SurfaceConfig()
    check_camera(model.pose_prior, truth)
    if len(truth) < settings.num_pictures:
        raise UserError(
            f"{truth.folder} has {len(truth)} pictures, but {settings.num_pictures} are to be inverted; ask for fewer "
            "or give a larger collection."
        )
    resolution, randomness = settings.resolution, torch.Generator().manual_seed(settings.seed)
    indices: List[int] = torch.randperm(len(truth), generator=randomness)[: settings.num_pictures].tolist()
    poses = torch.stack([truth.pose(index) for index in indices]).float()
    views = [true_view(truth, index, resolution, pose) for index, pose in zip(indices, poses, strict=True)]
    rgb, depth, hit, normals = (torch.stack(values).cpu() for values in zip(*views, strict=True))
    true = Seen(rgb.float(), depth.float(), hit, normals.float())
    inverted = invert(
        model,
        true.rgb,
        poses,
        settings.inversion,
        yaw_offset_rad,
        settings.seed,
        lambda done: report(INVERSION_SHARE * done),
    )
    mean = code_spread(model.generator_ema, settings.seed).mean.expand_as(inverted.codes)
    offset, novel = inverted.yaw_offset_rad, {}
    sides = sorted({sign * abs(yaw) for yaw in settings.novel_yaws_deg for sign in (-1.0, 1.0)})
    for number, yaw_deg in enumerate(sides):
        beside = turned(poses, math.radians(yaw_deg))
        pictures = [true_view(truth, index, resolution, pose).rgb for index, pose in zip(indices, beside, strict=True)]
        answers = (see_objects(model, codes, beside, resolution, offset, False).rgb for codes in (inverted.codes, mean))
        novel[yaw_deg] = (torch.stack(pictures).cpu().float(), *answers)
        report(INVERSION_SHARE + (1.0 - INVERSION_SHARE) * (number + 1) / (len(sides) + 1))
    found, average = (see_objects(model, codes, poses, resolution, offset) for codes in (inverted.codes, mean))
    report(1.0)
    return SurfaceComparison(indices, inverted, true, found, average, novel)


def measure_surface(
    model: GanModel,
    truth: TrueCollection,
    settings: Optional[SurfaceConfig] = None,
    yaw_offset_rad: Optional[float] = 0.0,
    report: Callable[[float], None] = lambda done: None,
) -> list[Record]:
    """How well the generator's geometry agrees with the truth, by the protocol above.

    Args:
        model: of any method; its averaged weights are measured.
        truth: pictures that the generator has not been trained on, with what they show, taken by its camera.
        settings: of the measurement.
        yaw_offset_rad: the model's yaw minus the true one; None: it is searched for by the pictures' error. Where it is
            not finite, none is assumed, and the protocol says that it is unknown.
        report: told the fraction that is done.

    Raises:
        UserError: too few pictures, or another camera or resolution.
    """
    settings = settings or SurfaceConfig()
    origin = "searched" if yaw_offset_rad is None else "given"
    if yaw_offset_rad is not None and not math.isfinite(yaw_offset_rad):
        origin, yaw_offset_rad = "unknown", 0.0
    compared = compare_surfaces(model, truth, settings, yaw_offset_rad, report)
    config, offset = truth.prior.config, compared.inverted.yaw_offset_rad
    if not math.isfinite(offset):
        origin = "unknown"
    protocol: Dict[str, Value] = {
        "truth": truth.folder.name,
        "truth_objects": truth.num_objects,
        "pictures": settings.num_pictures,
        "resolution": settings.resolution,
        "weights": "average",
        "near": config.near,
        "far": config.far,
        "yaw_offset_deg": None if origin == "unknown" else round(math.degrees(offset), 3),
        "yaw_offset": origin,
        "seed": settings.seed,
        **{f"inversion_{name}": value for name, value in dataclasses.asdict(settings.inversion).items()},
    }
    depth_range = config.far - config.near
    answers = {"": errors_of(compared, compared.found, 1, depth_range)}
    answers[OF_MEAN_OBJECT] = errors_of(compared, compared.average, 2, depth_range)
    return [
        summary(f"{metric}{suffix}", errors, protocol, UNITS.get(metric, ""), metric == "mask_iou")
        for suffix, measured in answers.items()
        for metric, errors in measured.items()
    ]


def errors_of(
    compared: SurfaceComparison, seen: Seen, which: int, depth_range: float
) -> Dict[str, Float[Tensor, "picture"]]:
    """The errors of each picture by metric, in the units of the records; ``which`` chooses the novel pictures."""
    true, both = compared.true, compared.true.hit & seen.hit
    errors = {
        "depth_error": 100.0 / depth_range * depth_error(seen.depth, true.depth, both),
        "scale_invariant_depth_error": 100.0 * scale_invariant_depth_error(seen.depth, true.depth, both),
        "normal_angle": normal_angle_deg(seen.normals, true.normals, both),
        "mask_iou": mask_iou(seen.hit, true.hit),
        "inversion_error": colour_error(seen.rgb, true.rgb),
    }
    for yaw_deg in sorted({abs(yaw_deg) for yaw_deg in compared.novel}):
        sides = [compared.novel[sign * yaw_deg] for sign in (-1.0, 1.0)]
        both_sides = torch.stack([colour_error(side[which], side[0]) for side in sides])
        errors[f"novel_view_error_{yaw_deg:g}"] = both_sides.mean(dim=0)
    return errors


def summary(
    metric: str, errors: Float[Tensor, "picture"], protocol: Mapping[str, Value], unit: str, larger_is_better: bool
) -> Record:
    """The record of each picture's number; pictures without one do not count."""
    errors = errors[errors.isfinite()].double()
    return Record(
        metric=metric,
        value=float(errors.mean()) if len(errors) else math.nan,
        protocol=protocol,
        better="higher" if larger_is_better else "lower",
        unit=unit,
        deviation=float(errors.std()) if len(errors) > 1 else None,
        deviation_over="pictures" if len(errors) > 1 else "",
    )
