"""Settings that belong to a collection: a preset fills in what the user has not set on the command line."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

from gan3d_ns.errors import UserError

Preset = Mapping[str, Any]
"""Dotted path below the trainer's config -> value."""


def read_path(config: Any, path: str) -> Any:
    """The value at a dotted path of attributes and dictionary keys."""
    for name in path.split("."):
        config = config[name] if isinstance(config, dict) else getattr(config, name)
    return config


def write_path(config: Any, path: str, value: Any) -> None:
    """Sets the value at a dotted path of attributes."""
    parent, _, name = path.rpartition(".")
    setattr(read_path(config, parent) if parent else config, name, copy.deepcopy(value))


def apply_preset(config: Any, presets: Mapping[str, Preset], chosen: str, base: str) -> list[str]:
    """Moves a config from the numbers of preset ``base`` to those of ``chosen``; returns the paths that changed.

    A number that differs from the base preset's was set by the user and stays; the others of its group move.

    Raises:
        UserError: no such preset.
    """
    if chosen not in presets:
        raise UserError(f"there is no preset '{chosen}' for this method; choose one of: {', '.join(presets)}.")
    changed = []
    for path, value in presets[chosen].items():
        current = read_path(config, path)
        wanted = moved(current, presets[base][path], value) if path in presets[base] else value
        if current != wanted:
            write_path(config, path, wanted)
            changed.append(path)
    return changed


def moved(current: Any, base: Any, chosen: Any) -> Any:
    """``chosen`` where ``current`` still is ``base``, else ``current``; inside dataclasses and tuples part by part."""
    if current == base:
        return chosen
    if dataclasses.is_dataclass(current) and type(current) is type(base) is type(chosen):
        names = [entry.name for entry in dataclasses.fields(current) if entry.init]
        parts = {name: moved(getattr(current, name), getattr(base, name), getattr(chosen, name)) for name in names}
        return dataclasses.replace(current, **parts)  # pyright: ignore[reportArgumentType]
    if isinstance(current, tuple) and isinstance(chosen, tuple) and len(current) == len(base) == len(chosen):
        return tuple(moved(*parts) for parts in zip(current, base, chosen, strict=True))
    return current
