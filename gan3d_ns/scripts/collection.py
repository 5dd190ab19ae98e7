"""`gan3d collection`: pictures whose shapes and cameras are known, for training and for measuring."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Callable, ClassVar, Tuple

from gan3d_ns.scripts.camera_law import CameraLaw

if TYPE_CHECKING:
    from gan3d_ns.data.model_files import ColouredMesh


@dataclass(kw_only=True)
class MakeCollection:
    """What all collections have in common."""

    output: Path
    """The folder to make; it must not exist yet, or be empty."""
    num_images: int = 2000
    """How many pictures."""
    resolution: int = 64
    """Side of the pictures in pixels."""
    seed: int = 0
    """Selects poses (and toy cars, or scenes): the same seed gives the same pictures."""
    cameras: CameraLaw = field(default_factory=CameraLaw)
    """Where the cameras stand."""
    preset: ClassVar[str] = "procedural"
    """Of cameras, and for training."""
    method: ClassVar[str] = "gof-gan-tiny"
    """That is proposed for training."""

    def fill(self, folder: Path) -> None:
        """Writes the pictures and what is true of them into an empty folder."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Reads what is needed, so that errors come before long work."""

    def main(self) -> None:
        """Makes the folder and says what to do with it.

        Raises:
            UserError: the folder exists already or cannot be written, or there is nothing to take pictures of.
        """
        import os
        import shlex

        from nerfstudio.utils.rich_utils import CONSOLE
        from rich.markup import escape

        from gan3d_ns.data.cache import publish_folder
        from gan3d_ns.data.picture_folder import check_sizes
        from gan3d_ns.data.true_collection import TRUTH_FILE
        from gan3d_ns.errors import UserError, shown_path

        check_sizes(self.num_images, self.resolution)
        if "\0" in str(self.output):
            raise UserError(f"{shown_path(self.output)} is no name for a folder; give another --output.")
        if os.path.exists(self.output) and not (self.output.is_dir() and not any(self.output.iterdir())):
            raise UserError(f"{shown_path(self.output)} exists already and is left as it is; give another --output.")
        self.law = self.cameras.law(self.preset)
        self.prepare()
        build: Callable[[Path], None] = self.fill
        try:
            publish_folder(self.output, build, lambda folder: (folder / TRUTH_FILE).is_file())
        except OSError as error:
            raise UserError(
                f"{shown_path(self.output)} cannot be written ({error.strerror}); give another --output."
            ) from error
        flags = "".join(f" {flag} {value}" for flag, value in self.cameras.training_flags(self.preset).items())
        command = f"ns-train {self.method} --data {shlex.quote(str(self.output))} --preset {self.preset}{flags}"
        CONSOLE.print(
            f"{self.num_images} pictures of {self.resolution} pixels, with true cameras and shapes, are in "
            f"{escape(str(self.output))}. To train on them:\n  {escape(command)}",
            soft_wrap=True,
        )


@dataclass(kw_only=True)
class ToyCars(MakeCollection):
    """Make a folder of toy cars like the built-in ones. Another seed gives other cars, for example held-out ones."""

    def fill(self, folder: Path) -> None:
        from gan3d_ns.data.procedural import write_procedural_collection

        write_procedural_collection(folder, self.num_images, self.resolution, self.seed, self.law)


@dataclass(kw_only=True)
class Models(MakeCollection):
    """Photograph a folder of 3D models from all around, above the horizon, over white, lit as the toy cars are.

    Each model is centred and scaled to fill the view. Parts, textures and colours are kept; transparency is not.
    The models folder is not needed afterwards.
    """

    models: Path
    """Folder of GLB, glTF, OBJ, PLY, STL or OFF files, nested as you like."""
    yaw_deg: float = 0.0
    """Turns the models about the vertical, counter-clockwise seen from above, so that they face +z: 0 for models that
    face +z as glTF's do, 180 for -z, -90 for +x, 90 for -x."""
    z_up: bool = False
    """The models' +z points up, as in many CAD programs; their front is then taken to face -y."""

    def prepare(self) -> None:
        from gan3d_ns.data.model_collection import read_models

        self._models: "dict[str, ColouredMesh]" = read_models(self.models, self.yaw_deg, self.z_up)

    def fill(self, folder: Path) -> None:
        from gan3d_ns.data.model_collection import write_model_collection

        write_model_collection(folder, self._models, self.num_images, self.resolution, self.seed, self.law)


@dataclass(kw_only=True)
class Scenes(MakeCollection):
    """Make a folder of scenes: a few spheres, cubes and cylinders on a plane, matte and shiny, in eight colours.

    Another seed than the built-in collection's 0 gives other scenes, for example held-out ones.
    """

    objects: Tuple[int, int] = (2, 4)
    """Fewest and most objects in a scene."""
    preset: ClassVar[str] = "scenes"
    """Of cameras, and for training."""
    method: ClassVar[str] = "giraffe-tiny"
    """That is proposed for training."""

    def prepare(self) -> None:
        from gan3d_ns.data.procedural_scenes import check_numbers_of_objects

        check_numbers_of_objects(*self.objects)

    def fill(self, folder: Path) -> None:
        from gan3d_ns.data.procedural_scenes import write_scene_collection

        write_scene_collection(folder, self.num_images, self.resolution, self.seed, self.objects, self.law)
