"""Part: D+G steps of each method and field, with and without the prior grid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, get_args, get_type_hints

from benchmarks.parts import Part, Request, skipped
from benchmarks.tables import Column, bracketed, number, text
from benchmarks.training import METHODS, Iteration, method_config
from benchmarks.turns import SkippedError, ratio, take_turns
from gan3d_ns.errors import UserError

FIELDS = ("film-siren", "tri-plane", "hash")
SLOW_METHOD = "gof-gan-paper"
QUICK = {"gof-gan": (16, 1), "gof-gan-paper": (8, 1)}
"""Side and batch of quick settings; QUICK_TINY for the others."""
QUICK_TINY = (16, 2)
QUICK_LOOKS, QUICK_GRID = 1, 16


class MethodsPart(Part):
    """Steps, pictures a second and memory of what ns-train runs."""

    name = "training"
    title = "D+G steps of the methods"
    note = (
        "`python -m benchmarks run --parts training [--distilled FILE]`. The method's first stage on random "
        "pictures with random weights, or with `--distilled` ones for gof-gan-paper; other fields stand in their "
        'default sizes in the same method. "Faster" compares with the plain step of `benchmarks/plain_step.py` in'
        " the same turns: the same networks, drawn twice, sampled evenly, everything with gradient. The grid's "
        "updates are part of the times, its warm-up is not."
    )
    minutes = 30.0
    columns = (
        Column("method", text("name")),
        Column("weights", text("weights")),
        Column("side", text("resolution")),
        Column("batch", text("batch")),
        Column("steps/s", number("steps_per_second")),
        Column("s/step", bracketed("seconds", 3)),
        Column("images/s", number("images_per_second", 1)),
        Column("faster than plain", bracketed("ratio")),
        Column("processor s/step", number("processor_seconds", 3)),
        Column("peak GB", number("peak_memory_gb")),
        Column("rays that hit", number("hit_rate")),
        Column("grid occupied", number("grid_occupied")),
    )

    def rows(self, request: Request) -> Iterator[dict[str, Any]]:
        for method in request.methods or METHODS:
            method_config(method)
            for side in request.resolutions or (None,):
                yield from self.rows_of(method, side, request)

    def rows_of(self, method: str, side: int | None, request: Request) -> Iterator[dict[str, Any]]:
        """The method's own field, with half and full precision on a GPU, with the grid, and other fields."""
        batch = request.batch_size
        if request.quick:
            quick_side, quick_batch = QUICK.get(method, QUICK_TINY)
            side, batch = side or quick_side, batch or quick_batch
        own = Iteration(method, side, batch, steps=1 if method == SLOW_METHOD or request.quick else 4)
        if request.distilled is not None and method == SLOW_METHOD:
            own = replace(own, state=request.distilled, first_step=request.trained_step)
        grid = replace(own, prior_grid=True)
        if request.quick:
            grid = replace(grid, grid_looks=QUICK_LOOKS, grid_resolution=QUICK_GRID)
        # The plain step is GOF's; a density is compared with itself.
        occupancy = method_config(method).pipeline.model.geometry == "occupancy"
        group = [replace(own, work="plain step"), own, grid] if occupancy else [own, grid]
        if request.turns.device == "cuda" and method_config(method).mixed_precision:
            group.insert(len(group) - 1, replace(own, mixed_precision=False))
        yield from compare(group, request)
        fields = request.fields or (FIELDS if method == METHODS[0] else ())
        for field in fields:
            if field == method_config(method).pipeline.model.field:
                continue
            other = replace(own, field=field, steps=1, state=None)
            refusal = why_not(other)
            if refusal is not None:
                yield skipped(other.name, refusal)
                continue
            group = [replace(other, work="plain step"), other, replace(other, **grid_settings(grid))]
            if field == "hash" and request.turns.device == "cuda":
                group[1:2] = [replace(other, implementation="tcnn"), replace(other, implementation="torch")]
            yield from compare(group, request)


def grid_settings(grid: Iteration) -> dict[str, Any]:
    """What of a contender concerns the prior grid."""
    return {name: getattr(grid, name) for name in ("prior_grid", "grid_looks", "grid_resolution")}


def compare(group: list[Iteration], request: Request) -> Iterator[dict[str, Any]]:
    """A row for each contender, with how much faster it is than the first."""
    try:
        timings = take_turns(group, request.turns)
    except (SkippedError, UserError) as error:
        yield skipped(f"{group[1].name} and variants", str(error))
        return
    for contender, timing in zip(group, timings, strict=True):
        row = {**timing.row(), **timing.facts}
        row["weights"] = "random" if contender.state is None else "distilled"
        row["steps_per_second"] = 1.0 / timing.median
        row["images_per_second"] = timing.facts["batch"] / timing.median
        if contender.work == "plain step":
            row["hit_rate"] = None
        else:
            row.update(ratio(timings[0], timing))
        yield row


def why_not(iteration: Iteration) -> str | None:
    """Why a field cannot be measured in this version of the package, None where it can."""
    model = method_config(iteration.method).pipeline.model
    known = get_args(get_type_hints(type(model))["field"])
    if iteration.field not in known:
        return f"this version has the fields {', '.join(known)}"
    return None
