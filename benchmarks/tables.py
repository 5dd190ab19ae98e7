"""Tables of the parts: columns, markdown, and the page of all results that is written from their JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gan3d_ns.errors import UserError

Row = Mapping[str, Any]
PAGE_HEAD = """# Measurements

[Speed](#speed), and [methods at equal cost](#methods-at-equal-cost).

## Speed

Written by `python -m benchmarks report` from the measurements of `python -m benchmarks run`; not edited by hand.
Times are medians of turns after a warm-up; contenders of a row take turns (A B A B) in processes of their own, ratios
are medians of the ratios of neighbouring turns, and brackets hold the smallest and the largest. A step is one
discriminator and one generator update. Peak memory is that of the process (resident, libraries included) or of the GPU.
"""


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    title: str
    cell: Callable[[Row], str]


def number(key: str, digits: int = 2) -> Callable[[Row], str]:
    """A cell with a number of the row, or with a word in its place; empty where the row has none."""

    def cell(row: Row) -> str:
        value = row.get(key)
        return "" if value is None else value if isinstance(value, str) else f"{value:.{digits}f}"

    return cell


def text(key: str) -> Callable[[Row], str]:
    """A cell with a value of the row as it is."""
    return lambda row: "" if row.get(key) is None else str(row[key])


def bracketed(key: str, digits: int = 2, range_key: str | None = None) -> Callable[[Row], str]:
    """A cell `median (smallest-largest)`."""

    def cell(row: Row) -> str:
        value, spread = row.get(key), row.get(range_key or f"{key}_range")
        if value is None:
            return ""
        return f"{value:.{digits}f}" + ("" if spread is None else f" ({spread[0]:.{digits}f}-{spread[1]:.{digits}f})")

    return cell


def table_head(columns: Sequence[Column]) -> str:
    """The first two lines of a markdown table."""
    return f"| {' | '.join(column.title for column in columns)} |\n|{'---|' * len(columns)}"


def table_line(columns: Sequence[Column], row: Row) -> str:
    """One line of it; a skipped row says why."""
    if "skipped" in row:
        return f"| {row['name']} | {' | '.join(['skipped: ' + row['skipped']] + [''] * (len(columns) - 2))} |"
    return f"| {' | '.join(column.cell(row) for column in columns)} |"


def read_results(path: Path) -> dict[str, Any]:
    """The measurements in a file of `python -m benchmarks run`, by part.

    Raises:
        UserError: there is no such file or it is not one of these.
    """
    if not path.is_file():
        raise UserError(f"there are no measurements at {path}; make them with `python -m benchmarks run`.")
    try:
        parts = json.loads(path.read_text(encoding="utf-8"))["parts"]
        assert all({"machine", "code", "versions", "rows"} <= part.keys() for part in parts.values())
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
        raise UserError(f"{path} does not hold measurements of `python -m benchmarks run`.") from error
    return parts


def save_results(path: Path, key: str, part: Mapping[str, Any]) -> None:
    """Puts a part into the file, in the place of an earlier measurement of it."""
    parts = read_results(path) if path.exists() else {}
    parts[key] = part
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"parts": parts}, indent=1, default=str) + "\n", encoding="utf-8")


def machine_line(part: Row) -> str:
    """Where, with what and when a part was measured, in a sentence."""
    machine, versions, code = part["machine"], part["versions"], part["code"]
    where = (
        f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} thread(s), {machine['memory_gb']} GB"
    )
    if machine.get("gpu"):
        where = f"{machine['gpu']} ({machine['gpu_memory_gb']} GB), {where}"
    names = ", ".join(f"{name} {version}" for name, version in versions.items() if version is not None)
    commit = (code["commit"] or "unknown")[:10] + (" with uncommitted changes" if code["dirty"] else "")
    return (
        f"{where}; load {machine['load_average']} at the start; {names}; commit {commit}; {part['date']}; "
        f"{part['protocol']}; took {part['elapsed_seconds'] / 60:.1f} minutes."
    )


def results_page(
    parts: Mapping[str, Row],
    titles: Mapping[str, str],
    columns: Mapping[str, Sequence[Column]],
    notes: Mapping[str, str],
) -> str:
    """The page with all parts."""
    sections = [PAGE_HEAD]
    for key, part in parts.items():
        name = part["part"]
        if name not in columns:
            continue
        lines = [table_head(columns[name]), *(table_line(columns[name], row) for row in part["rows"])]
        heading = f"### {titles[name]}, {part['machine']['gpu'] or 'CPU'}"
        sections.append("\n\n".join((heading, notes[name], "\n".join(lines), machine_line(part))) + "\n")
        del key
    return "\n".join(sections)
