"""Path-length regularisation against the numbers of VolumeGAN's release, and its laws."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from gan3d_ns.model_components.path_length import PathLengthRegulariser, path_lengths

TOLERANCE = {"atol": 1e-6, "rtol": 1e-4}


@pytest.fixture
def recorded(load_fixture) -> dict[str, Tensor]:
    """The original's numbers, with codes and pictures that have the recorded gradient along the recorded noise."""
    arrays = load_fixture("volumegan_pathlength")
    codes = torch.randn(2, 10, 32, requires_grad=True)
    along = (codes * arrays["code_grad"]).sum(dim=(1, 2))
    # The noise is +-1: its product with noise / (3 * side) adds up to the side, which the loss divides by.
    pictures = along[:, None, None, None] * arrays["noise"] / (3 * arrays["noise"].shape[-1])
    return {**arrays, "codes": codes, "pictures": pictures}


def test_lengths_penalty_and_mean_match_the_original(recorded: dict[str, Tensor]) -> None:
    pictures, codes, noise = recorded["pictures"], recorded["codes"], recorded["noise"]
    assert_close(path_lengths(pictures, codes, noise), recorded["length"], **TOLERANCE)
    regulariser = PathLengthRegulariser()
    assert_close(regulariser(pictures, codes, noise), recorded["penalty"].mean(), **TOLERANCE)
    assert_close(regulariser.running_mean, recorded["running_mean"], **TOLERANCE)


def linear_pictures(jacobian: Tensor, codes: Tensor) -> Tensor:
    return (codes.flatten(1) @ jacobian).reshape(-1, 3, 8, 8)


def test_an_isometry_has_the_same_length_whatever_the_code() -> None:
    """For pictures that are codes, turned and scaled by s: |J^T y| = s |y| / sqrt(layers)."""
    rotation = torch.linalg.qr(torch.randn(192, 192)).Q
    codes, noise = torch.randn(5, 2, 96, requires_grad=True), torch.randn(5, 3, 8, 8)
    lengths = path_lengths(linear_pictures(3.0 * rotation, codes), codes, noise)
    expected = 3.0 * noise.flatten(1).norm(dim=1) / math.sqrt(64) / math.sqrt(2)
    assert_close(lengths, expected)


def test_the_mean_approaches_the_lengths_and_is_saved() -> None:
    jacobian, codes = torch.randn(192, 192), torch.randn(1, 2, 96, requires_grad=True)
    regulariser, noise = PathLengthRegulariser(), torch.randn(1, 3, 8, 8)
    length = path_lengths(linear_pictures(jacobian, codes), codes, noise)
    penalties = [regulariser(linear_pictures(jacobian, codes), codes, noise).item() for _ in range(200)]
    assert_close(regulariser.running_mean, (length * (1 - 0.99**200)).squeeze().detach())
    assert penalties == sorted(penalties, reverse=True)
    restored = PathLengthRegulariser()
    restored.load_state_dict(regulariser.state_dict())
    assert_close(restored.running_mean, regulariser.running_mean)


def test_the_penalty_teaches_the_generator_and_not_the_mean() -> None:
    jacobian = torch.randn(192, 192, requires_grad=True)
    codes, noise = torch.randn(2, 2, 96, requires_grad=True), torch.randn(2, 3, 8, 8)
    regulariser = PathLengthRegulariser()
    regulariser.running_mean.fill_(100.0)
    penalty = regulariser(linear_pictures(jacobian, codes), codes, noise)
    # The next phase moves the mean before this penalty is followed down.
    regulariser(linear_pictures(jacobian, codes), codes, noise)
    penalty.backward()
    assert jacobian.grad is not None
    with torch.no_grad():
        jacobian -= 1e-3 * jacobian.grad / jacobian.grad.norm()
    regulariser.running_mean.fill_(100.0)
    assert regulariser(linear_pictures(jacobian, codes), codes, noise) < penalty


def test_drawn_noise_follows_its_generator() -> None:
    jacobian, codes = torch.randn(192, 192), torch.randn(3, 2, 96, requires_grad=True)

    def penalty(seed: int) -> Tensor:
        source = torch.Generator().manual_seed(seed)
        return PathLengthRegulariser()(linear_pictures(jacobian, codes), codes, generator=source)

    assert_close(penalty(1), penalty(1), atol=0, rtol=0)
    assert (penalty(1) - penalty(2)).abs() > 1e-6
    given = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    assert_close(penalty(1), PathLengthRegulariser()(linear_pictures(jacobian, codes), codes, given))
