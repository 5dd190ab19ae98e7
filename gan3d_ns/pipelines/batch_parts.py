"""What the parts of a batch count for: those of one process, one after the other, and those of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Dict, Optional, Union

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gan3d_ns.discriminators.shared_batch import SharedBatch, Total
from gan3d_ns.model_components.losses import top_k_indices
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


def part_weights(plan: StepPlan, parts: Sequence[Fakes | Found], draw: Draw, total: Total) -> list[Weights]:
    """What each of this process's parts counts for, such that the terms of all parts add up to those of the batch.

    Means over pictures count by the part's share of the pictures, the normals' mean by its share of the rays that hit,
    the path lengths' by its share of those that are measured. Where a discriminator compares pictures with each other,
    or the worst of them are left out, they are those of the same part, as in the authors' release, of all processes.

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


def kept_together(
    scores: Float[Tensor, "own"], fraction: float, shared: Optional[SharedBatch]
) -> tuple[Int[Tensor, "kept"], float]:
    """Which of this process's pictures are among the best of all, see `top_k_indices`, and what their mean counts for.

    The second number is 1 where they are as large a part of the kept pictures as of all.
    """
    if shared is None or fraction >= 1.0:
        return top_k_indices(scores, fraction), 1.0
    chosen = top_k_indices(shared.gathered(scores), fraction)
    own = chosen[(chosen >= shared.first) & (chosen < shared.first + len(scores))] - shared.first
    return own, len(own) / len(chosen) * shared.count / len(scores)


def weighted(terms: Terms, weights: Weights) -> Terms:
    """The terms of a part, each times what it counts for."""
    return {name: term * weights.get(name, weights[OTHERS]) for name, term in terms.items()}
