"""What is wrong with a training, in words: from averages of its steps and from looks at its fixed latents.

The thresholds stand far outside of what healthy trainings of the tiny methods showed on photographs of cats and on the
toy cars (their ranges are in the tests): an alarm that cries in a healthy training would soon be ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Optional

PATIENCE = 10
"""Windows over which the discriminator's alarms are sure."""
LOOKS = 2
"""Looks in a row that must agree."""

EXPLODING_RATIO = 8.0
"""All losses together over their median so far."""
EXPLODING_LOSS = 20.0
"""And at least this much, as small losses may grow without harm."""
WINNING_GAP = 5.0
"""Mean difference of the scores that may not grow any more; healthy trainings stay near 1."""
WINNING_GROWTH = 1.05
"""Second half of the patience over its first."""
HOPELESS_GAP = 6.0
"""A gap that need not grow to be too large: without a gradient penalty it settled at 7 to 10."""
WINNING_TOLD_APART = 0.94
DEAD_TOLD_APART = 0.53
"""Share of the pairs that are ordered rightly; guessing gives one half."""

HOLLOW_MAJORITY = 0.5
SMALLEST_HIT_RATE = 0.2
"""With fewer rays that meet a surface it cannot be said which way surfaces face."""
NOTHING_HIT, NOTHING_OCCUPIED = 0.02, 0.002
EVERYTHING_OCCUPIED = 0.95
FLAT_SPREAD = 0.02
"""Standard deviation of a surface's depth over the depth that the cameras see."""
DISAGREEING = 0.08
"""Mean difference of colours that two close views both see; trained generators of all methods had 0.014 to 0.034,
colours that follow the camera 0.09 to 0.34."""
LITTLE_OVERLAP = 0.25
"""Share of the pixels with a surface that a close view sees too; trained generators had 0.66 to 0.82."""
ALIKE_VARIETY, ALIKE_SHARE = 0.01, 0.2
"""Of the fixed latents' colours: in all, and of the largest so far."""
PLAIN_CONTRAST = 0.015
FROZEN_CHANGE = 0.0005
"""Mean change of a pixel from look to look."""


@dataclass(frozen=True)
class Moment:
    """Measures by name: averages over a window of steps that ends at ``step``, or a look at the pictures there."""

    step: int
    measures: Mapping[str, float]


@dataclass(frozen=True)
class Alarm:
    """Something that a training will hardly recover from by itself."""

    name: str
    """One word, for records."""
    sentence: str
    """What was seen, and the knob to turn."""


ALARM_NAMES = (
    *("exploding", "winning", "dead"),
    *("empty", "filled", "hollow", "flat", "disagree"),
    *("alike", "plain", "frozen"),
)


def alarms(windows: Sequence[Moment], looks: Sequence[Moment], depth_range: float) -> list[Alarm]:
    """What is wrong now; empty for a healthy training and while too little is known.

    Args:
        windows: averages of the steps' losses and scores, in order, since the weights were new.
        looks: geometry and pictures of the fixed latents, in order, since then.
        depth_range: far minus near of the cameras, in world units.
    """
    candidates = (
        exploding(windows),
        winning(windows[-PATIENCE:]),
        dead(windows[-PATIENCE:]),
        *(surface_alarms(looks[-LOOKS:], depth_range) if len(looks) >= LOOKS else ()),
        *(picture_alarms(looks) if len(looks) >= LOOKS else ()),
    )
    return [alarm for alarm in candidates if alarm is not None]


def total_loss(window: Moment) -> float:
    """Sum of the sizes of all terms of both opponents."""
    return sum(abs(value) for name, value in window.measures.items() if name.startswith(("g_", "d_")))


def exploding(windows: Sequence[Moment]) -> Optional[Alarm]:
    """Losses far above what they were."""
    if len(windows) < 4:
        return None
    now, before = total_loss(windows[-1]), median(total_loss(window) for window in windows[:-1])
    if now < EXPLODING_LOSS or now < EXPLODING_RATIO * before:
        return None
    return Alarm(
        "exploding",
        f"Losses explode: {now:.3g} together, {before:.3g} before. Lower the learning rates (--optimizers.generator."
        "optimizer.lr, --optimizers.discriminator.optimizer.lr) or raise --pipeline.loss.r1-weight.",
    )


