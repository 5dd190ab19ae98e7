"""Collections with truth from any folder of 3D models: each is photographed from known poses, lit as the toy cars."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from nerfstudio.utils.rich_utils import CONSOLE
from rich.markup import escape
from torch import Tensor

from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS, PosePriorConfig
from gan3d_ns.data.array_files import open_arrays
from gan3d_ns.data.model_files import (
    MODEL_SUFFIXES,
    ColouredMesh,
    UnusableModel,
    list_model_files,
    placed,
    read_model,
)
from gan3d_ns.data.model_rendering import (
    ModelScene,
    faces_in_sight,
    outer_mesh,
    render_model,
    render_model_colours,
)
from gan3d_ns.data.picture_folder import check_sizes, write_pictures
from gan3d_ns.data.procedural import CARS_REACH, SUPERSAMPLING
from gan3d_ns.data.true_cameras import TrueCameras, draw_cameras, read_cameras
from gan3d_ns.data.true_collection import TRUTH_FILE, TrueMesh, TrueView
from gan3d_ns.errors import UserError

MODEL_COLLECTION_VERSION = 1
"""Raise it when the same models give other pictures."""
MODELS_FOLDER = "models"
"""Holds one file for each model, so that the folder that they came from is not needed any more."""
OPEN_SCENES = 32
"""Models that are kept ready for ray casting."""


def read_models(folder: Path, yaw_deg: float = 0.0, z_up: bool = False) -> dict[str, ColouredMesh]:
    """The models of a folder by name, placed where toy cars stand; unreadable ones are named and left out.

    Raises:
        UserError: there is no such folder, or it has fewer than two usable models.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; give the one that holds the 3D models.")
    files = list_model_files(folder)
    if not files:
        raise UserError(f"{folder} holds no 3D models; their names end in one of {', '.join(MODEL_SUFFIXES)}.")
    models: dict[str, ColouredMesh] = {}
    for file in files:
        name = file.relative_to(folder).as_posix()
        try:
            models[name] = placed(read_model(file), yaw_deg, z_up)
        except UnusableModel as error:
            CONSOLE.print(f"[yellow]{escape(name)} is left out: {escape(str(error))}.[/yellow]")
    if len(models) < 2:
        raise UserError(f"{folder} holds {len(models)} usable 3D models of {len(files)}; a collection needs 2 or more.")
    return models


def models_hash(models: dict[str, ColouredMesh]) -> str:
    """SHA-256 of what the models look like, in their order."""
    digest = hashlib.sha256()
    for model in models.values():
        for array in (*model[:-1], *model.textures):
            digest.update(f"{array.shape}{array.dtype}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def write_model_collection(
    folder: Path,
    models: dict[str, ColouredMesh],
    num_images: int,
    resolution: int,
    seed: int,
    law: PosePriorConfig | None = None,
) -> None:
    """Fill an empty folder with pictures of models and what is true of them; the same arguments give the same files.

    Picture i shows model i modulo their number from pose i of the law (the preset `procedural` where none is given),
    over white.

    Raises:
        UserError: where the numbers or the law make no collection.
    """
    check_sizes(num_images, resolution)
    if num_images < len(models):
        raise UserError(f"{num_images} images cannot show {len(models)} models; ask for {len(models)} or more.")
    cameras = draw_cameras(law or POSE_PRIOR_PRESETS["procedural"], num_images, seed, CARS_REACH)
    (folder / MODELS_FOLDER).mkdir()
    scenes = []
    for number, model in enumerate(models.values()):
        scenes.append(ModelScene(model))
        # The first rays of a scene build its search tree, which must be done before threads share it.
        _write_model(_model_file(folder, number), model, faces_in_sight(scenes[-1]))

    def picture(number: int) -> Float[Tensor, "3 row column"]:
        seen_from = cameras.seen_from(number)
        return render_model_colours(scenes[number % len(scenes)], *seen_from, resolution, SUPERSAMPLING)

    write_pictures(folder, range(num_images), num_images, picture, "Photographing the models")
    with open(folder / TRUTH_FILE, "wb") as stream:
        np.savez(
            stream,
            **cameras.arrays(),
            objects=np.arange(num_images, dtype=np.int64) % len(models),
            names=np.array(list(models)),
            resolution=np.int64(resolution),
            models_sha256=models_hash(models),
            version=np.int64(MODEL_COLLECTION_VERSION),
        )
    about = {"images": num_images, "models": len(models), "resolution": resolution, "seed": seed}
    (folder / "about.json").write_text(json.dumps({**about, **cameras.about()}, indent=2) + "\n", "utf-8")


