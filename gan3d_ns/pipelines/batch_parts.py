"""What the parts of a batch count for: those of one process, one after the other, and those of several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Dict, Union

import torch
from jaxtyping import Float
from torch import Tensor

from gan3d_ns.pipelines.path_length import num_measured
from gan3d_ns.pipelines.step import Draw, Fakes, Found, StepPlan

Terms = Dict[str, Float[Tensor, ""]]
Weights = Dict[str, Union[float, Float[Tensor, ""]]]
OTHERS = ""
"""Stands for all terms that have no weight of their own."""


def num_hits(part: Fakes | Found, draw: Draw) -> Float[Tensor, ""]:
    """How many of the rays whose normals are compared meet a surface."""
    hit = part.render.hit if isinstance(part, Fakes) else part.hits.hit
    return hit[:, draw.compared_rays].sum().float()


def part_weights(
    plan: StepPlan, parts: Sequence[Fakes | Found], draw: Draw, total: Callable[[Tensor], Tensor]
) -> list[Weights]:
    """What each of this process's parts counts for, such that the terms of all parts add up to those of the batch.

    Means over pictures count by the part's share of the pictures, the normals' mean by its share of the rays that hit,
    the path lengths' by its share of those that are measured. Where a discriminator compares pictures with each other,
    or the worst of them are left out, they are those of the same part, as in the authors' release.

    Args:
        plan: of the step.
        parts: of this process, rendered or searched.
        draw: of the whole batch.
        total: sums numbers over the processes.
    """
    hits = torch.stack([num_hits(part, draw) for part in parts])
    everywhere = total(hits.sum()) if len(draw.compared_rays) > 0 else hits.sum()
    measured = num_measured(slice(0, plan.batch_size))
    weights: list[Weights] = []
    for part, count in zip(plan.parts(), hits, strict=True):
        of_pictures = (part.stop - part.start) / plan.batch_size
        of_hits = torch.where(everywhere > 0, count / everywhere.clamp(min=1.0), of_pictures)
        weights.append({OTHERS: of_pictures, "g_normal": of_hits, "g_path": num_measured(part) / measured})
    return weights


def weighted(terms: Terms, weights: Weights) -> Terms:
    """The terms of a part, each times what it counts for."""
    return {name: term * weights.get(name, weights[OTHERS]) for name, term in terms.items()}
