"""The built-in collection: pictures of toy cars made on the first use, with true cameras, depths, masks and solids."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS, PosePrior, PosePriorConfig
from gan3d_ns.data.array_files import open_arrays
from gan3d_ns.data.cache import CACHE_VARIABLE, cache_root, publish_folder
from gan3d_ns.data.picture_folder import check_sizes, write_pictures
from gan3d_ns.data.procedural_car_sampling import sample_car
from gan3d_ns.data.procedural_cars import FIT_RADIUS, Car
from gan3d_ns.data.procedural_meshes import surface_mesh
from gan3d_ns.data.procedural_rendering import (
    SceneRendering,
    render,
    render_colours,
    render_depth,
    seen_normals,
)
from gan3d_ns.data.true_cameras import PictureTruth, draw_cameras, read_cameras
from gan3d_ns.data.true_collection import TRUTH_FILE, TrueMesh, TrueView
from gan3d_ns.errors import UserError

PROCEDURAL_VERSION = 1
"""Part of the folder's name; raise it when the same seed gives another picture."""
DEFAULT_NUM_IMAGES = 2000
DEFAULT_RESOLUTION = 64
SUPERSAMPLING = 2
"""Rays along each side of a pixel."""
CARS_REACH = 1.2 * FIT_RADIUS
"""Distance from the origin, in world units, within which every car lies."""


def procedural_pose_prior() -> PosePrior:
    """Return where the built-in collection's cameras stand: the preset `procedural`."""
    return PosePrior(POSE_PRIOR_PRESETS["procedural"])


def procedural_collection_folder(
    root: Path | None = None,
    num_images: int = DEFAULT_NUM_IMAGES,
    resolution: int = DEFAULT_RESOLUTION,
    seed: int = 0,
) -> Path:
    """Return the folder of PNG pictures, one car each, made now unless an earlier call has made it.

    Picture i shows car `seed * 1,000,000 + i` from pose i of the `procedural` prior, over white. The same arguments
    give the same pictures.

    Args:
        root: where the folder lies; the default is the user's cache folder.
        num_images: how many cars.
        resolution: pixels a side.
        seed: selects the cars and poses.

    Raises:
        UserError: where the numbers make no collection, or the folder cannot be written.
    """
    check_sizes(num_images, resolution)
    root = cache_root() if root is None else root
    target = root / "procedural" / f"cars-v{PROCEDURAL_VERSION}-{num_images}x{resolution}-seed{seed}"
    try:
        return publish_folder(
            target,
            lambda folder: write_procedural_collection(folder, num_images, resolution, seed),
            lambda folder: _is_complete(folder, num_images),
        )
    except OSError as error:
        raise UserError(
            f"the built-in collection cannot be written to {target} ({error}); "
            f"set {CACHE_VARIABLE} to a folder with room."
        ) from error


class ProceduralTruth(PictureTruth):
    """What is true of each picture of a procedural collection.

    Args:
        folder: a folder that `procedural_collection_folder` returned.

    Raises:
        UserError: where the folder is no procedural collection.
    """

    def __init__(self, folder: Path) -> None:
        try:
            with open_arrays(folder / TRUTH_FILE) as truth:
                self.cameras = read_cameras(truth, "procedural")
                self.seeds = [int(seed) for seed in truth["seeds"]]
                self.resolution = int(truth["resolution"])
                version = int(truth["version"])
                if len(self.seeds) != len(self.cameras.poses):
                    raise ValueError(f"{len(self.seeds)} seeds for {len(self.cameras.poses)} pictures")
        except (OSError, KeyError, ValueError) as error:
            raise UserError(
                f"{folder} is not a procedural collection ({TRUTH_FILE}: {error}); the true shapes are known only for "
                "folders that gan3d_ns has made itself."
            ) from error
        if version != PROCEDURAL_VERSION:
            raise UserError(
                f"{folder} was made by version {version} of the procedural cars, this is version {PROCEDURAL_VERSION}; "
                "make the collection again."
            )
        self.folder = folder

    def scene(self, index: int) -> Car:
        """The car itself: `sdf(points)` and `colour(points)` in world units."""
        return sample_car(self.seeds[index])

    def depth(self, index: int, resolution: int | None = None) -> Float[Tensor, "row column"]:
        """Euclidean distance from the camera to the surface at the pixels' centres; its camera's far beside the car."""
        prior = self.cameras.prior_of(index)
        return render_depth(self.scene(index), prior, self.poses[index], resolution or self.resolution)

    def mask(self, index: int, resolution: int | None = None) -> Bool[Tensor, "row column"]:
        """True where the ray through the pixel's centre meets the car."""
        return self.depth(index, resolution) < self.cameras.prior_of(index).config.far

    def rendering(
        self, index: int, resolution: int | None = None, pose: Float[Tensor, "2"] | None = None
    ) -> SceneRendering:
        """Colours, depth and mask of the car, from its picture's camera or any other pose."""
        prior, pose = self.cameras.seen_from(index, pose)
        return render(self.scene(index), prior, pose, resolution or self.resolution, SUPERSAMPLING)

    def view(self, index: int, resolution: int, pose: Float[Tensor, "2"] | None = None) -> TrueView:
        """The car of a picture, from the picture's camera or from any other pose at the prior's radius."""
        rgb, depth, mask = self.rendering(index, resolution, pose)
        return TrueView(rgb, depth, mask, seen_normals(self.scene(index), *self.cameras.seen_from(index, pose), depth))

    def mesh(self, number: int) -> TrueMesh:
        """The surface of a car: closed, faces counter-clockwise seen from outside."""
        return surface_mesh(self.scene(number))


def write_procedural_collection(
    folder: Path, num_images: int, resolution: int, seed: int, law: PosePriorConfig | None = None
) -> None:
    """Fill an empty folder with toy cars; the same arguments give the same files (see `procedural_collection_folder`).

    Args:
        folder: where to.
        num_images: how many cars.
        resolution: pixels a side.
        seed: selects the cars and poses.
        law: where the cameras stand; the default is the preset `procedural`.

    Raises:
        UserError: where the numbers or the law make no collection.
    """
    check_sizes(num_images, resolution)
    cameras = draw_cameras(law or POSE_PRIOR_PRESETS["procedural"], num_images, seed, CARS_REACH)
    seeds = [seed * 1_000_000 + number for number in range(num_images)]

    def picture(number: int) -> Float[Tensor, "3 row column"]:
        return render_colours(sample_car(seeds[number]), *cameras.seen_from(number), resolution, SUPERSAMPLING)

    write_pictures(folder, range(num_images), num_images, picture, "Making toy cars")
    with open(folder / TRUTH_FILE, "wb") as stream:
        np.savez(
            stream,
            **cameras.arrays(),
            seeds=np.array(seeds, dtype=np.int64),
            resolution=np.int64(resolution),
            version=np.int64(PROCEDURAL_VERSION),
        )
    about = {"images": num_images, "resolution": resolution, "seed": seed, **cameras.about()}
    (folder / "about.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def _is_complete(folder: Path, num_images: int) -> bool:
    return (folder / TRUTH_FILE).is_file() and sum(1 for _ in folder.glob("*.png")) == num_images
