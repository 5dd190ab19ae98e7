"""The motion of what plays by itself."""

from __future__ import annotations

import threading

import pytest

from gan3d_ns.viewer.player import Player, there_and_back


@pytest.mark.parametrize(
    ("seconds", "amount"), [(0.0, 0.0), (2.0, 0.5), (4.0, 1.0), (6.0, 0.5), (8.0, 0.0), (9.0, 0.25)]
)
def test_it_goes_there_and_back(seconds, amount):
    assert there_and_back(seconds, one_way=4.0) == pytest.approx(amount)


def test_it_starts_where_it_is_asked_to_and_only_once():
    shown, enough = [], threading.Event()

    def show(amount: float) -> None:
        shown.append(amount)
        if len(shown) == 3:
            enough.set()

    player = Player(show)
    player.play(0.5)
    first = player.thread
    player.play(0.9)
    assert player.thread is first
    assert enough.wait(10.0)
    player.pause()
    assert first is not None
    first.join(timeout=5.0)
    assert shown[:3] == sorted(shown[:3])
    assert 0.5 < shown[0] < 0.9
