"""What is done to the things of a scene after it was drawn: objects turned, moved, exchanged, added or taken away."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Optional, Tuple

from gan3d_ns.errors import UserError

MOST_OBJECTS = 8
"""Objects that panels and films offer; a scene may have more."""
LARGEST_SCENE = 64
"""The most objects of a scene: each costs a decoder's work at the points of its box."""
LARGEST_NUMBER = 1e6
"""No length, angle or factor of a scene lies beyond; a field would not survive it."""
LONGEST_QUOTE = 200


def _numbers(*values: Any) -> bool:
    """Whether all values are numbers that a scene may hold, and none is NaN; files say anything."""
    kinds = (isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    return all(kinds) and all(abs(value) <= LARGEST_NUMBER for value in values)


def _vector(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 3 and _numbers(*value)


def _seeds(*values: Any) -> bool:
    return all(isinstance(value, int) and not isinstance(value, bool) for value in values)


@dataclass(frozen=True)
class SeedWay:
    """Whose shape or appearance a thing takes: that of a seed, or of a place on the arc between two of them."""

    seed: int
    second_seed: Optional[int] = None
    amount: float = 0.0
    """0 is the first seed, 1 the second."""

    def __post_init__(self) -> None:
        second = () if self.second_seed is None else (self.second_seed,)
        if not _seeds(self.seed, *second) or not _numbers(self.amount) or not 0.0 <= self.amount <= 1.0:
            raise UserError(
                f"{str(self)[:LONGEST_QUOTE]} names no shape or appearance; seeds are whole numbers and the amount "
                "lies between 0 and 1."
            )


@dataclass(frozen=True)
class ObjectEdit:
    """What is done to one object. Lengths in world units, angles about the world's upward axis in degrees."""

    angle_deg: Optional[float] = None
    """Where it faces; counterclockwise seen from above. None: as it was drawn."""
    turn_deg: float = 0.0
    """How far it is turned from there."""
    centre: Optional[Tuple[float, float, float]] = None
    """Where the centre of its box stands (+x right, +y up, +z front). None: as it was drawn."""
    shift: Tuple[float, float, float] = (0.0, 0.0, 0.0)
    """How far it is moved from there."""
    size: float = 1.0
    """Factor of its size, positive."""
    shape: Optional[SeedWay] = None
    """None: its own."""
    appearance: Optional[SeedWay] = None
    """None: its own."""
    present: bool = True
    """Whether it is there, of those that the scene counts."""

    def __post_init__(self) -> None:
        placed = (
            (self.angle_deg is None or _numbers(self.angle_deg))
            and (self.centre is None or _vector(self.centre))
            and _vector(self.shift)
            and _numbers(self.turn_deg, self.size)
            and self.size > 0
            and isinstance(self.present, bool)
            and all(way is None or isinstance(way, SeedWay) for way in (self.shape, self.appearance))
        )
        if not placed:
            raise UserError(
                f"an object cannot be placed by {str(self)[:LONGEST_QUOTE]}; its numbers must be finite, below "
                f"{LARGEST_NUMBER:g}, and its size positive."
            )


@dataclass(frozen=True)
class Scene:
    """What is done to a whole scene; without arguments nothing."""

    num_objects: Optional[int] = None
    """How many objects there are; None: as many as were drawn. More than in training are drawn from further seeds."""
    objects: Tuple[ObjectEdit, ...] = ()
    """What is done to each of the first objects; further ones stay as they are."""
    background: bool = True
    """Whether it is shown."""
    background_turn_deg: float = 0.0
    """How far it is turned about the upward axis."""
    background_shape: Optional[SeedWay] = None
    """None: its own."""
    background_appearance: Optional[SeedWay] = None
    """None: its own."""
    seed: int = 0
    """Decides which objects are added beyond those of the training."""

    def __post_init__(self) -> None:
        number = 0 if self.num_objects is None else self.num_objects
        ways = (self.background_shape, self.background_appearance)
        if not _seeds(number) or not 0 <= number <= LARGEST_SCENE or len(self.objects) > LARGEST_SCENE:
            raise UserError(
                f"a scene has from 0 to {LARGEST_SCENE} objects, not {str(self.num_objects)[:LONGEST_QUOTE]} with "
                f"{len(self.objects)} of them arranged; lower these."
            )
        described = (
            all(isinstance(edit, ObjectEdit) for edit in self.objects)
            and isinstance(self.background, bool)
            and _numbers(self.background_turn_deg)
            and _seeds(self.seed)
            and all(way is None or isinstance(way, SeedWay) for way in ways)
        )
        if not described:
            raise UserError(f"{str(self)[:LONGEST_QUOTE]} is no scene; its turn must be finite and its seed whole.")

    def to_json(self) -> str:
        """The settings that differ from an untouched scene, as text that files carry."""
        return json.dumps(_without_defaults(self), separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> Scene:
        """The scene of :meth:`to_json`.

        Raises:
            UserError: the text describes no scene.
        """
        try:
            return _read(Scene, json.loads(text))
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            raise UserError(f"the text {text[:60]!r} describes no scene ({str(error)[:LONGEST_QUOTE]}).") from error

    def edit_of(self, index: int) -> ObjectEdit:
        """What is done to an object."""
        return self.objects[index] if index < len(self.objects) else ObjectEdit()

    @property
    def name(self) -> str:
        """For the names of files."""
        count = "" if self.num_objects is None else f"-{self.num_objects}objects"
        edited = "" if all(edit == ObjectEdit() for edit in self.objects) else "-arranged"
        return f"{count}{edited}{'' if self.background else '-cutout'}"


def _without_defaults(thing: Any) -> dict[str, Any]:
    """A frozen settings object as a dictionary; nested ones too."""
    values = {}
    for entry in fields(thing):
        value = getattr(thing, entry.name)
        if entry.default == value:
            continue
        if isinstance(value, SeedWay):
            value = asdict(value)
        elif entry.name == "objects":
            value = [_without_defaults(edit) for edit in value]
        values[entry.name] = value
    return values


def _read(kind: Any, values: Mapping[str, Any]) -> Any:
    """The settings object that `_without_defaults` wrote."""
    known, read = {entry.name for entry in fields(kind)}, {}
    for name, value in values.items():
        if name not in known:
            raise KeyError(f"{kind.__name__} has no {name}")
        if name == "objects":
            value = tuple(_read(ObjectEdit, entry) for entry in value)
        elif isinstance(value, Mapping):
            value = _read(SeedWay, value)
        elif isinstance(value, list):
            value = tuple(value)
        read[name] = value
    return kind(**read)
