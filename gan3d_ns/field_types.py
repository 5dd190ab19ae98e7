"""Whether a dataclass that was filled from a file holds what its annotations promise."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any


def wrong_fields(one: Any) -> dict[str, str]:
    """The fields of a dataclass whose values have another type than declared, and that type in words.

    Raises:
        NameError: an annotation names what is not there at run time.
    """
    from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

    hints, wrong = typing.get_type_hints(type(one)), {}
    for entry in dataclasses.fields(one):
        hint = hints[entry.name]
        try:
            check_type(getattr(one, entry.name), hint, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
        except TypeCheckError:
            wrong[entry.name] = hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
    return wrong
