"""Opening a collection whose shapes and cameras are known, whichever kind it is."""

from __future__ import annotations

from pathlib import Path

from gan3d_ns.data.array_files import open_arrays
from gan3d_ns.data.built_in import BuiltIn, built_in_folder
from gan3d_ns.data.model_collection import MODELS_FOLDER, ModelTruth
from gan3d_ns.data.procedural import ProceduralTruth
from gan3d_ns.data.procedural_scenes import SceneTruth
from gan3d_ns.data.true_collection import TRUTH_FILE, TrueCollection
from gan3d_ns.errors import UserError


def open_truth(folder: Path | None, built_in: BuiltIn = "toy-cars") -> TrueCollection:
    """Return what is true of a folder's pictures; of the built-in collection without a folder.

    Raises:
        UserError: nothing is known about the folder's pictures.
    """
    if folder is None:
        folder = built_in_folder(built_in)
    if (folder / TRUTH_FILE).is_file():
        if (folder / MODELS_FOLDER).is_dir():
            return ModelTruth(folder)
        return SceneTruth(folder) if _names_its_kind(folder / TRUTH_FILE) else ProceduralTruth(folder)
    raise UserError(
        f"{folder} has no {TRUTH_FILE}: the shapes and cameras of its pictures are not known; measure against the "
        "built-in pictures or a folder that `gan3d collection` has made."
    )


def _names_its_kind(file: Path) -> bool:
    """Whether a truth file has an entry `kind`, as that of scenes; a torn file has not."""
    try:
        with open_arrays(file) as truth:
            return "kind" in truth
    except (OSError, ValueError):
        return False
