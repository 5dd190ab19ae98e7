"""Several measured runs side by side: Markdown to read, CSV to calculate with, JSON to keep."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from typing import Optional

from gan3d_ns.metrics.records import Measured, Record, Subject, Value

SECONDS_PER_MINUTE = 60.0
CSV_COLUMNS = (
    *("data", "method", "run", "step", "cpu_seconds", "wall_seconds", "measure", "metric", "unit", "better"),
    *("value", "deviation", "deviation_over", "floor", "floor_between", "protocol"),
)


def shown_number(value: Optional[float]) -> str:
    """Three significant digits, whole numbers from 100 on; a dash where nothing was measured."""
    if value is None or math.isnan(value):
        return "-"
    if value == 0.0 or math.isinf(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}" if digits <= 8 else f"{value:.2e}"


def shown(record: Optional[Record]) -> str:
    """A cell: the value with its deviation, and the floor in brackets."""
    if record is None:
        return ""
    cell = shown_number(record.value)
    if record.deviation is not None:
        cell += f" ± {shown_number(record.deviation)}"
    return cell if record.floor is None else f"{cell} ({shown_number(record.floor)})"


def arrow(record: Record) -> str:
    """Which way is better."""
    return {"lower": " ↓", "higher": " ↑"}.get(record.better, "")


def order(subject: Subject) -> tuple[str, str, str, int]:
    """Runs of one collection stand together, then those of one method."""
    return subject.data, subject.method, subject.run, subject.step


def markdown(measured: Sequence[Measured], level: int = 2) -> str:
    """A table for each measurement under a heading of a level, runs as rows, with what its numbers depend on below it.

    Values of other feature networks, or of pictures of other sizes, have columns of their own.
    """
    rows = sorted(measured, key=lambda entry: order(entry.subject))
    measures = list(dict.fromkeys(record.measure for entry in rows for record in entry.records))
    return "\n".join(_section(measure, rows, level) for measure in measures)


def _section(measure: str, rows: Sequence[Measured], level: int) -> str:
    """Title, table and protocol of one measurement."""
    of_rows = [(entry.subject, [r for r in entry.records if r.measure == measure]) for entry in rows]
    of_rows = [(subject, records) for subject, records in of_rows if records]
    headings: dict[str, Record] = {}
    for _, records in of_rows:
        for record in records:
            headings.setdefault(record.heading, record)
    titles = [heading + (f", {first.unit}" if first.unit else "") + arrow(first) for heading, first in headings.items()]
    lines = [f"{'#' * level} {measure}", "", _line(["data", "method", "run", "step", "CPU min", *titles])]
    lines.append("|" + "---|" * (5 + len(titles)))
    for subject, records in of_rows:
        by_heading = {record.heading: record for record in records}
        minutes = None if subject.cpu_seconds is None else subject.cpu_seconds / SECONDS_PER_MINUTE
        cells = [subject.data, subject.method, subject.run, str(subject.step), shown_number(minutes)]
        lines.append(_line([*cells, *(shown(by_heading.get(heading)) for heading in headings)]))
    return "\n".join([*lines, "", *_legend(of_rows, list(headings.values())), *_protocols(of_rows), ""])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _legend(of_rows: Sequence[tuple[Subject, list[Record]]], headings: Sequence[Record]) -> list[str]:
    """What ± and brackets mean in this table."""
    records = [record for _, found in of_rows for record in found]
    alike: dict[str, list[str]] = {}
    for metric in dict.fromkeys(first.metric for first in headings):
        over = {r.deviation_over for r in records if r.metric == metric and r.deviation is not None}
        floors = {r.floor_between for r in records if r.metric == metric and r.floor is not None}
        said = [f"± over {', '.join(sorted(over))}"] if over else []
        said += [f"in brackets the floor: {'; '.join(sorted(floors))}"] if floors else []
        if said:
            alike.setdefault(", ".join(said), []).append(metric)
    lines = [f"- {', '.join(metrics)}: {said}" for said, metrics in alike.items()]
    return [*lines, ""] if lines else []


def _protocols(of_rows: Sequence[tuple[Subject, list[Record]]]) -> list[str]:
    """The settings that all rows share, then those in which they differ, row by row."""
    merged: list[tuple[Subject, dict[str, Value]]] = []
    for subject, records in of_rows:
        together: dict[str, Value] = {}
        for record in records:
            together.update(record.protocol)
        merged.append((subject, together))
    names = list(dict.fromkeys(name for _, together in merged for name in together))
    shared = [name for name in names if all(entry.get(name) == merged[0][1].get(name) for _, entry in merged)]
    lines = [f"Protocol: {', '.join(_setting(name, merged[0][1].get(name)) for name in shared)}."] if shared else []
    different = [name for name in names if name not in shared]
    for subject, together in merged if different else ():
        found = ", ".join(_setting(name, together[name]) for name in different if name in together)
        lines.append(f"- {subject.data} {subject.method} {subject.run} {subject.step}: {found}")
    return lines


def _setting(name: str, value: Value) -> str:
    shown_value = shown_number(value) if type(value) is float else str(value)
    return f"{name.replace('_', ' ')} {shown_value}"


def as_csv(measured: Sequence[Measured]) -> str:
    """One line for each record, with its whole protocol as JSON."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for entry in sorted(measured, key=lambda entry: order(entry.subject)):
        for record in entry.records:
            cells = {**vars(entry.subject), **vars(record)}
            cells["protocol"] = json.dumps(dict(record.protocol), sort_keys=True)
            writer.writerow(["" if cells[name] is None else cells[name] for name in CSV_COLUMNS])
    return stream.getvalue()
