"""Settings that come from a file: those that are newer than it get their defaults, wrong ones are named."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from gan3d_ns.errors import UserError
from gan3d_ns.field_types import wrong_fields

LONGEST_QUOTE = 60
NUM_NAMED = 4


def nested_settings(settings: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every dataclass in the settings with its dotted path ("" is the outermost), each once, inner ones last."""
    seen: set[int] = set()
    waiting = [(path, settings)]
    while waiting:
        path, value = waiting.pop()
        if id(value) in seen:
            continue
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield path, value
            inner = vars(value).items()
        elif isinstance(value, dict):
            inner = value.items()
        elif isinstance(value, (list, tuple)):
            inner = enumerate(value)
        else:
            continue
        seen.add(id(value))
        waiting += [(f"{path}.{name}" if path else str(name), entry) for name, entry in inner]


def complete(settings: Any) -> tuple[list[str], list[str]]:
    """Gives missing settings their defaults and takes unknown ones away, at every depth, in place.

    A config of an older version of this package lacks settings, one of a newer version has more than this one knows.

    Returns:
        The dotted paths of the missing settings that have no default, and of the unknown ones.
    """
    missing, unknown = [], []
    for path, one in nested_settings(settings):
        prefix, entries = f"{path}." if path else "", vars(one)
        known = {entry.name: entry for entry in dataclasses.fields(one)}
        unknown += [f"{prefix}{name}" for name in entries if name not in known]
        for name in set(entries) - set(known):
            del entries[name]
        for name in known.keys() - entries.keys():
            if known[name].default is not dataclasses.MISSING:
                entries[name] = known[name].default
            elif known[name].default_factory is not dataclasses.MISSING:
                entries[name] = known[name].default_factory()  # pyright: ignore[reportCallIssue]
            else:
                missing.append(f"{prefix}{name}")
    return sorted(missing), sorted(unknown)


def check_values(settings: Any) -> None:
    """Checks every setting against the type that its class declares, and by the class's own rules.

    Raises:
        UserError: names the first setting that has another type, or an impossible value.
    """
    found = list(nested_settings(settings))
    for path, one in found:
        try:
            wrong = wrong_fields(one)
        except (NameError, SyntaxError, TypeError):
            raise UserError(f"the setting {path} is {shortened(type(one).__name__)}, which holds no settings") from None
        for name, wanted in wrong.items():
            value = shortened(repr(getattr(one, name)))
            raise UserError(
                f"the setting {path}{'.' if path else ''}{name} is {value}, which is no {shortened(wanted)}"
            )
    for path, one in reversed(found):
        if path and type(one).__module__.startswith("gan3d_ns.") and hasattr(one, "__post_init__"):
            try:
                one.__post_init__()
            except UserError as error:
                raise UserError(f"the settings {path} are impossible: {str(error).rstrip('.')}") from error


def shortened(text: str) -> str:
    """The text, or its beginning."""
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}..."


def named(paths: list[str]) -> str:
    """The first few of some settings."""
    more = f" and {len(paths) - NUM_NAMED} more" if len(paths) > NUM_NAMED else ""
    return ", ".join(shortened(path) for path in paths[:NUM_NAMED]) + more
