"""Settings that belong to a collection: a preset fills in what the user has not set on the command line."""

from __future__ import annotations

import copy
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

    A value that differs from the base preset's was set by the user and stays.

    Raises:
        UserError: no such preset.
    """
    if chosen not in presets:
        raise UserError(f"there is no preset '{chosen}' for this method; choose one of: {', '.join(presets)}.")
    changed = []
    for path, value in presets[chosen].items():
        untouched = path not in presets[base] or read_path(config, path) == presets[base][path]
        if untouched and read_path(config, path) != value:
            write_path(config, path, value)
            changed.append(path)
    return changed
