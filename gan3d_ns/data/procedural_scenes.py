"""The built-in scenes: pictures of a few solids on a plane, with true cameras, depths, instances and shapes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS, PosePriorConfig
from gan3d_ns.data.array_files import MOST_BYTES, open_arrays
from gan3d_ns.data.cache import CACHE_VARIABLE, cache_root, publish_folder
from gan3d_ns.data.picture_folder import check_sizes, write_pictures
from gan3d_ns.data.procedural_meshes import surface_mesh
from gan3d_ns.data.procedural_primitives import PALETTE, Material, Primitive, PrimitiveScene, Solid
from gan3d_ns.data.procedural_scene_rendering import (
    PICTURE_PRECISION,
    SceneGeometry,
    render_scene_colours,
    scene_view,
    see_scene,
)
from gan3d_ns.data.procedural_scene_sampling import FEWEST, LARGEST_NUMBER, MOST, REACH, SIZES, sample_scene
from gan3d_ns.data.true_cameras import PictureTruth, TrueCameras, draw_cameras, read_cameras
from gan3d_ns.data.true_collection import TRUTH_FILE, TrueMesh, TrueView
from gan3d_ns.errors import UserError

SCENES_VERSION = 1
"""Part of the folder's name; raise it when the same seed gives another picture."""
SCENES_KIND = "scenes"
"""What the truth file calls itself."""
SCENES_PRESET = "scenes"
SCENES_REACH = math.sqrt(2.0) * REACH + 1.2 * SIZES[1]
"""Distance from the origin, in world units, within which all objects lie."""
LOWEST_ELEVATION_DEG = 5.0
"""Of cameras: below the plane there is nothing to see."""
SUPERSAMPLING = 2
"""Rays along each side of a pixel."""
MESH_CELLS = 160
"""Cells of the lattice along each side of a mesh's cube."""


def scene_collection_folder(
    root: Path | None = None, num_images: int = 2000, resolution: int = 64, seed: int = 0
) -> Path:
    """Return the folder of PNG pictures, one scene each, made now unless an earlier call has made it.

    Picture i shows scene `seed * 1,000,000 + i` from pose i of the `scenes` prior. The same arguments give the same
    pictures.

    Args:
        root: where the folder lies; the default is the user's cache folder.
        num_images: how many scenes.
        resolution: pixels a side.
        seed: selects the scenes and poses.

    Raises:
        UserError: where the numbers make no collection, or the folder cannot be written.
    """
    check_sizes(num_images, resolution)
    root = cache_root() if root is None else root
    target = root / "procedural" / f"scenes-v{SCENES_VERSION}-{num_images}x{resolution}-seed{seed}"
    try:
        return publish_folder(
            target,
            lambda folder: write_scene_collection(folder, num_images, resolution, seed),
            lambda folder: (folder / TRUTH_FILE).is_file() and sum(1 for _ in folder.glob("*.png")) == num_images,
        )
    except OSError as error:
        raise UserError(
            f"the built-in scenes cannot be written to {target} ({error}); set {CACHE_VARIABLE} to a folder with room."
        ) from error


def check_numbers_of_objects(fewest: int, most: int) -> None:
    """Refuse numbers of objects that make no scenes.

    Raises:
        UserError: fewer than one, more than find room, or the wrong way round.
    """
    if not 1 <= fewest <= most <= LARGEST_NUMBER:
        raise UserError(
            f"scenes of {fewest} to {most} objects cannot be made; give the fewest and the most, from 1 to "
            f"{LARGEST_NUMBER}, for example --objects 2 4."
        )


