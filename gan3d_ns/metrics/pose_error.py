"""Does a camera placed around a generated object see it from there? Poses read off pictures beside those asked for.

A generator that sees its objects from all around may have learnt them turned about the vertical by any angle, the same
for all. That angle, the run's yaw offset, is found first and taken away: model yaw = true yaw + offset.
"""

import math
from typing import Callable, Dict, List, NamedTuple, Optional

import torch
from jaxtyping import Float
from torch import Tensor

from gan3d_ns.cameras.pose_prior import PosePriorConfig
from gan3d_ns.data.true_collection import TrueCollection
from gan3d_ns.metrics.generated_views import draw_views, render_views
from gan3d_ns.metrics.pose_regressor import PoseErrors, TaughtRegressor, pose_errors, pose_regressor
from gan3d_ns.metrics.records import Record, Value
from gan3d_ns.metrics.settings import PoseErrorConfig
from gan3d_ns.models.gan_model import GanModel

MODE_CONCENTRATION = 1.0 / math.radians(8.0) ** 2
"""Of the von Mises kernel whose sum has its peak at the offset: a width of 8 degrees."""
MODE_CANDIDATES = 720
"""Angles at which that sum is looked at."""
AGREEING_DEG = 30.0
"""Pictures whose own offset is nearer than this to the run's agree with it."""


class YawOffset(NamedTuple):
    """By which angle a generator has turned its objects."""

    radians: float
    """Model yaw = true yaw + this; from -pi to pi. NaN where no picture says so."""
    agreement: float
    """Share of the pictures that say so within 30 degrees. A sixth says nothing: so many agree by chance."""


class PosePairs(NamedTuple):
    """Poses that pictures were taken from and poses that were read off them, (pitch, yaw) in radians."""

    sampled: Float[Tensor, "picture 2"]
    estimated: Float[Tensor, "picture 2"]


def circular_mode(angles: Float[Tensor, "picture"]) -> YawOffset:
    """The angle in radians that most angles lie around: the peak of their density, then the mean near it.

    The mean of all would be drawn away by pictures in which front and back were confused. Angles that are no numbers,
    of a generator that has diverged, agree with nothing; NaN where there are no others.
    """
    finite = angles.double()[angles.isfinite()]
    if len(finite) == 0:
        return YawOffset(math.nan, 0.0)
    candidates = 2.0 * math.pi * torch.arange(MODE_CANDIDATES, dtype=torch.float64) / MODE_CANDIDATES
    density = (MODE_CONCENTRATION * ((finite - candidates[:, None]).cos() - 1.0)).exp().sum(dim=1)
    peak = candidates[density.argmax()]
    from_peak = finite - peak
    near = from_peak.cos() > math.cos(math.radians(AGREEING_DEG))
    mode = peak + torch.atan2(from_peak[near].sin().mean(), from_peak[near].cos().mean())
    agreeing = (angles.double() - mode).cos() > math.cos(math.radians(AGREEING_DEG))
    return YawOffset(float(torch.atan2(mode.sin(), mode.cos())), float(agreeing.double().mean()))


def offset_between(pairs: PosePairs) -> YawOffset:
    """The yaw offset that pairs of poses show."""
    return circular_mode(pairs.sampled[:, 1] - pairs.estimated[:, 1])


def errors_after(pairs: PosePairs, offset: YawOffset) -> PoseErrors:
    """What is left of the differences when the offset is taken away."""
    return pose_errors(pairs.sampled - torch.tensor([0.0, offset.radians]), pairs.estimated)


def read_poses(
    model: GanModel,
    estimate: Callable[[Float[Tensor, "picture 3 side side"]], Float[Tensor, "picture 2"]],
    settings: PoseErrorConfig,
    report: Callable[[float], None] = lambda _: None,
) -> PosePairs:
    """Random poses of the model's prior, and what an estimator reads off the pictures taken from them."""
    views = draw_views(model, settings.num_generated, settings.seed)
    estimated = []
    for rendered in render_views(model, views, settings.resolution, settings.truncation, settings.raw_weights):
        estimated.append(estimate(rendered.rgb.cpu()))
        report(len(estimated) / len(views))
    return PosePairs(views.poses, torch.cat(estimated))


