"""Do generated shapes look like true ones, and like all of them: minimum matching distance and coverage."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, Optional

import numpy as np
import torch
from jaxtyping import Float, Float64
from scipy.spatial import KDTree
from torch import Tensor

from gan3d_ns.cameras.pose_prior import PosePrior
from gan3d_ns.cameras.projection import projected
from gan3d_ns.cameras.view_coverage import mirrored_poses
from gan3d_ns.data.true_collection import TrueCollection
from gan3d_ns.errors import UserError
from gan3d_ns.exporter.mesh import Mesh
from gan3d_ns.exporter.view_colours import Occluder
from gan3d_ns.metrics.generated_shapes import as_mesh, object_seeds, surface_of
from gan3d_ns.metrics.records import Record
from gan3d_ns.metrics.settings import ShapeSetsConfig
from gan3d_ns.model_components.latents import LatentSelection
from gan3d_ns.models.gan_model import GanModel

Points = Float64[np.ndarray, "_ 3"]
NUM_CAMERAS = 32
"""Cameras of the prior that look for the visible surface; an even number."""
CANDIDATES = 4
"""Points that are looked at for each that is wanted, at first and in every further round."""
MOST_ROUNDS = 8


class SetSizes(NamedTuple):
    """How many objects are compared."""

    generated: int
    true: int
    """The reference."""
    others: int
    """True objects beside the reference, for the floor: as many as are generated, or none."""


class SetDistance(NamedTuple):
    """How well a set of shapes stands for a reference."""

    matching: float
    """Minimum matching distance; NaN where the set is empty."""
    matching_deviation: float
    """Standard deviation of the least distances over the reference."""
    coverage: float
    """In [0, 1]."""


def set_sizes(num_objects: int, config: ShapeSetsConfig) -> SetSizes:
    """As many objects as are asked for; of a small collection at most half on each side, so that there is a floor.

    With fewer than 4 true objects there is none, and all of them are the reference.
    """
    generated, true = config.num_generated, config.num_true
    if num_objects >= generated + true:
        return SetSizes(generated, true, generated)
    half = num_objects // 2
    if half < 2:
        return SetSizes(generated, min(true, num_objects), 0)
    return SetSizes(min(generated, half), min(true, half), min(generated, half))


def chamfer(points_a: Points, points_b: Points) -> float:
    """Mean distance to the nearest point of the other set, the mean of both ways, in the points' unit.

        d(A, B) = (mean_a min_b |a - b| + mean_b min_a |a - b|) / 2

    Achlioptas et al. (2018, section 2) sum squares; here distances are plain, as a length in the world says more and
    single far points weigh less, and means, so that it does not grow with the number of points.
    """
    return _chamfer(points_a, KDTree(points_a), points_b, KDTree(points_b))


def chamfer_matrix(first: Sequence[Points], second: Sequence[Points]) -> Float64[np.ndarray, "first second"]:
    """The distance of every shape of one set to every shape of the other."""
    distances = np.empty((len(first), len(second)))
    trees = [KDTree(points) for points in second]
    for row, points in enumerate(first):
        tree = KDTree(points)
        for column, others in enumerate(second):
            distances[row, column] = _chamfer(points, tree, others, trees[column])
    return distances


def _chamfer(points_a: Points, tree_a: KDTree, points_b: Points, tree_b: KDTree) -> float:
    return 0.5 * float(tree_b.query(points_a)[0].mean() + tree_a.query(points_b)[0].mean())


def set_distance(distances: Float64[np.ndarray, "shape reference"]) -> SetDistance:
    """Minimum matching distance and coverage (Achlioptas et al. 2018, section 2).

    MMD is the mean over the reference of the distance to the nearest shape: do good shapes exist? Coverage is the share
    of the reference that is nearest to at least one shape: are all kinds there? n shapes cover n at most.
    """
    num_shapes, num_reference = distances.shape
    if num_shapes == 0:
        return SetDistance(math.nan, math.nan, 0.0)
    least = distances.min(axis=0)
    covered = len(np.unique(distances.argmin(axis=1))) / num_reference
    return SetDistance(float(least.mean()), float(least.std(ddof=1)), covered)


def turned_to_truth(points: Points, yaw_offset_rad: float) -> Points:
    """Points of a generator's world in the world of the truth, where model yaw = true yaw + offset.

    A camera at an azimuth in the truth stands at that azimuth plus the offset in the generator's world, and so does
    everything that it looks at: the way back turns by minus the offset, from +x towards +z as yaws do.
    """
    sine, cosine = math.sin(yaw_offset_rad), math.cos(yaw_offset_rad)
    x, y, z = points.T
    return np.stack((cosine * x + sine * z, y, cosine * z - sine * x), axis=-1)


def seen_by(mesh: Mesh, points: Float[Tensor, "point 3"], pose_prior: PosePrior) -> np.ndarray:
    """Whether some camera of the prior has each point of the mesh in its frame and in sight, from either side.

    Which way faces are wound does not matter: models of others have some inside out, and pictures show both sides. Of
    closed surfaces what faces away is hidden behind what faces the camera. The cameras are always the same, and as many
    on the left as on the right.
    """
    occluder, seen = Occluder(mesh.vertices, mesh.faces), torch.zeros(len(points), dtype=torch.bool)
    for matrix in pose_prior.camera_to_world(mirrored_poses(pose_prior, NUM_CAMERAS)):
        place, depth, distance = projected(points, matrix, pose_prior.config.fov_deg)
        directions = (points - matrix[:, 3]) / distance[:, None]
        in_frame = (depth > 0.0) & (place.abs() <= 1.0).all(dim=-1)
        index = (in_frame & ~seen).nonzero()[:, 0]
        seen[index] = occluder.visible(matrix[:, 3], directions[index], distance[index])
    return seen.numpy()


def surface_points(
    mesh: Mesh, count: int, seed: Sequence[int], pose_prior: Optional[PosePrior] = None
) -> Optional[Points]:
    """Random points on a surface, uniform by area; with a prior, on what its cameras see of it.

    None where next to nothing is seen. The same seed gives the same points.
    """
    import trimesh

    shape = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    found: list[np.ndarray] = []
    for number in range(MOST_ROUNDS):
        lot = int(np.random.SeedSequence([*seed, number]).generate_state(1)[0])
        sampled = trimesh.sample.sample_surface(shape, count * (1 if pose_prior is None else CANDIDATES), seed=lot)
        points = np.asarray(sampled[0], dtype=np.float64)
        if pose_prior is not None:
            points = points[seen_by(mesh, torch.from_numpy(points.astype(np.float32)), pose_prior)]
        found.append(points)
        if sum(len(part) for part in found) >= count:
            return np.concatenate(found)[:count]
    return None


def measure_shape_sets(
    model: GanModel,
    truth: TrueCollection,
    config: ShapeSetsConfig,
    yaw_offset_rad: float = 0.0,
    report: Callable[[float], None] = lambda done: None,
) -> list[Record]:
    """Records `shape_matching_distance` (MMD), `shape_coverage` and `shapes_without_surface`.

    Surfaces of random objects, turned into the truth's frame, against the true surfaces, by the Chamfer distance. What
    generated meshes have and closed true ones have not, walls of inner hollows and of matter cut off at the border of
    what cameras see, and what no picture shows of either, such as the underside, is left out with `seen_only`: points
    then spread over what cameras of the collection's prior see, on both sides alike. Objects without a surface, or
    with none in sight, cover nothing and are left out of the matching distance. The floor is the same measure of other
    true objects, as many as are generated: it holds the distance between samples of one surface, and that the
    reference has shapes that no other is like. Small collections are compared with fewer objects than are asked for,
    see `set_sizes`; the protocol says how many. Both measures depend on that number.

    Args:
        model: of any method.
        truth: the collection that it was trained on.
        config: counts and sizes.
        yaw_offset_rad: model yaw = true yaw + offset, for a generator that learnt its objects turned; where it is not
            finite, no generated surface can be compared, and the values are NaN.
        report: called with the fraction that is done.

    Raises:
        UserError: impossible settings, or there are fewer than two true objects.
    """
    if truth.num_objects < 2:
        raise UserError(
            f"{truth.folder} has {truth.num_objects} shapes, which is no set to compare with; give a collection of 2 "
            "objects or more."
        )
    sizes, placeable = set_sizes(truth.num_objects, config), math.isfinite(yaw_offset_rad)
    prior = truth.prior if config.seen_only else None
    chosen = np.random.default_rng(config.seed).permutation(truth.num_objects).tolist()
    reference_numbers, others = chosen[: sizes.true], chosen[sizes.true :][: sizes.others]
    steps, done = sum(sizes), 0

    def step() -> None:
        nonlocal done
        done += 1
        report(done / steps)

    def true_points(number: int) -> Points:
        points = surface_points(as_mesh(truth.mesh(number)), config.points, (config.seed, 0, number), prior)
        step()
        if points is None:
            raise UserError(f"the cameras of {truth.folder} do not see its object {number}; leave that one out.")
        return points

    reference = [true_points(number) for number in reference_numbers]
    generated, without_surface = [], 0
    for number, seed in enumerate(object_seeds(config.seed, sizes.generated)):
        selection = LatentSelection(seed=seed, truncation=config.truncation, raw_weights=config.raw_weights)
        mesh = surface_of(model, selection, config.mesh_resolution)
        points = None
        if mesh is not None and placeable:
            turned = turned_to_truth(mesh.vertices.astype(np.float64), yaw_offset_rad).astype(np.float32)
            points = surface_points(Mesh(turned, mesh.faces), config.points, (config.seed, 1, number), prior)
            generated += [] if points is None else [points]
        without_surface += mesh is None or (placeable and points is None)
        step()
    found = SetDistance(math.nan, math.nan, math.nan)
    if placeable:
        found = set_distance(chamfer_matrix(generated, reference))
    floor = None
    if others:
        floor = set_distance(chamfer_matrix([true_points(number) for number in others], reference))
    return _records(config, truth, sizes, yaw_offset_rad, found, floor, without_surface)


def _records(
    config: ShapeSetsConfig,
    truth: TrueCollection,
    sizes: SetSizes,
    yaw_offset_rad: float,
    found: SetDistance,
    floor: Optional[SetDistance],
    without_surface: int,
) -> list[Record]:
    protocol = {
        "truth": truth.folder.name,
        "truth_objects": truth.num_objects,
        "generated": sizes.generated,
        "true": sizes.true,
        "points": config.points,
        "surface": "seen by cameras of the prior" if config.seen_only else "all",
        "distance": "chamfer: mean distance to the nearest point, mean of both ways",
        "mesh_resolution": config.mesh_resolution,
        "truncation": config.truncation,
        "weights": "raw" if config.raw_weights else "average",
        "yaw_offset_deg": round(math.degrees(yaw_offset_rad), 6) if math.isfinite(yaw_offset_rad) else None,
        "seed": config.seed,
    }
    between = "" if floor is None else "other true objects"
    return [
        Record(
            "shape_matching_distance",
            found.matching,
            protocol,
            "lower",
            "world units",
            None if math.isnan(found.matching) else found.matching_deviation,
            "" if math.isnan(found.matching) else "true objects",
            None if floor is None else floor.matching,
            between,
        ),
        Record(
            "shape_coverage",
            found.coverage,
            protocol,
            "higher",
            floor=None if floor is None else floor.coverage,
            floor_between=between,
        ),
        Record("shapes_without_surface", float(without_surface), protocol, "lower", "objects"),
    ]