def write_scene_collection(
    folder: Path,
    num_images: int,
    resolution: int,
    seed: int,
    numbers_of_objects: tuple[int, int] = (FEWEST, MOST),
    law: PosePriorConfig | None = None,
) -> None:
    """Fill an empty folder with scenes; the same arguments give the same files (see `scene_collection_folder`).

    Args:
        folder: where to.
        num_images: how many scenes.
        resolution: pixels a side.
        seed: selects the scenes and poses.
        numbers_of_objects: fewest and most in a scene.
        law: where the cameras stand; the default is the preset `scenes`.

    Raises:
        UserError: where the numbers or the law make no collection.
    """
    check_sizes(num_images, resolution)
    if num_images * resolution**2 > MOST_BYTES // 2:
        raise UserError(
            f"{num_images} scenes of {resolution} x {resolution} pixels are more than one file can say of them; make "
            f"{MOST_BYTES // 2 // resolution**2} at most, or smaller ones."
        )
    check_numbers_of_objects(*numbers_of_objects)
    cameras = draw_cameras(law or POSE_PRIOR_PRESETS[SCENES_PRESET], num_images, seed, SCENES_REACH)
    _refuse_cameras_below(cameras)
    seeds = [seed * 1_000_000 + number for number in range(num_images)]
    scenes = [sample_scene(one, *numbers_of_objects) for one in seeds]
    instances = np.zeros((num_images, resolution, resolution), dtype=np.uint8)

    def picture(number: int) -> Float[Tensor, "3 row column"]:
        scene, seen_from = PrimitiveScene(scenes[number]), cameras.seen_from(number)
        instances[number] = see_scene(scene, *seen_from, resolution, PICTURE_PRECISION).instance.numpy() + 1
        return render_scene_colours(scene, *seen_from, resolution, SUPERSAMPLING)

    write_pictures(folder, range(num_images), num_images, picture, "Making scenes")
    with open(folder / TRUTH_FILE, "wb") as stream:
        arrays: dict[str, Any] = {**cameras.arrays(), **_arrays_of(scenes)}
        np.savez_compressed(
            stream,
            **arrays,
            kind=np.str_(SCENES_KIND),
            seeds=np.array(seeds, dtype=np.int64),
            instances=instances,
            resolution=np.int64(resolution),
            version=np.int64(SCENES_VERSION),
        )
    about = {"images": num_images, "resolution": resolution, "seed": seed, "objects": list(numbers_of_objects)}
    (folder / "about.json").write_text(json.dumps({**about, **cameras.about()}, indent=2) + "\n", encoding="utf-8")


class SceneTruth(PictureTruth):
    """What is true of each picture of a collection of scenes. What other collections call an object is a whole scene.

    Args:
        folder: a folder that `scene_collection_folder` returned or `write_scene_collection` filled.

    Raises:
        UserError: where the folder is no such collection.
    """

    stored_instances: UInt8[np.ndarray, "image row column"]
    """Which object is seen through each pixel's centre, counted from 1; 0: none."""

    def __init__(self, folder: Path) -> None:
        try:
            with open_arrays(folder / TRUTH_FILE) as truth:
                if str(truth["kind"]) != SCENES_KIND:
                    raise ValueError(f"it holds {truth['kind']}")
                self.cameras = read_cameras(truth, SCENES_PRESET)
                self.seeds = [int(seed) for seed in truth["seeds"]]
                self.stored_instances = truth["instances"]
                self.resolution = int(truth["resolution"])
                version = int(truth["version"])
                if len(self.seeds) != len(self.cameras.poses):
                    raise ValueError(f"{len(self.seeds)} seeds for {len(self.cameras.poses)} pictures")
                self._scenes = _scenes_of(truth)
        except (OSError, KeyError, ValueError) as error:
            raise UserError(
                f"{folder} is not a collection of scenes ({TRUTH_FILE}: {error}); make it again."
            ) from error
        if version != SCENES_VERSION:
            raise UserError(
                f"{folder} was made by version {version} of the procedural scenes, this is version {SCENES_VERSION}; "
                "make the collection again."
            )
        self.folder = folder

    def objects(self, index: int) -> tuple[Primitive, ...]:
        """The objects of a scene: what each is, and where it stands."""
        return self._scenes[index]

    def scene(self, index: int) -> PrimitiveScene:
        """The scene: signed distances, normals and colours of its objects, without the plane."""
        return PrimitiveScene(self._scenes[index])

    def geometry(
        self, index: int, resolution: int | None = None, pose: Float[Tensor, "2"] | None = None
    ) -> SceneGeometry:
        """Depth, instances and normals at the pixels' centres, from the picture's camera or from any other pose."""
        return see_scene(self.scene(index), *self.cameras.seen_from(index, pose), resolution or self.resolution)

    def depth(self, index: int, resolution: int | None = None) -> Float[Tensor, "row column"]:
        """Euclidean distance from the camera to objects and plane; the camera's far where the plane lies further."""
        return self.geometry(index, resolution).depth

    def instances(self, index: int, resolution: int | None = None) -> Int64[Tensor, "row column"]:
        """Which object is seen through the pixels' centres, by its place in `objects`; -1: none."""
        return self.geometry(index, resolution).instance

    def mask(self, index: int, resolution: int | None = None) -> Bool[Tensor, "row column"]:
        """True where the ray through the pixel's centre meets an object."""
        return self.instances(index, resolution) >= 0

    def object_masks(self, index: int, resolution: int | None = None) -> Bool[Tensor, "object row column"]:
        """The visible part of each object of a scene."""
        return self.instances(index, resolution) == torch.arange(len(self._scenes[index]))[:, None, None]

    def view(self, index: int, resolution: int, pose: Float[Tensor, "2"] | None = None) -> TrueView:
        """The scene of a picture, from the picture's camera or from any other pose at the prior's radius.

        The mask is that of the objects, without the plane; depth and normals are those of objects and plane.
        """
        return self.rearranged(index, {}, resolution, pose)

    def rearranged(
        self,
        index: int,
        changes: Mapping[int, Primitive | None],
        resolution: int,
        pose: Float[Tensor, "2"] | None = None,
    ) -> TrueView:
        """The scene of a picture with some of its objects, by their numbers, exchanged for others or (None) taken away.

        `dataclasses.replace(truth.objects(index)[number], place=(x, z))` is an object moved.
        """
        kept = [changes.get(number, one) for number, one in enumerate(self._scenes[index])]
        scene = PrimitiveScene([one for one in kept if one is not None])
        return scene_view(scene, *self.cameras.seen_from(index, pose), resolution, SUPERSAMPLING)

    def without(self, index: int, number: int, resolution: int, pose: Float[Tensor, "2"] | None = None) -> TrueView:
        """The scene of a picture without one of its objects."""
        return self.rearranged(index, {number: None}, resolution, pose)

    def mesh(self, number: int) -> TrueMesh:
        """The surfaces of a scene's objects, without the plane: closed, faces counter-clockwise seen from outside."""
        return surface_mesh(self.scene(number), MESH_CELLS)


