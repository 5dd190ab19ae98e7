"""All measurements of a generator behind one face, for `gan3d eval`, `ns-eval` and comparisons."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Optional, Tuple

from PIL import Image

from gan3d_ns.data.built_in import BuiltIn, built_in_folder
from gan3d_ns.data.image_collection import ImageCollection
from gan3d_ns.data.image_files import list_image_files
from gan3d_ns.data.true_collection import TRUTH_FILE, TrueCollection
from gan3d_ns.errors import UserError
from gan3d_ns.metrics.records import Record
from gan3d_ns.metrics.settings import MEASURES, WITHOUT_TRUTH, EvaluationConfig
from gan3d_ns.models.gan_model import GanModel

if TYPE_CHECKING:
    from gan3d_ns.metrics.pose_error import YawOffset

NUM_HELD_OUT, HELD_OUT_SEED = 64, 1
"""Toy cars, or scenes, that no training of the built-in collection has seen."""

SAMPLED_FILES = 64

Report = Callable[[float], None]


@dataclass(frozen=True)
class RealCollection:
    """The pictures to compare with: a folder and how its files become squares."""

    folder: Optional[Path]
    """None: the built-in collection."""
    collection: Any
    """ImageCollectionConfig of the training."""
    resolution: int
    """Side of the pictures that the training has come to, in pixels."""
    stored: int
    """Side of its largest ones, from which it makes the others."""
    trained: Optional[Path] = None
    """The folder that the training had, which may be another one."""
    known: bool = True
    """Whether there are such pictures: imported weights do not tell what they were trained on."""
    built_in: BuiltIn = "toy-cars"
    """Which collection stands where there is no folder."""

    @property
    def path(self) -> Path:
        """The folder; the built-in collection is made where it is not there yet."""
        return built_in_folder(self.built_in) if self.folder is None else Path(self.folder)

    @property
    def training_path(self) -> Path:
        """The folder of the training."""
        return built_in_folder(self.built_in) if self.trained is None else Path(self.trained)

    def open(self, resolution: Optional[int] = None) -> ImageCollection:
        """The decoded pictures, as the training has them, or larger where that is asked for.

        Raises:
            UserError: there is no such folder, too few usable pictures in it, or they are smaller than asked for.
        """
        if not self.known:
            raise UserError("what this run was trained on is not known; give its pictures: gan3d eval --data FOLDER.")
        if resolution is not None and resolution > self.stored:
            side = smallest_side(self.path)
            if resolution > side:
                raise UserError(
                    f"pictures of {resolution} pixels a side are asked for, but those in {self.path} have {side}; "
                    f"choose a resolution of {max(side, self.stored)} or less."
                )
        return self.collection.setup(source=self.path, resolution=max(self.stored, resolution or 0))


def smallest_side(folder: Path) -> int:
    """Side of the smallest picture in pixels, among some spread over a folder."""
    files = list_image_files(folder)
    sides = [side for file in files[:: max(1, len(files) // SAMPLED_FILES)] if (side := side_of(file))]
    return min(sides, default=0)


def side_of(file: Path) -> Optional[int]:
    """Shorter side of a picture in pixels; None where it is none."""
    try:
        with Image.open(file) as picture:
            return min(picture.size)
    except (OSError, ValueError):
        return None


def has_truth(folder: Path) -> bool:
    """Whether a folder's cameras and shapes are known."""
    return (folder / TRUTH_FILE).is_file()


