"""What happens to the things of a scene while the camera rolls (GIRAFFE, released code, rendering)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from gan3d_ns.engine.film import Reel
from gan3d_ns.errors import UserError
from gan3d_ns.fields.composite_field import CompositeField
from gan3d_ns.fields.placement import PlacementConfig
from gan3d_ns.model_components.latents import LatentSelection
from gan3d_ns.model_components.scenes import MOST_OBJECTS, ObjectEdit, Scene, SeedWay
from gan3d_ns.models.gan_model import GanModel

ScenePart = Literal[
    "object-rotation",
    "object-translation",
    "object-depth",
    "object-circle",
    "shape",
    "appearance",
    "background",
    "add-objects",
]
"""object-rotation: one object turns, all around or there and back over its range. object-translation, object-depth: it
goes from side to side, or forth and back. object-circle: it goes around the middle. shape, appearance: it turns into
the same object of other seeds, one after the other. background: the same for what is behind all objects. add-objects:
from one object to eight."""

SWEPT_SHARE = 0.8
"""Of a range that films show, as published: from a tenth to nine tenths."""
NUM_ANCHORS = 4
"""Seeds that shapes and appearances go through before they are back at the first."""
FULL_TURN_DEG = 360.0

Change = Callable[[float, Scene], Scene]
"""From a time in [0, 1) and the scene to what it is then."""


def composite_field_of(model: GanModel, wanted: str) -> CompositeField:
    """The field of a method that has scenes.

    Raises:
        UserError: it has none; ``wanted`` says what for.
    """
    field = model.generator.field
    if not isinstance(field, CompositeField):
        raise UserError(
            f"{wanted} needs scenes of several objects, and {model.config.method_name} shows a single one; film a run "
            "of giraffe-tiny, giraffe or giraffe-paper, or leave it out."
        )
    return field


def scene_reel(
    model: GanModel, selection: LatentSelection, programme: ScenePart, num_frames: int, index: int = 0
) -> Reel:
    """The selections of a loop's frames: the one after the last would be the first again.

    Args:
        model: whose scenes they are.
        selection: the scene that it begins with.
        programme: see `ScenePart`.
        num_frames: how many.
        index: of the object that moves, from 0.

    Raises:
        UserError: the method has no scenes.
    """
    field = composite_field_of(model, f"the programme {programme}")
    change = change_of(field, programme, index, selection.seed)
    start = selection.used_scene or Scene(seed=selection.seed)
    if index >= field.config.num_objects and start.num_objects is None:
        start = replace(start, num_objects=index + 1)
    return [replace(selection, scene=change(frame / num_frames, start)) for frame in range(num_frames)]


def without_background(selection: LatentSelection) -> LatentSelection:
    """The same objects alone."""
    scene = selection.used_scene or Scene(seed=selection.seed)
    return replace(selection, scene=replace(scene, background=False))


def change_of(field: CompositeField, programme: ScenePart, index: int, seed: int) -> Change:
    """What a programme makes of a scene at each time."""
    places = field.config.placement
    if programme == "add-objects":
        return lambda time, scene: replace(scene, num_objects=1 + int(time * MOST_OBJECTS))
    if programme == "background":
        return lambda time, scene: replace(
            scene, background_shape=journey_of_seeds(seed, time), background_appearance=journey_of_seeds(seed, time)
        )
    if programme == "shape":
        return edited(index, lambda time, edit: replace(edit, shape=journey_of_seeds(seed, time)))
    if programme == "appearance":
        return edited(index, lambda time, edit: replace(edit, appearance=journey_of_seeds(seed, time)))
    if programme == "object-rotation":
        return edited(index, rotation(places))
    middle, reach = range_of_places(places, field.config.coordinate_scale)
    across, away = (programme in (axis, "object-circle") for axis in ("object-translation", "object-depth"))

    def moved(time: float, edit: ObjectEdit) -> ObjectEdit:
        phase = 2.0 * math.pi * time
        right = reach[0] * math.sin(phase) if across else 0.0
        front = reach[1] * (math.cos(phase) if across else math.sin(phase)) if away else 0.0
        return replace(edit, centre=(middle[0] + right, middle[1], middle[2] + front))

    return edited(index, moved)


def edited(index: int, change: Callable[[float, ObjectEdit], ObjectEdit]) -> Change:
    """The change of a scene that is one of an object alone."""

    def of_scene(time: float, scene: Scene) -> Scene:
        edits = [scene.edit_of(position) for position in range(max(len(scene.objects), index + 1))]
        edits[index] = change(time, edits[index])
        return replace(scene, objects=tuple(edits))

    return of_scene


def journey_of_seeds(seed: int, time: float) -> SeedWay:
    """A closed way from a seed over the next ones, each at equal distance in time, without a kink at any of them."""
    anchor, passed = divmod(time * NUM_ANCHORS, 1.0)
    first, second = (seed + (int(anchor) + step) % NUM_ANCHORS for step in (0, 1))
    return SeedWay(first, second, passed * passed * (3.0 - 2.0 * passed))


def rotation(places: PlacementConfig) -> Callable[[float, ObjectEdit], ObjectEdit]:
    """All around where objects were trained so, or stood still; else there and back over the range that they had."""
    low, high = (FULL_TURN_DEG * turns for turns in places.rotation_turns)
    if not 0.0 < high - low < FULL_TURN_DEG:
        return lambda time, edit: replace(edit, turn_deg=edit.turn_deg + FULL_TURN_DEG * time)
    middle, reach = (low + high) / 2.0, SWEPT_SHARE * (high - low) / 2.0
    # The drawn angle is that of the turn into the object's frame: the object stands turned the other way.
    return lambda time, edit: replace(edit, angle_deg=-(middle + reach * math.sin(2.0 * math.pi * time)))


def range_of_places(
    places: PlacementConfig, coordinate_scale: float
) -> tuple[tuple[float, float, float], tuple[float, float]]:
    """In world units: the middle of the objects' range, and how far films move one to the right and to the front.

    Where objects stood still in training these are half the sides of a box.
    """
    lows, highs = places.lowest_translation, places.highest_translation
    front, right, up = ((low + high) / 2.0 / coordinate_scale for low, high in zip(lows, highs, strict=True))
    reach = [
        SWEPT_SHARE * ((high - low) / 2.0 or side) / coordinate_scale
        for low, high, side in zip(lows, highs, places.largest_scale, strict=True)
    ]
    return (right, up, front), (reach[1], reach[0])