def _refuse_cameras_below(cameras: TrueCameras) -> None:
    lowest = 90.0 - float(torch.rad2deg(cameras.poses[:, 0].amax()))
    if lowest < LOWEST_ELEVATION_DEG:
        raise UserError(
            f"one of the cameras would stand at an elevation of {lowest:.1f} degrees, but scenes are seen from "
            f"{LOWEST_ELEVATION_DEG:g} degrees above the plane and more; raise --cameras.elevation-mean-deg or lower "
            "--cameras.elevation-spread-deg."
        )


def _arrays_of(scenes: Sequence[Sequence[Primitive]]) -> dict[str, np.ndarray]:
    """One row for each scene; rows of scenes with fewer objects end in "" and nan."""
    most = max(len(scene) for scene in scenes)
    shape = (len(scenes), most)
    names = {key: np.full(shape, "", dtype="<U16") for key in ("solids", "colours", "materials")}
    numbers = {key: np.full(shape, np.nan) for key in ("sizes", "rotations")}
    positions, colours = np.full((*shape, 3), np.nan), np.full((*shape, 3), np.nan)
    for row, scene in enumerate(scenes):
        for column, one in enumerate(scene):
            place = (row, column)
            names["solids"][place], names["colours"][place] = one.solid, one.colour
            names["materials"][place] = one.material
            numbers["sizes"][place], numbers["rotations"][place] = one.size, one.rotation
            positions[place], colours[place] = one.centre, PALETTE[one.colour]
    counts = np.array([len(scene) for scene in scenes], dtype=np.int64)
    return {**names, **numbers, "positions": positions, "rgb": colours, "numbers_of_objects": counts}


def _scenes_of(truth: Mapping[str, Any]) -> list[tuple[Primitive, ...]]:
    columns = [truth[key] for key in ("solids", "colours", "materials", "sizes", "positions", "rotations")]
    scenes = []
    for row, count in enumerate(truth["numbers_of_objects"]):
        objects = zip(*(column[row, :count] for column in columns), strict=True)
        scenes.append(
            tuple(
                Primitive(
                    solid=cast(Solid, str(solid)),
                    colour=str(colour),
                    material=cast(Material, str(material)),
                    size=float(size),
                    place=(float(position[0]), float(position[2])),
                    rotation=float(rotation),
                )
                for solid, colour, material, size, position, rotation in objects
            )
        )
    return scenes
