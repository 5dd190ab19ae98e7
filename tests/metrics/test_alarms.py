"""Each alarm is heard in its case, and none in what healthy trainings showed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gan3d_ns.metrics.alarms import ALARM_NAMES, Moment, alarms

DEPTH_RANGE = 0.24
# Measured on the tiny methods (occupancies and densities): averages of 50 steps, looks at the start and at the end;
# the smallest and the largest of each collection.
HEALTHY_WINDOWS = {
    "cats": {
        "d_adversarial": (0.98, 1.434),
        "g_adversarial": (1.03, 1.73),
        "d_pose": (0.006, 0.123),
        "g_pose": (0.002, 0.21),
        "d_r1": (0.09, 0.67),
        "logit_gap": (0.37, 0.98),
        "told_apart": (0.68, 0.92),
    },
    "toy cars": {
        "d_adversarial": (0.73, 1.5),
        "g_adversarial": (0.68, 5.12),
        "d_pose": (0.024, 3.29),
        "g_pose": (0.007, 2.8),
        "d_r1": (0.07, 0.83),
        "logit_gap": (0.85, 3.5),
        "told_apart": (0.85, 0.985),
    },
}
HEALTHY_LOOKS = {
    "cats": {
        "hit_rate": (0.99, 1.0),
        "relief": (0.002, 0.046),
        "hollow_fraction": (0.0, 0.5),
        "depth_spread": (0.031, 0.066),
        "occupied_fraction": (0.43, 0.53),
        "view_error": (0.002, 0.028),
        "view_overlap": (0.77, 0.82),
        "variety": (0.11, 0.19),
        "contrast": (0.15, 0.2),
        "change": (0.045, 0.21),
    },
    "toy cars": {
        "hit_rate": (0.19, 0.39),
        "relief": (0.006, 0.024),
        "hollow_fraction": (0.0, 0.0),
        "depth_spread": (0.014, 0.025),
        "occupied_fraction": (0.043, 0.12),
        "view_error": (0.002, 0.034),
        "view_overlap": (0.66, 0.78),
        "variety": (0.045, 0.085),
        "contrast": (0.27, 0.32),
        "change": (0.055, 0.11),
    },
}


def heard(windows: list[Moment], looks: list[Moment]) -> set[str]:
    found = alarms(windows, looks, DEPTH_RANGE)
    assert all(alarm.name in ALARM_NAMES for alarm in found)
    assert all(alarm.sentence.endswith(".") and "\n" not in alarm.sentence for alarm in found)
    return {alarm.name for alarm in found}


def middle(ranges: dict[str, tuple[float, float]]) -> dict[str, float]:
    return {name: (low + high) / 2.0 for name, (low, high) in ranges.items()}


def windows(count: int = 30, change: Callable[[int], dict[str, float]] = lambda _: {}) -> list[Moment]:
    healthy = middle(HEALTHY_WINDOWS["cats"])
    return [Moment(50 * index + 49, {**healthy, **change(index)}) for index in range(count)]


def looks(count: int = 4, last: int = 2, **changed: float) -> list[Moment]:
    """Healthy looks, of which the last ones are changed."""
    healthy = middle(HEALTHY_LOOKS["cats"])
    return [
        Moment(500 * (index + 1), {**healthy, **(changed if index >= count - last else {})}) for index in range(count)
    ]


@pytest.mark.parametrize("collection", ["cats", "toy cars"])
@pytest.mark.parametrize("pattern", ["rising", "falling", "swinging", "low", "high"])
def test_healthy_ranges_are_silent(collection: str, pattern: str) -> None:
    """Whichever way each measure moves between its smallest and largest value."""
    shares: dict[str, Callable[[int, int], float]] = {
        "rising": lambda index, count: index / (count - 1),
        "falling": lambda index, count: 1.0 - index / (count - 1),
        "swinging": lambda index, count: float(index % 2),
        "low": lambda index, count: 0.0,
        "high": lambda index, count: 1.0,
    }

    def moments(ranges: dict[str, tuple[float, float]], count: int, interval: int) -> list[Moment]:
        share = [shares[pattern](index, count) for index in range(count)]
        return [
            Moment(interval * (index + 1), {name: low + s * (high - low) for name, (low, high) in ranges.items()})
            for index, s in enumerate(share)
        ]

    steps = moments(HEALTHY_WINDOWS[collection], 40, 50)
    pictures = moments(HEALTHY_LOOKS[collection], 6, 500)
    for count in range(1, len(steps) + 1):
        assert not heard(steps[:count], pictures[: 1 + count // 8])


def test_a_start_says_nothing() -> None:
    assert not heard([], [])
    assert not heard(windows(1, lambda _: {"told_apart": 1.0, "logit_gap": 50.0}), looks(1, contrast=0.0, variety=0.0))


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("empty", {"hit_rate": 0.001}),
        ("empty", {"occupied_fraction": 0.0, "hit_rate": 0.0, "depth_spread": 0.0}),
        ("filled", {"occupied_fraction": 0.99}),
        ("hollow", {"hollow_fraction": 0.83, "relief": -0.017}),
        ("flat", {"depth_spread": 0.002}),
        ("disagree", {"view_error": 0.12, "view_overlap": 0.44}),
        ("disagree", {"view_error": 0.34, "view_overlap": 0.92}),
        ("disagree", {"view_overlap": 0.2}),
        ("alike", {"variety": 0.003}),
        ("alike", {"variety": 0.02}),
        ("plain", {"contrast": 0.004, "variety": 0.002}),
        ("frozen", {"change": 0.00001}),
    ],
)
def test_looks_that_agree_raise_one_alarm(name: str, changed: dict[str, float]) -> None:
    assert heard(windows(), looks(**changed)) == {name}
    assert not heard(windows(), looks(last=1, **changed)), "one look is not enough"


def test_too_few_surfaces_are_not_called_hollow() -> None:
    assert not heard(windows(), looks(hollow_fraction=1.0, relief=-0.1, hit_rate=0.1))


def test_the_sentence_of_hollow_surfaces_has_the_number_and_the_knob() -> None:
    (alarm,) = alarms(windows(), looks(hollow_fraction=0.83, relief=-0.017), DEPTH_RANGE)
    assert "83%" in alarm.sentence
    assert "0.017" in alarm.sentence
    assert "--hollow-reseeds 2" in alarm.sentence


def test_views_that_nobody_could_compare_do_not_disagree() -> None:
    last = [Moment(look.step, {n: v for n, v in look.measures.items() if "view" not in n}) for look in looks()]
    assert not alarms(windows(), last, DEPTH_RANGE)
    torn = [Moment(look.step, {**look.measures, "view_overlap": 0.0}) for look in last]
    (alarm,) = alarms(windows(), torn, DEPTH_RANGE)
    assert "share 0% of their surfaces. " in alarm.sentence and "--pipeline.loss.normal-weight" in alarm.sentence


def test_exploding_losses() -> None:
    assert heard(windows(30, lambda index: {"g_adversarial": 60.0} if index == 29 else {}), looks()) == {"exploding"}
    assert not heard(windows(30, lambda index: {"g_adversarial": 60.0}), looks()), "large from the start is a scale"


def test_a_winning_discriminator_must_be_sure_and_ahead() -> None:
    def winning(gap: Callable[[int], float], apart: float) -> set[str]:
        return heard(windows(30, lambda index: {"logit_gap": gap(index), "told_apart": apart}), looks())

    assert winning(lambda index: 3.0 + 0.2 * index, 1.0) == {"winning"}
    assert winning(lambda index: 8.5, 0.955) == {"winning"}, "as without a gradient penalty"
    assert not winning(lambda index: 5.5, 1.0), "ahead, but not more and more"
    assert not winning(lambda index: 3.0 + 0.2 * index, 0.93)
    assert not winning(lambda index: 1.0 + 0.05 * index, 1.0)


def test_a_dead_discriminator_is_one_that_guesses_for_long() -> None:
    def dead(since: int) -> set[str]:
        return heard(
            windows(30, lambda index: {"told_apart": 0.5, "logit_gap": 0.0} if index >= since else {}), looks()
        )

    assert dead(20) == {"dead"}
    assert not dead(25)


def test_measures_that_a_method_lacks_raise_nothing() -> None:
    bare: list[Any] = [Moment(50 * index, {"g_adversarial": 1.0}) for index in range(30)]
    assert not heard(bare, [])
