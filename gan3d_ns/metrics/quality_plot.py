"""Quality against training time, as a picture."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Optional

from gan3d_ns.errors import UserError
from gan3d_ns.metrics.comparison import SECONDS_PER_MINUTE, order
from gan3d_ns.metrics.records import Measured, Record

PREFERRED = ("fid", "kid", "swd", "depth_variance")
"""What is drawn where nothing is asked for: the first that was measured."""
PANEL_INCHES, DPI = (4.6, 3.2), 110


def chosen_heading(measured: Sequence[Measured], metric: Optional[str]) -> str:
    """The heading to draw.

    Raises:
        UserError: nothing of that name was measured; names what was.
    """
    records = [record for entry in measured for record in entry.records]
    headings = list(dict.fromkeys(record.heading for record in records))
    for wanted in (metric,) if metric else PREFERRED:
        for record in records:
            if wanted in (record.metric, record.heading):
                return record.heading
    if metric is None and headings:
        return headings[0]
    raise UserError(f"there is no {metric or 'result'} to draw; measured were: {', '.join(headings) or 'none'}.")


def quality_plot(measured: Sequence[Measured], metric: Optional[str] = None) -> bytes:
    """A PNG: one panel for each collection, a line for each run, its checkpoints over the CPU time of the training.

    The floor, where there is one, is dashed: the mean of the runs' floors. Runs without a recorded time are drawn over
    their steps instead, all of them.

    Raises:
        UserError: the metric was not measured.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heading = chosen_heading(measured, metric)
    points: list[tuple[Measured, Record]] = []
    for entry in sorted(measured, key=lambda entry: order(entry.subject)):
        record = next((r for r in entry.records if r.heading == heading and math.isfinite(r.value)), None)
        if record is not None:
            points.append((entry, record))
    if not points:
        raise UserError(f"no run has a finite {heading} to draw.")
    timed = all(entry.subject.cpu_seconds is not None for entry, _ in points)
    collections = list(dict.fromkeys(entry.subject.data for entry, _ in points))
    methods = list(dict.fromkeys(entry.subject.method for entry, _ in points))
    figure = Figure(figsize=(PANEL_INCHES[0] * len(collections), PANEL_INCHES[1]), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    for panel, data in zip(figure.subplots(1, len(collections), squeeze=False)[0], collections, strict=True):
        here = [(entry, record) for entry, record in points if entry.subject.data == data]
        named: set[str] = set()
        for run in dict.fromkeys((entry.subject.method, entry.subject.run) for entry, _ in here):
            line = [(e.subject, r) for e, r in here if (e.subject.method, e.subject.run) == run]
            times = [(s.cpu_seconds or 0.0) / SECONDS_PER_MINUTE if timed else s.step for s, _ in line]
            panel.plot(
                times,
                [record.value for _, record in line],
                marker="o",
                markersize=3.5,
                color=f"C{methods.index(run[0])}",
                label=None if run[0] in named else run[0],
            )
            named.add(run[0])
        floors = [record.floor for _, record in here if record.floor is not None]
        if floors:
            panel.axhline(sum(floors) / len(floors), linestyle="--", color="grey", linewidth=1.0, label="floor")
        panel.set(title=data, xlabel="CPU minutes of training" if timed else "step")
        panel.set_ylim(bottom=min(0.0, panel.get_ylim()[0]))
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
        panel.set_ylabel(heading, fontsize=8)
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()
