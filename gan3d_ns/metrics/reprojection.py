"""Multi-view reprojection error (VolumeGAN, Xu et al. 2022): do the pictures of an object show the shape it has?"""

import math
from collections.abc import Callable
from typing import NamedTuple, Optional

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gan3d_ns.cameras.pose_prior import PosePrior, PosePriorConfig, poses_from_degrees
from gan3d_ns.cameras.trajectories import view_range
from gan3d_ns.cameras.viewpoints import Viewpoints
from gan3d_ns.data.true_collection import SHARED_CAMERA, TrueCollection
from gan3d_ns.exporter.mesh import Mesh
from gan3d_ns.exporter.preview import cast_distances
from gan3d_ns.metrics.generated_shapes import as_mesh, first_pictures, object_seeds, surface_of
from gan3d_ns.metrics.generated_views import Rendered, Views, render_views
from gan3d_ns.metrics.records import Record
from gan3d_ns.metrics.settings import ReprojectionConfig
from gan3d_ns.metrics.view_consistency import occlusion_tolerance, reprojection_error
from gan3d_ns.model_components.latents import LatentSelection
from gan3d_ns.models.gan_model import GanModel
from gan3d_ns.models.latent_codes import latent_of_seed


class ObjectError(NamedTuple):
    """Of one object, over all pairs of consecutive views, both ways."""

    error: float
    """Mean absolute difference of colours in [0, 1] over all compared pixels; NaN where there are none."""
    share: float
    """Compared pixels of those that show the surface."""


def spaced_poses(prior: PosePriorConfig, num_views: int) -> Float[Tensor, "view 2"]:
    """Poses at the prior's middle elevation, uniformly spaced from one end of its yaws to the other.

    Where it looks from all around, around the full circle: the last is then as far from the first as any two.
    """
    seen = view_range(prior)
    if seen.all_around:
        offsets = torch.arange(num_views) * (2.0 * seen.yaw_reach / num_views)
    else:
        offsets = torch.linspace(-seen.yaw_reach, seen.yaw_reach, num_views)
    yaws = seen.yaw + offsets
    return poses_from_degrees(yaws, torch.full_like(yaws, seen.elevation))


def neighbours(num_views: int, all_around: bool) -> tuple[list[int], list[int]]:
    """Pairs of consecutive views, each in both orders; on a circle the last and the first are a pair too."""
    first = list(range(num_views if all_around and num_views > 2 else num_views - 1))
    second = [(index + 1) % num_views for index in first]
    return first + second, second + first


def pictures_on_mesh(
    mesh: Mesh, rgb: Float[Tensor, "view 3 side side"], poses: Float[Tensor, "view 2"], pose_prior: PosePrior
) -> Rendered:
    """The pictures with the depth of a mesh, by ray casting, in place of the renderer's own; on the CPU."""
    rays = pose_prior.rays(poses, rgb.shape[-1])
    depth = cast_distances(mesh, rays.origins, rays.directions).reshape(rgb[:, 0].shape)
    return Rendered(rgb, depth, depth.isfinite())


def object_error(seen: Rendered, poses: Float[Tensor, "view 2"], pose_prior: PosePrior) -> ObjectError:
    """Warps consecutive views of an object onto each other, both ways, see `reprojection_error`.

    Args:
        seen: the views, from one end of the yaws to the other or around the circle.
        poses: (pitch, yaw) in radians.
        pose_prior: the camera, which also says whether the views close a circle.
    """
    first, second = neighbours(len(poses), view_range(pose_prior.config).all_around)
    views = [Rendered(*(part[index] for part in seen)) for index in (first, second)]
    warp = reprojection_error(views[0], poses[first], views[1], poses[second], pose_prior)
    count, shown = warp.compared.sum(dim=(1, 2)), int(views[1].hit.sum())
    compared = int(count.sum())
    if compared == 0:
        return ObjectError(math.nan, 0.0)
    # Views without a compared pixel count for nothing; colours that are no numbers must not count as equal ones.
    total = float((warp.error * count)[count > 0].sum())
    return ObjectError(total / compared, compared / shown)