class ModelTruth:
    """What is true of each picture of a collection of models.

    Args:
        folder: a folder that `write_model_collection` has filled.

    Raises:
        UserError: where the folder is no such collection.
    """

    poses: Float[Tensor, "image 2"]
    """(pitch, yaw) in radians."""
    objects: list[int]
    """The model of each picture."""
    names: list[str]
    """Of the models: their files, as they were called."""
    resolution: int
    """Side of the pictures in pixels."""
    num_objects: int

    def __init__(self, folder: Path) -> None:
        try:
            with open_arrays(folder / TRUTH_FILE) as truth:
                self.cameras: TrueCameras = read_cameras(truth, "procedural")
                self.objects = [int(number) for number in truth["objects"]]
                self.names = [str(name) for name in truth["names"]]
                self.resolution = int(truth["resolution"])
                self.models_sha256 = str(truth["models_sha256"])
                version = int(truth["version"])
        except (OSError, KeyError, ValueError) as error:
            raise UserError(
                f"{folder} is not a collection of models ({TRUTH_FILE}: {error}); make it again."
            ) from error
        if version != MODEL_COLLECTION_VERSION:
            raise UserError(
                f"{folder} was made by version {version} of the collections of models, this is version "
                f"{MODEL_COLLECTION_VERSION}; make the collection again."
            )
        self.folder = folder
        self.num_objects = len(self.names)
        self.prior, self.poses = self.cameras.prior, self.cameras.poses
        self._scenes: OrderedDict[int, ModelScene] = OrderedDict()

    def __len__(self) -> int:
        return len(self.objects)

    def object_of(self, index: int) -> int:
        """Which model a picture shows."""
        return self.objects[index]

    def pose(self, index: int) -> Float[Tensor, "2"]:
        """True (pitch, yaw) in radians."""
        return self.poses[index]

    def view(self, index: int, resolution: int, pose: Float[Tensor, "2"] | None = None) -> TrueView:
        """The model of a picture, from its camera or from any other pose; normals are those of its flat faces."""
        seen_from = self.cameras.seen_from(index, pose)
        return render_model(self._scene(self.objects[index]), *seen_from, resolution, SUPERSAMPLING)

    def mesh(self, number: int) -> TrueMesh:
        """The faces of a model that can be seen from outside; it need not be closed."""
        return outer_mesh(*_read_model(_model_file(self.folder, number)))

    def _scene(self, number: int) -> ModelScene:
        if number not in self._scenes:
            self._scenes[number] = ModelScene(_read_model(_model_file(self.folder, number))[0])
            if len(self._scenes) > OPEN_SCENES:
                self._scenes.popitem(last=False)
        self._scenes.move_to_end(number)
        return self._scenes[number]


def _model_file(folder: Path, number: int) -> Path:
    return folder / MODELS_FOLDER / f"{number:05d}.npz"


def _write_model(path: Path, model: ColouredMesh, in_sight: np.ndarray) -> None:
    arrays: dict[str, Any] = {name: value for name, value in model._asdict().items() if name != "textures"}
    arrays.update((f"texture{number}", texture) for number, texture in enumerate(model.textures))
    np.savez_compressed(path, in_sight=in_sight, **arrays)


def _read_model(path: Path) -> tuple[ColouredMesh, np.ndarray]:
    try:
        with open_arrays(path) as stored:
            arrays = {name: stored[name] for name in ColouredMesh._fields if name != "textures"}
            num_textures = sum(1 for name in stored if name.startswith("texture") and name[7:].isdigit())
            textures = tuple(stored[f"texture{number}"] for number in range(num_textures))
            return ColouredMesh(**arrays, textures=textures), stored["in_sight"]
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"the model {path} cannot be read ({error}); make the collection again.") from error
