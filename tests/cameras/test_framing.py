"""The warning about cameras that miss their object."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest

from gan3d_ns.cameras.framing import framing_problem
from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS, PosePriorConfig

BOX = (0.16, 0.16, 0.12)


@pytest.mark.parametrize("name", POSE_PRIOR_PRESETS)
def test_published_priors_fit_a_box_as_deep_as_their_range(name: str) -> None:
    prior = POSE_PRIOR_PRESETS[name]
    depth = min(prior.far - prior.radius, 0.9 * prior.radius)
    assert framing_problem(prior, (depth, depth, depth)) is None
    assert framing_problem(prior) is None


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ({"radius": 2.0}, ["near 0.88 and far 1.12 end before", "2 from the cameras"]),
        ({"radius": 0.5}, ["near 0.88 and far 1.12 end behind", "0.5 from the cameras"]),
        ({"near": 1.0}, ["near 1 and far 1.12 end behind"]),
        ({"far": 1.0}, ["near 0.88 and far 1 end before"]),
        ({"near": 0.97, "far": 1.03}, ["enclose only 25% of the object", "0.88 to 1.12", "radius 1"]),
        ({"fov_deg": 4.0}, ["frame of 4 degrees is 0.0698 wide", "only a small part", "0.32, 0.32, 0.24"]),
        ({"fov_deg": 60.0}, ["frame of 60 degrees is 1.15 wide", "far wider than"]),
    ],
)
def test_what_misses_the_object_is_told_in_one_sentence_with_its_numbers(changes: dict, seen: list[str]) -> None:
    problem = framing_problem(PosePriorConfig(**changes), BOX)
    assert problem is not None
    assert problem.endswith(".")
    assert not re.search(r"\.\s+[A-Za-z]", problem)
    for part in seen:
        assert part in problem


def test_lengths_scale_together() -> None:
    """Only ratios count: the same scene in other units gives the same verdict."""
    for changes in ({}, {"near": 0.97, "far": 1.03}, {"fov_deg": 4.0}):
        prior = PosePriorConfig(**changes)
        scaled = dataclasses.replace(prior, near=10 * prior.near, far=10 * prior.far, radius=10.0)
        box = tuple(10 * side for side in BOX)
        assert (framing_problem(prior, BOX) is None) == (framing_problem(scaled, box) is None)


def test_the_frame_may_differ_from_the_box_by_a_factor_of_three() -> None:
    def problem(ratio: float) -> str | None:
        fov = math.degrees(2 * math.atan(0.12 * ratio))
        return framing_problem(PosePriorConfig(fov_deg=fov), (0.12, 0.12, 0.12))

    assert problem(0.34) is None
    assert problem(2.9) is None
    assert problem(0.32) is not None
    assert problem(3.1) is not None


def test_a_box_that_reaches_the_cameras_bounds_nothing() -> None:
    assert framing_problem(POSE_PRIOR_PRESETS["carla"], (1.0, 1.0, 1.0)) is None
