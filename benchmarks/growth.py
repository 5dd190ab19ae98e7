"""Part: how the costs grow with resolution, samples and batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from benchmarks.machine import total_memory_bytes
from benchmarks.parts import Part, Request, skipped
from benchmarks.tables import Column, bracketed, number, text
from benchmarks.training import Iteration, method_config
from benchmarks.turns import SkippedError, take_turns

RESOLUTIONS = (32, 64, 128, 256)
SAMPLES = (4, 8, 16, 32)
BATCHES = (1, 2, 4, 8, 16)
RESOLUTION_BATCH = 2
MEMORY_SHARE = 0.7
"""Share of the machine's memory that a row may be expected to take."""


class GrowthPart(Part):
    """Renderings and D+G steps along three axes, one at a time."""

    name = "growth"
    title = "How the costs grow"
    note = (
        "`python -m benchmarks run --parts growth [--methods METHOD ...]`. Along each axis the rest stays as it "
        f"is: batch {RESOLUTION_BATCH} for resolutions, 32x32 and the method's own batch or samples else. "
        "Renderings are those of the discriminator's phase, without gradient. A row that would not fit the time "
        "or the memory is left out."
    )
    minutes = 10.0
    columns = (
        Column("method", text("method")),
        Column("axis", text("axis")),
        Column("value", text("value")),
        Column("work", number("work", 1)),
        Column("rendering, s", bracketed("rendering_seconds", 3)),
        Column("grows by", number("rendering_growth")),
        Column("D+G step, s", bracketed("seconds", 3)),
        Column("grows by", number("growth")),
        Column("images/s", number("images_per_second", 1)),
        Column("peak GB", number("peak_memory_gb")),
    )

    def rows(self, request: Request) -> Iterator[dict[str, Any]]:
        for method in request.methods or ("gof-gan-tiny",):
            stage = method_config(method).curriculum[0]
            side, batch = 32, request.batch_size or stage.batch_size
            sides, samples, batches = request.resolutions or RESOLUTIONS, SAMPLES, BATCHES
            if request.quick:
                side, batch, sides, samples, batches = 16, 1, (16, 32), (4, 8), (1, 2)
            one = Iteration(method, side, batch, steps=1 if method == "gof-gan-paper" or request.quick else 4)
            few = replace(one, batch_size=request.batch_size or min(RESOLUTION_BATCH, batch))
            axes = (
                ("resolution", sides, [replace(few, resolution=value) for value in sides], 2),
                ("samples", samples, [replace(one, num_samples=value) for value in samples], 1),
                ("batch", batches, [replace(one, batch_size=value) for value in batches], 1),
            )
            for axis, values, contenders, power in axes:
                yield from along(axis, values, contenders, power, request)


def along(
    axis: str, values: tuple[int, ...], contenders: list[Iteration], power: int, request: Request
) -> Iterator[dict[str, Any]]:
    """A row for each value, with the growth over the row before; ends where the next would be too much."""
    before: dict[str, Any] | None = None
    for value, step in zip(values, contenders, strict=True):
        name = f"{step.method}, {axis} {value}"
        if before is not None:
            growth = (value / before["value"]) ** power
            refusal = too_much(before, growth, step.steps, request)
            if refusal is not None:
                yield skipped(name, refusal)
                return
        try:
            rendering, training = take_turns([replace(step, work="rendering"), step], request.turns)
        except SkippedError as error:
            yield skipped(name, str(error))
            return
        row: dict[str, Any] = {
            **training.row(),
            "method": step.method,
            "axis": axis,
            "value": value,
            "work": (value / values[0]) ** power,
            "rendering_seconds": rendering.median,
            "rendering_seconds_range": [min(rendering.seconds), max(rendering.seconds)],
            "images_per_second": training.facts["batch"] / training.median,
        }
        if before is not None:
            row["growth"] = row["seconds"] / before["seconds"]
            row["rendering_growth"] = row["rendering_seconds"] / before["rendering_seconds"]
        yield row
        before = row


def too_much(before: dict[str, Any], growth: float, steps: int, request: Request) -> str | None:
    """Why the next row is not measured: its time or memory, were it to grow with the work."""
    turns = request.turns.rounds + request.turns.warm_up
    seconds = (before["seconds"] + before["rendering_seconds"]) * growth * steps * turns
    if seconds > request.turns.budget_seconds:
        return f"would take about {seconds:.0f} s, more than the budget of {request.turns.budget_seconds:.0f} s"
    working = before["peak_memory_gb"] - before["memory_prepared_gb"]
    needed, there = before["memory_prepared_gb"] + working * growth, total_memory_bytes() / 1e9
    if request.turns.device == "cpu" and there and needed > MEMORY_SHARE * there:
        return f"would need about {needed:.0f} GB of the machine's {there:.0f} GB"
    return None
