"""The encoding of positions against its formula and the numbers of the original GRAF release."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from gan3d_ns.field_components.frequency_encoding import encoded_dim, frequency_encoding, wave_encoding


def test_points_and_directions_are_encoded_as_in_the_original(load_fixture) -> None:
    expected = load_fixture("graf_field")
    assert_close(frequency_encoding(expected["points"], 10), expected["encoded_points"], atol=1e-4, rtol=0)
    assert_close(frequency_encoding(expected["dirs"], 4), expected["encoded_dirs"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("octaves", [0, 1, 5])
@pytest.mark.parametrize("dim", [2, 3])
def test_each_entry_follows_the_formula(octaves: int, dim: int) -> None:
    point = torch.randn(dim)
    slow = [*point.tolist()]
    for octave in range(octaves):
        for wave in (math.sin, math.cos):
            slow += [wave(2**octave * value) for value in point.tolist()]
    encoded = frequency_encoding(point, octaves)
    assert encoded.shape == (encoded_dim(octaves, dim),)
    assert_close(encoded, torch.tensor(slow), atol=1e-5, rtol=0)


def test_without_octaves_the_encoding_is_the_identity() -> None:
    points = torch.randn(4, 5, 3)
    assert_close(frequency_encoding(points, 0), points, atol=0, rtol=0)


def test_a_point_two_pi_away_differs_only_in_itself() -> None:
    """All octaves have whole frequencies and no factor pi: their common period is 2 pi."""
    points = torch.randn(7, 3, dtype=torch.float64)
    near, far = frequency_encoding(points, 6), frequency_encoding(points + 2 * math.pi, 6)
    assert_close(far[:, 3:], near[:, 3:])
    assert_close(far[:, :3], near[:, :3] + 2 * math.pi)


def test_waves_match_the_original(load_fixture) -> None:
    """GIRAFFE's encodings: positions divided by 2 or 12, directions of unit length divided by 2."""
    recorded = load_fixture("giraffe_field")
    directions = torch.nn.functional.normalize(recorded["ray_box"], dim=-1)
    for points, octaves, expected in (
        (recorded["points_box"] / 2, 10, "encoded_points"),
        (recorded["points_bg"] / 12, 10, "encoded_points_bg"),
        (directions / 2, 4, "encoded_dirs"),
    ):
        # The tenth octave turns 2^9 pi of a number's last bit into 1e-4.
        assert_close(wave_encoding(points, octaves), recorded[expected], atol=3e-4, rtol=0)