def measure_reprojection(
    model: GanModel,
    config: ReprojectionConfig,
    truth: Optional[TrueCollection] = None,
    report: Callable[[float], None] = lambda done: None,
) -> list[Record]:
    """Records `reprojection_error`, `reprojection_share` and `reprojection_without_surface`.

    As VolumeGAN measures it: the object's mesh by marching cubes, its depth in five uniformly spaced views, the
    pictures of consecutive views warped onto each other by that depth, and the error averaged. The paper leaves open
    what is chosen here: views from one end of the prior's yaws to the other (two standard deviations of a Gaussian) at
    its middle elevation, around the full circle where it looks from all around; both directions of each pair; the
    mean absolute difference over colour channels in [0, 1] and over the pixels that both views see, with
    `occlusion_tolerance`; the mean over all compared pixels of an object, then over objects; pictures and depth at the
    same resolution; the mesh at the level that the method calls its surface, cut at the border of what cameras see.

    A low error alone says little: an object of one colour has none, and neither has one whose mesh is hidden. The
    share of the surface's pixels that could be compared stands beside it. Wide turns compare less and cost more
    interpolation, so that values of collections with other yaws cannot be compared; the floor tells how much is due to
    the pixels: the same measure of true surfaces and true pictures, seen by the same cameras, of as many objects or of
    all that the truth has. A truth that was taken by another camera gives no floor.

    Args:
        model: of any method.
        config: counts and sizes.
        truth: of the collection that the model was trained on, for the floor.
        report: called with the fraction that is done.

    Raises:
        UserError: impossible settings.
    """
    if truth is not None and not same_camera(model.pose_prior, truth):
        truth = None
    pictures = {} if truth is None else first_pictures(truth)
    num_floor = min(config.num_objects, len(pictures))
    rounds = config.num_objects + num_floor
    poses, results, without_surface = spaced_poses(model.pose_prior.config, config.num_views), [], 0
    for number, seed in enumerate(object_seeds(config.seed, config.num_objects)):
        found = generated_error(model, config, seed, poses)
        results += [] if found is None else [found]
        without_surface += found is None
        report((number + 1) / rounds)
    floors = []
    if truth is not None:
        numbers = np.random.default_rng(config.seed).permutation(sorted(pictures))[:num_floor]
        for number, chosen in enumerate(numbers.tolist()):
            floors.append(true_error(truth, chosen, pictures[chosen], config.resolution, poses, model.pose_prior))
            report((config.num_objects + number + 1) / rounds)
    return records_of(model.pose_prior.config, config, results, floors, without_surface, truth)


def same_camera(prior: PosePrior, truth: TrueCollection) -> bool:
    """Whether pictures of a generator and of the truth are taken by the same camera, wherever it stands."""
    return all(getattr(prior.config, name) == getattr(truth.prior.config, name) for name in SHARED_CAMERA)


@torch.no_grad()
def generated_error(
    model: GanModel, config: ReprojectionConfig, seed: int, poses: Float[Tensor, "view 2"]
) -> Optional[ObjectError]:
    """The error of the object of a seed; None where it has no surface."""
    selection = LatentSelection(seed=seed, truncation=config.truncation, raw_weights=config.raw_weights)
    mesh = surface_of(model, selection, config.mesh_resolution)
    if mesh is None:
        return None
    latents = latent_of_seed(model.generator.field, seed).expand(len(poses), -1)
    views = Views(latents, Viewpoints(poses))
    seen = render_views(model, views, config.resolution, config.truncation, config.raw_weights)
    rgb = torch.cat([view.rgb.cpu() for view in seen])
    return object_error(pictures_on_mesh(mesh, rgb, poses, model.pose_prior), poses, model.pose_prior)


def true_error(
    truth: TrueCollection,
    number: int,
    picture: int,
    resolution: int,
    poses: Float[Tensor, "view 2"],
    pose_prior: PosePrior,
) -> ObjectError:
    """The error of a true object that a picture shows, in the views of a generator's prior.

    Args:
        truth: taken by the prior's camera.
        number: of the object.
        picture: one that shows it.
        resolution: side of the views in pixels.
        poses: (pitch, yaw) in radians.
        pose_prior: the generator's, whose poses these are.
    """
    rgb = torch.stack([truth.view(picture, resolution, pose).rgb for pose in poses])
    return object_error(pictures_on_mesh(as_mesh(truth.mesh(number)), rgb, poses, pose_prior), poses, pose_prior)


def records_of(
    prior: PosePriorConfig,
    config: ReprojectionConfig,
    results: list[ObjectError],
    floors: list[ObjectError],
    without_surface: int,
    truth: Optional[TrueCollection] = None,
) -> list[Record]:
    """The records of measured objects: means over those that could be compared. ``truth`` gave the floors."""
    seen = view_range(prior)
    protocol = {
        "truth": None if truth is None else truth.folder.name,
        "truth_objects": None if truth is None else truth.num_objects,
        "objects": config.num_objects,
        "floor_objects": len(floors),
        "views": config.num_views,
        "yaw_mean_deg": seen.yaw,
        "yaw_reach_deg": round(seen.yaw_reach, 6),
        "elevation_deg": round(seen.elevation, 6),
        "fov_deg": prior.fov_deg,
        "resolution": config.resolution,
        "mesh_resolution": config.mesh_resolution,
        "occlusion_tolerance": round(occlusion_tolerance(prior, config.resolution), 6),
        "difference": "mean absolute, rgb in [0, 1]",
        "truncation": config.truncation,
        "weights": "raw" if config.raw_weights else "average",
        "seed": config.seed,
    }
    errors, shares = spread([found.error for found in results]), spread([found.share for found in results])
    between = "true surfaces and true pictures" if floors else ""
    floor, floor_share = (
        spread([getattr(found, name) for found in floors])[0] if floors else None for name in ("error", "share")
    )
    return [
        Record("reprojection_error", errors[0], protocol, "lower", "", errors[1], "objects", floor, between),
        Record("reprojection_share", shares[0], protocol, "higher", "", shares[1], "objects", floor_share, between),
        Record("reprojection_without_surface", float(without_surface), protocol, "lower", "objects"),
    ]


def spread(values: list[float]) -> tuple[float, Optional[float]]:
    """Mean and standard deviation of the values that are numbers; NaN and None where there are too few."""
    known = [value for value in values if not math.isnan(value)]
    mean = float(np.mean(known)) if known else math.nan
    return mean, float(np.std(known, ddof=1)) if len(known) > 1 else None
