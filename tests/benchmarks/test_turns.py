"""Contenders take turns, in one process or in processes of their own, and errors arrive as what they are."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import pytest

from benchmarks.turns import Contender, SkippedError, Timing, TurnSettings, ratio, take_turns
from gan3d_ns.errors import UserError

HERE = TurnSettings(rounds=2, warm_up=1, isolated=False)
LOG: list[str] = []


@dataclass(frozen=True)
class Sleeper(Contender):
    """Sleeps; says which process it lives in."""

    title: str = "sleeper"
    seconds: float = 0.0
    amount: float = 1.0
    upkeep: float = 0.0
    fault: str = ""

    @property
    def name(self):
        return self.title

    @property
    def units(self):
        return self.amount

    def prepare(self, device):
        if self.fault == "user":
            raise UserError("there is no such thing; take another.")
        return self

    def turn(self):
        if self.fault == "bug":
            raise ValueError("a bug")
        if self.fault == "death":
            os._exit(1)
        LOG.append(self.title)
        time.sleep(self.seconds)

    def facts(self):
        return {"process": os.getpid(), **({"upkeep_seconds": (self.upkeep, self.upkeep)} if self.upkeep else {})}


def timing(*seconds: float) -> Timing:
    return Timing("any", seconds, seconds, 1.0, 1.0, 0.0, {})


def test_turns_alternate():
    LOG.clear()
    take_turns([Sleeper("a"), Sleeper("b")], HERE)
    assert LOG == ["a", "b"] * 3


def test_a_longer_turn_takes_longer_and_units_divide_it():
    slow, fast, halves = take_turns(
        [Sleeper(seconds=0.1), Sleeper(seconds=0.01), Sleeper(seconds=0.1, amount=2.0)], HERE
    )
    assert slow.median >= 0.1 > fast.median
    assert 0.05 <= halves.median < slow.median
    assert len(slow.seconds) == HERE.rounds
    assert max(slow.processor_seconds) < 0.1, "sleeping is no work"


def test_upkeep_is_part_of_the_time():
    (kept,) = take_turns([Sleeper(upkeep=5.0)], HERE)
    assert kept.median >= 5.0


def test_ratios_are_formed_turn_by_turn():
    found = ratio(timing(2.0, 40.0, 6.0), timing(1.0, 10.0, 2.0))
    assert found["ratio"] == 3.0
    assert found["ratio_range"] == [2.0, 4.0]
    same = ratio(timing(3.0), timing(3.0))
    assert same["ratio"] == same["processor_ratio"] == 1.0


def test_what_does_not_fit_the_budget_is_skipped_with_a_reason():
    with pytest.raises(SkippedError, match="more than the budget of 0 s"):
        take_turns([Sleeper(seconds=0.02)], TurnSettings(rounds=5, budget_seconds=0.01, isolated=False))


def test_a_contender_has_a_process_of_its_own():
    first, second = take_turns([Sleeper("a"), Sleeper("b")], TurnSettings(rounds=1))
    assert len({os.getpid(), first.facts["process"], second.facts["process"]}) == 3
    assert 0.0 < first.memory_prepared_gb <= first.peak_memory_gb


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ("user", UserError, "no such thing"),
        ("bug", SkippedError, "ValueError: a bug"),
        ("death", SkippedError, "process died"),
    ],
)
def test_errors_come_back_from_the_process(fault, kind, words):
    with pytest.raises(kind, match=words):
        take_turns([Sleeper(fault=fault)], TurnSettings(rounds=1))
