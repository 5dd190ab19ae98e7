"""GRAF's patch discriminator against the numbers of the original release."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from gan3d_ns.discriminators.patch import PatchDiscriminator, PatchDiscriminatorConfig
from gan3d_ns.errors import UserError
from gan3d_ns.model_components import losses

TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}


def recorded(arrays: dict[str, Tensor], side: int) -> PatchDiscriminator:
    network = PatchDiscriminator(PatchDiscriminatorConfig(resolution=side, base_channels=4))
    weights = {name.removeprefix("weights/"): value for name, value in arrays.items() if name.startswith("weights/")}
    network.load_authors_weights(weights)
    return network


@pytest.mark.parametrize("side", [32, 64, 128])
def test_scores_match_the_original(load_fixture, side: int) -> None:
    arrays = load_fixture(f"graf_discriminator{side}")
    network = recorded(arrays, side)
    assert_close(network.eval()(arrays["patches"]).score, arrays["score_eval"], **TOLERANCE)
    assert_close(network.train()(arrays["patches"]).score, arrays["score_train"], **TOLERANCE)


def test_losses_match_the_original(load_fixture) -> None:
    arrays = load_fixture("graf_discriminator32")
    network = recorded(arrays, 32).eval()
    real = arrays["real"].requires_grad_(True)
    on_real, on_fake = network(real).score, network(arrays["fake"]).score
    expected = arrays["loss_bce_real"] + arrays["loss_bce_fake"]
    assert_close(losses.non_saturating_discriminator_loss(on_real, on_fake), expected, **TOLERANCE)
    assert_close(losses.non_saturating_generator_loss(on_fake), arrays["loss_bce_g"], **TOLERANCE)
    # The paper's penalty has no 1/2 and the weight 10; ours has the 1/2.
    assert_close(20.0 * losses.r1_penalty(on_real, real), arrays["loss_r1_per_patch"], **TOLERANCE)


def test_full_size_has_the_parameter_count_of_the_release() -> None:
    network = PatchDiscriminator(PatchDiscriminatorConfig())
    assert sum(parameter.numel() for parameter in network.parameters()) == 2_635_776


@pytest.mark.parametrize("side", [16, 32, 64, 128])
def test_each_size_is_scored_and_learns(side: int) -> None:
    network = PatchDiscriminatorConfig(resolution=side, base_channels=2).setup(pose_centre=torch.zeros(2))
    output = network(torch.rand(3, 3, side, side) * 2 - 1, fade=0.5)
    assert output.score.shape == (3,)
    assert output.pose is None
    output.score.sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())


def test_no_layer_stretches_its_input_more_than_by_one() -> None:
    """Spectral normalisation, once its power iteration has settled; instance normalisation aside."""
    network = PatchDiscriminator(PatchDiscriminatorConfig(resolution=16, base_channels=4))
    for _ in range(50):
        network(torch.rand(1, 3, 16, 16))
    for layer in network.main:
        if isinstance(layer, torch.nn.Conv2d):
            assert_close(torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2), torch.tensor(1.0), atol=1e-2, rtol=0)


@pytest.mark.parametrize("shape", [(16, 16), (64, 64), (32, 16)])
def test_other_sizes_of_pictures_are_refused(shape: tuple[int, int]) -> None:
    network = PatchDiscriminator(PatchDiscriminatorConfig(resolution=32, base_channels=2))
    with pytest.raises(UserError, match=r"takes 32 x 32 alone; set --patches\.size 32"):
        network(torch.zeros(1, 3, *shape))


@pytest.mark.parametrize("resolution", [8, 24, 256])
def test_other_resolutions_are_refused(resolution: int) -> None:
    with pytest.raises(UserError, match=f"resolution is {resolution}, but"):
        PatchDiscriminator(PatchDiscriminatorConfig(resolution=resolution))


@pytest.mark.parametrize("instance_norm", [True, False])
def test_instance_norm_hides_the_contrast_of_a_patch(instance_norm: bool) -> None:
    torch.manual_seed(0)
    config = PatchDiscriminatorConfig(resolution=16, base_channels=16, instance_norm=instance_norm)
    discriminator = PatchDiscriminator(config).eval()
    images = torch.rand(4, 3, 16, 16) * 2 - 1
    same = torch.allclose(discriminator(images).score, discriminator(0.3 * images).score, atol=1e-3)
    assert same == instance_norm
