"""The collections that this package makes itself, on the first use: what trainings without --data learn from."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from gan3d_ns.data.procedural import DEFAULT_NUM_IMAGES, procedural_collection_folder
from gan3d_ns.data.procedural_scenes import scene_collection_folder

BuiltIn = Literal["toy-cars", "scenes"]
BUILT_IN_PRESETS: dict[BuiltIn, str] = {"toy-cars": "procedural", "scenes": "scenes"}
"""The preset of methods that belongs to a built-in collection."""


def built_in_folder(built_in: BuiltIn = "toy-cars", num_images: int = DEFAULT_NUM_IMAGES, seed: int = 0) -> Path:
    """Return the folder of a built-in collection, made now unless an earlier call has made it.

    Raises:
        UserError: it cannot be written.
    """
    make = {"toy-cars": procedural_collection_folder, "scenes": scene_collection_folder}[built_in]
    return make(num_images=num_images, seed=seed)