def yaw_offset(
    model: GanModel,
    truth: TrueCollection,
    settings: Optional[PoseErrorConfig] = None,
    report: Callable[[float], None] = lambda _: None,
) -> YawOffset:
    """By which angle a generator has turned the objects that it learnt from a collection.

    Raises:
        UserError: the collection is too small to learn from.
    """
    settings = settings or PoseErrorConfig()
    taught = pose_regressor(truth, settings.resolution, settings.regressor, lambda done: report(0.5 * done))
    return offset_between(read_poses(model, taught.network.estimate, settings, lambda done: report(0.5 + 0.5 * done)))


def measure_pose(
    model: GanModel,
    truth: TrueCollection,
    settings: Optional[PoseErrorConfig] = None,
    report: Callable[[float], None] = lambda _: None,
) -> List[Record]:
    """Records pose_error, its median, yaw_error and elevation_error, in degrees, after the yaw offset is taken away.

    Pose error is the angle between the viewing direction that was asked for and the one that is read off the picture.
    The floor is the regressor's own error on real pictures that it was not taught with.

    Raises:
        UserError: the collection is too small to learn from.
    """
    settings = settings or PoseErrorConfig()
    taught = pose_regressor(truth, settings.resolution, settings.regressor, lambda done: report(0.5 * done))
    pairs = read_poses(model, taught.network.estimate, settings, lambda done: report(0.5 + 0.5 * done))
    return records_of(pairs, taught, model.pose_prior.config, settings, truth)


def records_of(
    pairs: PosePairs,
    taught: TaughtRegressor,
    prior: PosePriorConfig,
    settings: PoseErrorConfig,
    truth: Optional[TrueCollection] = None,
) -> List[Record]:
    """The records of poses and their estimates; ``truth`` is what the regressor was taught with."""
    offset = offset_between(pairs)
    errors, floor = errors_after(pairs, offset), taught.floor
    protocol: Dict[str, Value] = {
        "truth": None if truth is None else truth.folder.name,
        "truth_objects": None if truth is None else truth.num_objects,
        "num_generated": settings.num_generated,
        "resolution": settings.resolution,
        "truncation": settings.truncation,
        "weights": "raw" if settings.raw_weights else "average",
        "pose_prior": f"{prior.distribution}, yaw {prior.yaw_mean_deg:g} +- {prior.yaw_spread_deg:.4g}, "
        f"elevation {prior.elevation_mean_deg:.4g} +- {prior.elevation_spread_deg:.4g}, fov {prior.fov_deg:g}",
        "seed": settings.seed,
        "yaw_offset_deg": math.degrees(offset.radians) if math.isfinite(offset.radians) else None,
        "agreement_within_30_deg": offset.agreement,
        "regressor_sha256": taught.sha256,
        "num_taught": taught.num_taught,
        "num_floor": len(taught.held_out),
    }

    def record(
        metric: str, values: Float[Tensor, "picture"], floors: Float[Tensor, "other"], median: bool = False
    ) -> Record:
        return Record(
            metric=metric,
            value=float(values.median() if median else values.mean()),
            protocol=protocol,
            better="lower",
            unit="degrees",
            deviation=None if median else float(values.std()),
            deviation_over="" if median else "pictures",
            floor=float(floors.median() if median else floors.mean()),
            floor_between="estimated and true poses of held-out real pictures",
        )

    return [
        record("pose_error", errors.direction, floor.direction),
        record("pose_error_median", errors.direction, floor.direction, median=True),
        record("yaw_error", errors.yaw, floor.yaw),
        record("elevation_error", errors.elevation, floor.elevation),
    ]