class Evaluation:
    """Measures one model; what several measurements need is made once.

    Args:
        model: in evaluation mode.
        real: what it was trained on, or what it is to be compared with.
        config: what each measurement is asked for.
        truth: folder of a collection with truth; without it the real pictures' own truth, where they have one.
        held_out: folder of other pictures with truth, for inversions and true shapes; without it, built-in pictures
            that the training has not seen, or, for other collections, the truth itself.
    """

    def __init__(
        self,
        model: GanModel,
        real: RealCollection,
        config: EvaluationConfig,
        truth: Optional[Path] = None,
        held_out: Optional[Path] = None,
    ) -> None:
        self.model, self.real, self.config = model, real, config
        self.truth_folder, self.held_out_folder = truth, held_out
        self._offset: Optional["YawOffset"] = None
        self._truths: Dict[str, TrueCollection] = {}

    def available(self) -> Tuple[str, ...]:
        """The measurements that this run allows."""
        own = self.real.known and (self.real.trained is None or has_truth(self.real.training_path))
        known = self.truth_folder is not None or own
        return MEASURES if known else WITHOUT_TRUTH

    def truth(self) -> TrueCollection:
        """The collection with truth that the training pictures belong to.

        Raises:
            UserError: there is none.
        """
        if "truth" not in self._truths:
            folder = self.truth_folder or (self.real.training_path if self.real.known else Path())
            if not (has_truth(folder) and (self.truth_folder is not None or self.real.known)):
                name = folder if self.real.known or self.truth_folder else "this run"
                raise UserError(
                    f"the true cameras and shapes of {name} are not known, and pose, shapes and surface are measured "
                    "against them; give --truth FOLDER of a collection made by `gan3d collection`, or leave them out."
                )
            self._truths["truth"] = self.opened(folder)
        return self._truths["truth"]

    @staticmethod
    def opened(folder: Path) -> TrueCollection:
        """What is true of a folder's pictures; see `open_truth`."""
        from gan3d_ns.data.truth_folders import open_truth

        return open_truth(folder)

    def held_out(self) -> TrueCollection:
        """Pictures with truth that the training has not seen, as far as there are any."""
        if "held out" not in self._truths:
            folder = self.held_out_folder
            if folder is None and self.truth_folder is None and self.real.trained is None and self.real.known:
                folder = built_in_folder(self.real.built_in, num_images=NUM_HELD_OUT, seed=HELD_OUT_SEED)
            self._truths["held out"] = self.truth() if folder is None else self.opened(folder)
        return self._truths["held out"]

    def offset(self) -> "YawOffset":
        """By how much the generator has its objects turned against the truth."""
        from gan3d_ns.metrics.pose_error import yaw_offset

        if self._offset is None:
            self._offset = yaw_offset(self.model, self.truth(), self.config.pose)
        return self._offset

    def measure(self, measure: str, report: Report = lambda done: None) -> list[Record]:
        """The records of one measurement.

        Raises:
            UserError: there is no such measurement, or the run does not allow it.
        """
        # Imported where they are needed: a training that opens none of them shall not wait for their libraries.
        model, config = self.model, self.config
        if measure == "pictures":
            from gan3d_ns.metrics.picture_quality import measure_pictures

            collection = self.real.open(config.pictures.resolution)
            return measure_pictures(model, collection, self.real.resolution, config.pictures, report)
        if measure == "health":
            from gan3d_ns.metrics.shape_health import measure_health

            return measure_health(model, config.health, report)
        if measure == "compactness":
            from gan3d_ns.metrics.compactness import measure_compactness

            return measure_compactness(model, config.compactness, report)
        if measure == "reprojection":
            from gan3d_ns.metrics.reprojection import measure_reprojection

            known = "pose" in self.available()
            return measure_reprojection(model, config.reprojection, self.held_out() if known else None, report)
        if measure == "pose":
            from gan3d_ns.metrics.pose_error import measure_pose

            return measure_pose(model, self.truth(), config.pose, report)
        if measure == "shapes":
            from gan3d_ns.metrics.shape_sets import measure_shape_sets

            records = measure_shape_sets(model, self.held_out(), config.shapes, self.offset().radians, report)
            return self.told_apart(records)
        if measure == "surface":
            from gan3d_ns.metrics.surface_truth import measure_surface

            records = measure_surface(model, self.held_out(), config.surface, self.offset().radians, report)
            return self.told_apart(records)
        raise UserError(f"there is no measurement {measure}; choose among {', '.join(MEASURES)}.")

    def told_apart(self, records: list[Record]) -> list[Record]:
        """The records with whether the training may have seen what they were measured on."""
        seen = self.held_out().folder == self.real.training_path
        return [replace(record, protocol={**record.protocol, "held_out": not seen}) for record in records]
