"""How values are read: levels, opacities, and the kinship of a softplus density with an occupancy."""

from __future__ import annotations

import math

import pytest
import torch

from gan3d_ns.errors import UserError
from gan3d_ns.model_components.geometry import Density, Occupancy, logit_level


def test_level_is_the_clipped_logit() -> None:
    assert logit_level(0.5) == 0.0
    assert logit_level(0.9) == pytest.approx(math.log(9.0))
    assert logit_level(0.0) == pytest.approx(math.log(1e-4 / (1 - 1e-4)))


def test_the_surface_of_a_density_is_half_opaque_over_its_thickness() -> None:
    assert Density(thickness=0.02).level == pytest.approx(math.log(2.0) / 0.02)
    assert Density("softplus", 0.02, 0.02).level == pytest.approx(0.0, abs=1e-12)
    assert Density(unit_length=0.1, thickness=0.02).level == pytest.approx(5.0 * math.log(2.0))


def test_a_softplus_density_is_an_occupancy_at_its_unit_length() -> None:
    values, distances = torch.randn(3, 5), 0.9 + 0.02 * torch.arange(5.0).expand(3, -1)
    expected = Occupancy().alphas(values, distances)
    torch.testing.assert_close(Density("softplus", 0.02, 0.02).alphas(values, distances), expected)


def test_a_published_density_closes_the_ray_at_its_last_sample_and_free_space_does_not() -> None:
    distances = torch.linspace(0.9, 1.1, 4)
    assert Density().alphas(torch.full((4,), 1e-3), distances)[-1] == 1.0
    assert Density().alphas(torch.full((4,), -1e-3), distances)[-1] == 0.0
    assert Density("softplus", 0.02).alphas(torch.full((4,), -20.0), distances)[-1] < 1e-6


def test_a_last_sample_may_stand_for_nothing() -> None:
    """A scene whose samples end at far, with a background behind them (CAMPARI)."""
    distances, values = torch.linspace(0.9, 1.1, 4), torch.full((4,), 3.0)
    ended = Density(last_interval=0.0).alphas(values, distances)
    assert ended[-1] == 0.0
    torch.testing.assert_close(ended[:-1], Density().alphas(values, distances)[:-1])
    assert float(Density(last_interval=0.1).alphas(values, distances)[-1]) == pytest.approx(1 - math.exp(-0.3))


@pytest.mark.parametrize("settings", [{"unit_length": 0.0}, {"thickness": -1.0}])
def test_impossible_densities_are_refused(settings: dict) -> None:
    with pytest.raises(UserError, match="positive"):
        Density(**settings)
