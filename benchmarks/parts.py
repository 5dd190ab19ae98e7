"""What a part is: a table, and the measuring that fills it row by row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.tables import Column
from benchmarks.turns import TurnSettings


@dataclass(frozen=True)
class Request:
    """What the user asked for; every part reads what concerns it."""

    turns: TurnSettings
    scratch: Path
    """A folder for files that pass between processes."""
    quick: bool = False
    methods: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    resolutions: tuple[int, ...] = ()
    batch_size: int | None = None
    runs: tuple[Path, ...] = ()
    seeds: tuple[int, ...] = (0,)
    peer_gof: Path | None = None
    distilled: Path | None = None
    trained_step: int = 100_000


class Part(ABC):
    """One table of the benchmark."""

    name: ClassVar[str]
    title: ClassVar[str]
    note: ClassVar[str]
    """What the table shows and how it was taken, for the page of results."""
    columns: ClassVar[Sequence[Column]]
    minutes: ClassVar[float]
    """Roughly what it takes on two CPU cores with the defaults."""

    @abstractmethod
    def rows(self, request: Request) -> Iterator[dict[str, Any]]:
        """Measured rows, one by one; a row that cannot be has a key `skipped` with the reason.

        Raises:
            UserError: what was asked for cannot be measured at all.
        """

    def wanted(self, request: Request) -> bool:
        """Whether the request holds what this part needs."""
        return True


def skipped(name: str, reason: str) -> dict[str, Any]:
    """A row that says why it was not measured."""
    return {"name": name, "skipped": reason}
