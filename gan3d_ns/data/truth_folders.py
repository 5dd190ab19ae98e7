"""Opening a collection whose shapes and cameras are known, whichever kind it is."""

from __future__ import annotations

from pathlib import Path

from gan3d_ns.data.model_collection import MODELS_FOLDER, ModelTruth
from gan3d_ns.data.procedural import ProceduralTruth, procedural_collection_folder
from gan3d_ns.data.true_collection import TRUTH_FILE, TrueCollection
from gan3d_ns.errors import UserError


def open_truth(folder: Path | None) -> TrueCollection:
    """Return what is true of a folder's pictures; of the built-in toy cars without a folder.

    Raises:
        UserError: nothing is known about the folder's pictures.
    """
    if folder is None:
        return ProceduralTruth(procedural_collection_folder())
    if (folder / TRUTH_FILE).is_file():
        return ModelTruth(folder) if (folder / MODELS_FOLDER).is_dir() else ProceduralTruth(folder)
    raise UserError(
        f"{folder} has no {TRUTH_FILE}: the shapes and cameras of its pictures are not known; measure against the "
        "built-in toy cars or a folder that `gan3d collection` has made."
    )
