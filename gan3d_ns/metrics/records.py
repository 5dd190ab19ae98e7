"""A measured number with all that it depends on: without its protocol a number cannot be compared with another."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Optional, Union

from gan3d_ns.errors import UserError
from gan3d_ns.field_types import wrong_fields

Value = Union[str, int, float, bool, None]
"""What a protocol may hold."""
NETWORK, NETWORK_HASH = "features", "features_sha256"
"""Protocol entries that name the feature network."""
SHOWN_HASH = 8
"""Characters of a hash in headings."""
RECORDS_FORMAT = 1


@dataclass(frozen=True)
class Record:
    """One result."""

    metric: str
    """Short name, in lower case: fid, kid, precision, depth_variance."""
    value: float
    """NaN where there was nothing to measure."""
    protocol: Mapping[str, Value] = field(default_factory=dict)
    """All that the value depends on: counts, resolution, filter, truncation, weights, poses, seed, network."""
    better: Literal["lower", "higher", ""] = ""
    """Which way is better; empty where neither is."""
    unit: str = ""
    """Of the value, deviation and floor; empty for plain numbers."""
    deviation: Optional[float] = None
    """Standard deviation."""
    deviation_over: str = ""
    """What it was taken over: subsets, objects."""
    floor: Optional[float] = None
    """The same measure where nothing is generated, real against real or truth against truth, at the same counts."""
    floor_between: str = ""
    """What was compared for it."""
    measure: str = ""
    """Which measurement it came from, see `metrics.evaluation`."""

    @property
    def heading(self) -> str:
        """Names the column that this value may stand in: other networks, pictures of other sizes, are other columns."""
        network, side = self.protocol.get(NETWORK), self.protocol.get("resolution")
        parts = [] if network is None else [f"{network} {str(self.protocol.get(NETWORK_HASH, ''))[:SHOWN_HASH]}"]
        parts += [] if side is None else [f"{side} px"]
        return f"{self.metric} [{', '.join(parts)}]" if parts else self.metric


@dataclass(frozen=True)
class Subject:
    """What the records are about: one checkpoint of one run."""

    method: str
    data: str
    """Name of the collection, as in the run's folder."""
    run: str
    """Name of the run, its timestamp."""
    step: int
    wall_seconds: Optional[float] = None
    """Training time so far by the clock; None where it was not recorded."""
    cpu_seconds: Optional[float] = None
    """Training time so far of all CPU threads together."""


@dataclass(frozen=True)
class Measured:
    """The records of one checkpoint."""

    subject: Subject
    records: Sequence[Record]
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What each measurement was asked for, by a key of the caller's."""

    def with_measure(
        self, measure: str, records: Sequence[Record], settings: Mapping[str, Any], key: Optional[str] = None
    ) -> Measured:
        """The same checkpoint with the results of one measurement added, or in place of older ones.

        Values of several feature networks stay beside each other.
        """
        headings = {record.heading for record in records}
        kept = [
            record
            for record in self.records
            if record.measure != measure or (NETWORK in record.protocol and record.heading not in headings)
        ]
        added = [replace(record, measure=measure) for record in records]
        return Measured(self.subject, [*kept, *added], {**self.settings, key or measure: dict(settings)})

    def record(self, heading: str) -> Optional[Record]:
        """The record of a heading, or of a metric where that is not ambiguous."""
        found = [record for record in self.records if heading in (record.heading, record.metric)]
        return found[0] if len(found) == 1 else None


def as_json(measured: Sequence[Measured]) -> str:
    """JSON text; NaN and infinity as null. The same measurements give the same text."""
    results = [
        {
            "subject": asdict(entry.subject),
            "settings": entry.settings,
            "records": [_plain(record) for record in entry.records],
        }
        for entry in measured
    ]
    return json.dumps({"format": RECORDS_FORMAT, "results": results}, indent=2, allow_nan=False) + "\n"


def from_json(text: str, name: str) -> list[Measured]:
    """What `as_json` wrote.

    Raises:
        UserError: the text is something else; ``name`` says what was read.
    """
    try:
        content = json.loads(text)
        if content["format"] != RECORDS_FORMAT:
            raise ValueError(f"format {content['format']} in place of {RECORDS_FORMAT}")
        measured = [
            Measured(
                Subject(**_known(Subject, entry["subject"])),
                [
                    Record(**{**_known(Record, record), "value": _number(record["value"])})
                    for record in entry["records"]
                ],
                dict(entry["settings"]),
            )
            for entry in content["results"]
        ]
        wrong = [name for entry in measured for one in (entry.subject, *entry.records) for name in wrong_fields(one)]
        if wrong:
            raise ValueError(f"{wrong[0]} has another type")
        return measured
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UserError(
            f"{name} holds no results of `gan3d eval` ({str(error)[:200]}); move it away, and measure the run again."
        ) from error


def read_measured(path: Path) -> list[Measured]:
    """The results in a file.

    Raises:
        UserError: there is no such file, or it holds something else.
    """
    try:
        return from_json(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the results {path} cannot be read ({error}).") from error


def _plain(record: Record) -> dict[str, Any]:
    entries = {**asdict(record), "protocol": _finite(record.protocol)}
    return {**entries, **_finite({name: value for name, value in entries.items() if name != "protocol"})}


def _finite(entries: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no NaN and no infinity."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in entries.items()
    }


def _known(kind: Any, entries: Mapping[str, Any]) -> dict[str, Any]:
    names = {entry.name for entry in fields(kind)}
    return {name: value for name, value in entries.items() if name in names}


def _number(value: Optional[float]) -> float:
    return math.nan if value is None else float(value)
