"""GIRAFFE's discriminator against the numbers of the original release."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from gan3d_ns.discriminators.dc import DCDiscriminator, DCDiscriminatorConfig
from gan3d_ns.errors import UserError
from gan3d_ns.model_components import losses

TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}
PUBLISHED_R1_WEIGHT = 80.0
"""10 E|grad|^2 over colours in [0, 1], as a factor of half the squared slope over [-1, 1]: 10 x 2 x 2^2."""


def recorded(arrays: dict[str, Tensor], side: int, last_channels: int) -> DCDiscriminator:
    network = DCDiscriminator(DCDiscriminatorConfig(resolution=side, last_channels=last_channels))
    prefix = "weights/"
    weights = {f"module.{name.removeprefix(prefix)}": value for name, value in arrays.items() if prefix in name}
    network.load_authors_weights(weights)
    return network


@pytest.mark.parametrize(("side", "last_channels"), [(64, 32), (256, 64)])
def test_scores_match_the_original(load_fixture, side: int, last_channels: int) -> None:
    arrays = load_fixture(f"giraffe_discriminator{side}")
    output = recorded(arrays, side, last_channels)(2 * arrays["images"] - 1)
    assert_close(output.score[:, None], arrays["score"], **TOLERANCE)
    assert output.pose is None


def test_losses_and_penalty_match_the_original(load_fixture) -> None:
    arrays = load_fixture("giraffe_discriminator64")
    network = recorded(arrays, 64, 32)
    real = (2 * arrays["real"] - 1).requires_grad_(True)
    on_real, on_fake = network(real).score, network(2 * arrays["fake"] - 1).score
    expected = arrays["loss_bce_real"] + arrays["loss_bce_fake"]
    assert_close(losses.non_saturating_discriminator_loss(on_real, on_fake), expected, **TOLERANCE)
    assert_close(losses.non_saturating_generator_loss(on_fake), arrays["loss_bce_g"], **TOLERANCE)
    assert_close(PUBLISHED_R1_WEIGHT * losses.r1_penalty(on_real, real), arrays["loss_r1"], **TOLERANCE)


@pytest.mark.parametrize(("side", "count"), [(64, 2_763_776), (256, 2_802_432)])
def test_full_size_has_the_parameter_count_of_the_release(side: int, count: int) -> None:
    with torch.device("meta"):
        network = DCDiscriminatorConfig(resolution=side).setup()
    assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.mark.parametrize("side", [16, 32, 128])
def test_each_size_is_scored_and_learns(side: int) -> None:
    network = DCDiscriminatorConfig(resolution=side, last_channels=8).setup(pose_centre=torch.zeros(2))
    output = network(torch.rand(3, 3, side, side) * 2 - 1, fade=0.5)
    assert output.score.shape == (3,)
    output.score.sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())


@pytest.mark.parametrize("shape", [(16, 16), (64, 64), (32, 16)])
def test_other_sizes_of_pictures_are_refused(shape: tuple[int, int]) -> None:
    network = DCDiscriminatorConfig(resolution=32, last_channels=4).setup()
    with pytest.raises(UserError, match=rf"{shape[0]} x {shape[1]} pixels.*takes 32 x 32 alone"):
        network(torch.zeros(1, 3, *shape))


@pytest.mark.parametrize("resolution", [0, 8, 48])
def test_other_resolutions_are_refused(resolution: int) -> None:
    with pytest.raises(UserError, match=f"resolution is {resolution}, but"):
        DCDiscriminator(DCDiscriminatorConfig(resolution=resolution))
