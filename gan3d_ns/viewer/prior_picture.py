"""A picture of a pose prior: how often its cameras stand at each yaw and elevation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gan3d_ns.cameras.pose_prior import PosePrior

NUM_DRAWS = 16_384
NUM_BATCHES = 64
"""The draws come in batches: a hybrid prior tosses a coin for each."""
NUM_BINS = 36
CENTRAL_SHARE = 0.95
"""Share of the draws that lies between the two labelled angles."""
YAW_STEP_DEG, YAW_LIMIT_DEG = 30.0, 180.0
ELEVATION_STEP_DEG, ELEVATION_LIMIT_DEG = 15.0, 90.0
"""The axes end at multiples of the step that hold all draws, at most at the limit."""

WIDTH, CHART_HEIGHT = 520, 160
"""In pixels: twice what the panel has, so that it is sharp on fine screens."""
MARGIN, TITLE_HEIGHT, AXIS_HEIGHT = 12, 36, 32
TITLE_SIZE, LABEL_SIZE = 23, 22
GROUND, TEXT, FAINT = (26, 27, 30), (222, 226, 230), (134, 142, 150)
OWN_COLOUR, TRIED_COLOUR = (255, 190, 70), (92, 180, 250)
"""Of the run's prior and of values that someone tries, in the picture and for the frusta."""


def whole_turns_removed(yaw_deg: Float[np.ndarray, "*batch"], centre_deg: float) -> Float[np.ndarray, "*batch"]:
    """The same yaws within half a turn of a centre."""
    return (yaw_deg - centre_deg + 180.0) % 360.0 - 180.0 + centre_deg


@torch.no_grad()
def draw_poses(prior: PosePrior, num: int, seed: int, num_batches: int = 1) -> Float[Tensor, "num 2"]:
    """Poses (pitch, yaw) in radians of a prior, the same for the same seed."""
    randomness = torch.Generator().manual_seed(seed)
    sizes = [len(part) for part in torch.arange(num).chunk(num_batches)]
    return torch.cat([prior.sample(size, randomness).detach().cpu() for size in sizes])


def in_degrees(poses: Float[Tensor, "*batch 2"]) -> tuple[Float[np.ndarray, "*batch"], Float[np.ndarray, "*batch"]]:
    """Yaw (0 = front) and elevation (0 = horizon, up positive) of poses in radians."""
    degrees = torch.rad2deg(poses.detach().cpu().double()).numpy()
    return np.asarray(degrees[..., 1] - 90.0), np.asarray(90.0 - degrees[..., 0])


@dataclass(frozen=True)
class Marginal:
    """How often one angle takes which values, in degrees."""

    name: str
    counts: Int[np.ndarray, "bin"]
    edges: Float[np.ndarray, "bin_and_one"]
    """Borders of the bins, evenly spaced."""
    mean: float
    """Where the prior's mean pose stands."""
    low: float
    high: float
    """Between them lies the central share of the draws."""


def marginal(name: str, angles: Float[np.ndarray, "draw"], mean: float, step: float, limit: float) -> Marginal:
    """The histogram of angles in degrees; every draw is counted, those on the last border in the last bin.

    Args:
        name: what the angle is called.
        angles: the draws.
        mean: of the prior.
        step: the axis ends at multiples of it.
        limit: and where it can not farther than this from 0.
    """
    first = min(step * math.floor(min(angles.min(), mean) / step + 1e-6), limit - step)
    last = max(step * math.ceil(max(angles.max(), mean) / step - 1e-6), first + step)
    if first >= -limit - step and last <= limit + step:
        first, last = max(first, -limit), min(last, limit)
    counts, edges = np.histogram(angles.clip(first, last), bins=NUM_BINS, range=(first, last))
    tail = (1.0 - CENTRAL_SHARE) / 2.0
    low, high = np.quantile(angles, (tail, 1.0 - tail))
    return Marginal(name, counts, edges, mean, float(low), float(high))


def marginals(prior: PosePrior, num: int = NUM_DRAWS, seed: int = 0) -> tuple[Marginal, Marginal]:
    """Yaw and elevation of a prior, from draws; yaws within half a turn of the mean."""
    yaw_mean, elevation_mean = (float(angle) for angle in in_degrees(prior.mean_pose()))
    yaws, elevations = in_degrees(draw_poses(prior, num, seed, NUM_BATCHES))
    return (
        marginal("Yaw", whole_turns_removed(yaws, yaw_mean), yaw_mean, YAW_STEP_DEG, YAW_LIMIT_DEG),
        marginal("Elevation", elevations, elevation_mean, ELEVATION_STEP_DEG, ELEVATION_LIMIT_DEG),
    )


def degrees_text(angle: float) -> str:
    """A whole number of degrees."""
    return f"{round(angle)}°"


def draw_chart(canvas: ImageDraw.ImageDraw, top: int, chart: Marginal, colour: tuple[int, int, int]) -> None:
    """One histogram: bars, a line at the mean, the ends of the axis, and the numbers in words above."""
    title, label = ImageFont.load_default(TITLE_SIZE), ImageFont.load_default(LABEL_SIZE)
    canvas.text((MARGIN, top + 4), chart.name, font=title, fill=TEXT)
    spread = f"mean {degrees_text(chart.mean)},  {CENTRAL_SHARE:.0%} in {degrees_text(chart.low)} to "
    canvas.text((WIDTH - MARGIN, top + 4), spread + degrees_text(chart.high), font=title, fill=TEXT, anchor="ra")
    base, ceiling = top + CHART_HEIGHT - AXIS_HEIGHT, top + TITLE_HEIGHT
    width, first, last = WIDTH - 2 * MARGIN, float(chart.edges[0]), float(chart.edges[-1])

    def across(angle: float) -> float:
        return MARGIN + width * (angle - first) / (last - first)

    tallest = max(1, int(chart.counts.max()))
    for count, left, right in zip(chart.counts, chart.edges[:-1], chart.edges[1:], strict=True):
        if count:
            height = max(2.0, (base - ceiling) * int(count) / tallest)
            canvas.rectangle((across(left) + 1, base - height, across(right) - 1, base), fill=colour)
    canvas.line((MARGIN, base, WIDTH - MARGIN, base), fill=FAINT, width=2)
    canvas.line((across(chart.mean), ceiling, across(chart.mean), base), fill=TEXT, width=2)
    below = base + 5
    canvas.text((MARGIN, below), degrees_text(first), font=label, fill=FAINT)
    canvas.text((WIDTH - MARGIN, below), degrees_text(last), font=label, fill=FAINT, anchor="ra")
    middle = (first + last) / 2.0
    canvas.text((across(middle), below), degrees_text(middle), font=label, fill=FAINT, anchor="ma")


def prior_picture(charts: tuple[Marginal, ...], colour: tuple[int, int, int] = OWN_COLOUR) -> Image.Image:
    """The histograms below each other."""
    picture = Image.new("RGB", (WIDTH, CHART_HEIGHT * len(charts)), GROUND)
    canvas = ImageDraw.Draw(picture)
    for index, chart in enumerate(charts):
        draw_chart(canvas, index * CHART_HEIGHT, chart, colour)
    return picture
