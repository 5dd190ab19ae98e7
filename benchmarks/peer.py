"""Part: this package against the original GOF code, iteration for iteration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from benchmarks.parts import Part, Request, skipped
from benchmarks.peer_gof import PeerIteration, require_checkout
from benchmarks.tables import Column, bracketed, number, text
from benchmarks.training import Iteration
from benchmarks.turns import Contender, SkippedError, ratio, take_turns
from benchmarks.weights import write_start
from gan3d_ns.errors import UserError

PUBLISHED_STAGES = ((32, 16), (64, 8))
"""Side and batch of the first two stages (GOF, released code, curriculum CelebA)."""
QUICK_STAGES = ((32, 1),)
TINY_STEPS = 32


class PeerPart(Part):
    """gof-gan-paper, with and without the prior grid, and gof-gan-tiny beside the original."""

    name = "peer"
    title = "One D+G step of the original GOF code and of this package"
    note = (
        "`python -m benchmarks run --parts peer --peer-gof CHECKOUT [--distilled FILE]`. gof-gan-paper has the "
        "original's networks, sample counts (9 coarse, 9 window, 6 fine, 4 secant steps), normals, opacity prior,"
        ' R1 and pose loss, and starts from the same weights. "Faster" is the original\'s time for a picture over '
        "its own. Random weights stand for the start of a training, distilled ones, at the first stage "
        "alone, for a trained model (`benchmarks/distil.py`). What differs from the original's training script is "
        "listed in `benchmarks/peer_gof.py`."
    )
    minutes = 40.0
    columns = (
        Column("code", text("name")),
        Column("weights", text("weights")),
        Column("side", text("resolution")),
        Column("batch", text("batch")),
        Column("s/step", bracketed("seconds")),
        Column("processor s/step", number("processor_seconds")),
        Column("images/s", number("images_per_second")),
        Column("faster", bracketed("ratio")),
        Column("faster, processor time", number("processor_ratio")),
        Column("peak GB", number("peak_memory_gb")),
        Column("before the first step", number("memory_prepared_gb")),
        Column("rays that hit", number("hit_rate")),
        Column("grid occupied", number("grid_occupied")),
    )

    def wanted(self, request: Request) -> bool:
        return request.peer_gof is not None

    def rows(self, request: Request) -> Iterator[dict[str, Any]]:
        if request.peer_gof is None:
            raise UserError("the part peer needs --peer-gof CHECKOUT, a folder with the original GOF code.")
        require_checkout(request.peer_gof)
        stages = PUBLISHED_STAGES
        if request.quick or request.resolutions:
            batch = {32: 16, 64: 8, 128: 4}
            stages = tuple((side, request.batch_size or batch.get(side, 4)) for side in request.resolutions)
            stages = stages or QUICK_STAGES
        for distilled in (None, request.distilled) if request.distilled else (None,):
            start = request.scratch / f"start-{'random' if distilled is None else 'distilled'}.pt"
            write_start(start, distilled)
            step = 0 if distilled is None else request.trained_step
            for side, batch in stages if distilled is None else stages[:1]:
                peer = PeerIteration(request.peer_gof, side, batch, state=start, first_step=step)
                paper = Iteration(
                    "gof-gan-paper", side, batch, steps=1, state=start, first_step=step, label="gof-gan-paper"
                )
                contenders: list[Contender] = [peer, paper]
                if distilled is not None:
                    grid = replace(paper, prior_grid=True, label="gof-gan-paper, prior grid")
                    contenders.append(replace(grid, grid_looks=1, grid_resolution=16) if request.quick else grid)
                elif side == 32:
                    contenders.append(Iteration("gof-gan-tiny", side, 8, steps=TINY_STEPS, label="gof-gan-tiny"))
                yield from compare(contenders, request, "random" if distilled is None else "distilled")


def compare(contenders: list[Contender], request: Request, weights: str) -> Iterator[dict[str, Any]]:
    """One row for each contender, with how much faster a picture is than the first contender's."""
    try:
        timings = take_turns(contenders, request.turns)
    except SkippedError as error:
        yield skipped(f"{contenders[0].name} and others, {weights} weights", str(error))
        return
    reference = timings[0]
    for timing in timings:
        batch = timing.facts["batch"]
        pictures = batch / reference.facts["batch"]
        faster = ratio(reference, timing)
        row = {**timing.row(), **timing.facts, "weights": weights, "images_per_second": batch / timing.median}
        if timing is not reference:
            row["ratio"] = faster["ratio"] * pictures
            row["ratio_range"] = [value * pictures for value in faster["ratio_range"]]
            row["processor_ratio"] = faster["processor_ratio"] * pictures
        if timing.name == "gof-gan-tiny":
            row["weights"] = "random"
        yield row