def winning(windows: Sequence[Moment]) -> Optional[Alarm]:
    """A discriminator that is never wrong and ever surer of it: the generator learns nothing from it."""
    if len(windows) < PATIENCE or any("logit_gap" not in window.measures for window in windows):
        return None
    gaps = [window.measures["logit_gap"] for window in windows]
    gap, apart = fmean(gaps), fmean(window.measures["told_apart"] for window in windows)
    growth = fmean(gaps[PATIENCE // 2 :]) / max(1e-6, fmean(gaps[: PATIENCE // 2]))
    grows = gap > WINNING_GAP and growth > WINNING_GROWTH
    if apart < WINNING_TOLD_APART or not (grows or gap > HOPELESS_GAP):
        return None
    return Alarm(
        "winning",
        f"The discriminator wins: it tells {apart:.1%} of the pictures apart, by a logit gap of {gap:.1f}. Raise "
        "--pipeline.loss.r1-weight, lower --optimizers.discriminator.optimizer.lr, or on few pictures set "
        "--pipeline.augmentation diffaug.",
    )


def dead(windows: Sequence[Moment]) -> Optional[Alarm]:
    """A discriminator that only guesses, or is fooled by every picture."""
    if len(windows) < PATIENCE or any("told_apart" not in window.measures for window in windows):
        return None
    shares = [window.measures["told_apart"] for window in windows]
    if fmean(shares) > DEAD_TOLD_APART or shares[-1] > DEAD_TOLD_APART:
        return None
    steps = windows[-1].step - windows[0].step
    return Alarm(
        "dead",
        f"The discriminator has lost: for {steps} steps it has told {fmean(shares):.0%} of the pictures apart, and "
        "guessing gives one half. Lower --pipeline.loss.r1-weight or raise --optimizers.discriminator.optimizer.lr.",
    )


def surface_alarms(looks: Sequence[Moment], depth_range: float) -> list[Optional[Alarm]]:
    """What the last looks agree upon about surfaces; without any surface nothing else is said."""
    measures = looks[-1].measures

    def agree(name: str, low: float, high: float) -> bool:
        return all(low <= look.measures[name] <= high for look in looks)

    hit, occupied = measures["hit_rate"], measures["occupied_fraction"]
    if agree("hit_rate", 0.0, NOTHING_HIT) or agree("occupied_fraction", 0.0, NOTHING_OCCUPIED):
        return [
            Alarm(
                "empty",
                f"Nothing is there: {hit:.1%} of the rays meet a surface, {occupied:.1%} of the space is filled. The "
                "pose prior may not fit the pictures; lower --optimizers.generator.optimizer.lr, or choose a start "
                "shape with --pipeline.model.start-shape.",
            )
        ]
    if agree("occupied_fraction", EVERYTHING_OCCUPIED, 1.0):
        return [
            Alarm(
                "filled",
                f"Everything is filled: {occupied:.1%} of the space lies in matter, so that cameras see its front "
                "wall. Check near, far and field of view of the pose prior, or lower "
                "--optimizers.generator.optimizer.lr.",
            )
        ]
    found: list[Optional[Alarm]] = []
    hollow = measures["hollow_fraction"]
    if agree("hollow_fraction", HOLLOW_MAJORITY + 1e-6, 1.0) and agree("hit_rate", SMALLEST_HIT_RATE, 1.0):
        found.append(
            Alarm(
                "hollow",
                f"Hollow surfaces: in {hollow:.0%} of the objects the middle lies deeper than what is around it, "
                f"by {-measures['relief']:.3f} on average. Start again with another --machine.seed, or let "
                "--hollow-reseeds 2 do it.",
            )
        )
    spread = measures["depth_spread"] / depth_range
    if all(look.measures["depth_spread"] < FLAT_SPREAD * depth_range for look in looks):
        found.append(
            Alarm(
                "flat",
                f"Flat cards: surfaces vary by {spread:.1%} of the depth that cameras see. Pictures from the front "
                "alone teach no shape, nor does a pose prior that is wider than the pictures: change "
                "--pipeline.model.pose-prior.yaw-spread-deg, or raise --pipeline.loss.pose-weight.",
            )
        )
    found.append(disagreement(looks))
    return found


def disagreement(looks: Sequence[Moment]) -> Optional[Alarm]:
    """Close views that show different things: colours that do not stick to the surface, or a surface in shreds."""
    last = [look.measures for look in looks]
    apart = all(measures.get("view_error", 0.0) > DISAGREEING for measures in last)
    torn = all(measures.get("view_overlap", 1.0) < LITTLE_OVERLAP for measures in last)
    if not (apart or torn):
        return None
    error = last[-1].get("view_error")
    seen = f"share {last[-1]['view_overlap']:.0%} of their surfaces"
    return Alarm(
        "disagree",
        f"Views disagree: two views that are close to each other {seen}"
        + ("" if error is None else f", and differ there by {error:.3f} in colour")
        + ". The surface is in shreds or its colours follow the camera: raise --pipeline.loss.normal-weight, or narrow "
        "--pipeline.model.pose-prior.yaw-spread-deg if the pictures show less than it.",
    )


def picture_alarms(looks: Sequence[Moment]) -> list[Optional[Alarm]]:
    """What the last looks say about the colours of the fixed latents."""
    last = [look.measures for look in looks[-LOOKS:]]
    found: list[Optional[Alarm]] = []
    if all(measures["contrast"] < PLAIN_CONTRAST for measures in last):
        found.append(
            Alarm(
                "plain",
                f"Colours are stuck: pictures are nearly of one colour, their contrast is {last[-1]['contrast']:.3f}. "
                "Lower --optimizers.generator.optimizer.lr and start again.",
            )
        )
    largest = max(look.measures["variety"] for look in looks)
    bound = max(ALIKE_VARIETY, ALIKE_SHARE * largest)
    if not found and all(measures["variety"] < bound for measures in last):
        found.append(
            Alarm(
                "alike",
                f"All latents look alike: their pictures differ by {last[-1]['variety']:.3f}, once by {largest:.3f}. "
                "Modes have collapsed: go back to an earlier checkpoint with lower learning rates or a larger "
                "--pipeline.loss.r1-weight.",
            )
        )
    changes = [measures.get("change") for measures in last]
    if not found and all(change is not None and change < FROZEN_CHANGE for change in changes):
        found.append(
            Alarm(
                "frozen",
                f"Pictures no longer change ({changes[-1]:.4f} from look to look): the learning rate "
                "--optimizers.generator.optimizer.lr may be too small, or a discriminator that has won gives no "
                "gradient.",
            )
        )
    return found
