"""CAMPARI's discriminator against the numbers of the original release."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from gan3d_ns.discriminators.coord_residual import (
    CoordResidualDiscriminator,
    CoordResidualDiscriminatorConfig,
    convert_released_state,
)
from gan3d_ns.errors import UserError
from gan3d_ns.model_components import losses

TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}
TINY = {"resolution": 32, "first_resolution": 8, "base_channels": 4, "max_channels": 8}
PUBLISHED_R1_WEIGHT = 80.0
"""10 E|grad|^2 over colours in [0, 1], as a factor of half the squared slope over [-1, 1]: 10 x 2 x 2^2."""


@pytest.fixture(scope="module")
def released(load_fixture):
    weights = load_fixture("campari_discriminator_weights")
    return {f"module.{name.removeprefix('weights/')}": tensor for name, tensor in weights.items()}


@pytest.fixture(scope="module")
def published(released) -> CoordResidualDiscriminator:
    network = CoordResidualDiscriminatorConfig().setup()
    network.load_authors_weights(released)
    return network.requires_grad_(False)


@pytest.mark.parametrize(
    ("side", "iteration", "fade"), [(32, 0, 1.0), (64, 24500, 0.3), (64, 60000, 1.0), (128, 74500, 0.3)]
)
def test_scores_match_the_original(load_fixture, published, side: int, iteration: int, fade: float) -> None:
    reference = load_fixture("campari_discriminator")
    output = published(2 * reference[f"images{side}"] - 1, fade=fade)
    assert_close(output.score[:, None], reference[f"res{side}_it{iteration}_score"], **TOLERANCE)
    assert output.pose is None


def test_losses_and_penalty_match_the_original(load_fixture, published) -> None:
    arrays = load_fixture("campari_losses")
    real = (2 * arrays["real"] - 1).requires_grad_(True)
    on_real, on_fake = published(real).score, published(2 * arrays["fake"] - 1).score
    expected = arrays["bce_real"] + arrays["bce_fake"]
    assert_close(losses.non_saturating_discriminator_loss(on_real, on_fake), expected, **TOLERANCE)
    assert_close(losses.non_saturating_generator_loss(on_fake), arrays["bce_g"], **TOLERANCE)
    assert_close(PUBLISHED_R1_WEIGHT * losses.r1_penalty(on_real, real), arrays["r1"], **TOLERANCE)


def test_halved_images_are_read_on_the_originals_grid(load_fixture, published) -> None:
    """The regular grid from corner to corner on which the original reads real pictures as well."""
    arrays = load_fixture("campari_losses")
    assert_close(published.halve_images(arrays["image128"])[0], arrays["image_resampled64"], **TOLERANCE)


def test_full_size_has_the_parameter_count_of_the_release(released) -> None:
    with torch.device("meta"):
        network = CoordResidualDiscriminatorConfig().setup()
    assert sum(parameter.numel() for parameter in network.parameters()) == 9_764_945
    ours = {name: tensor.shape for name, tensor in network.state_dict().items()}
    assert ours == {name: tensor.shape for name, tensor in convert_released_state(released).items()}


@pytest.mark.parametrize("side", [8, 16, 32])
def test_each_stage_is_scored_and_fades_in_from_the_one_before(side: int) -> None:
    network = CoordResidualDiscriminatorConfig(**TINY).setup(pose_centre=torch.zeros(2))
    images = torch.rand(3, 3, side, side) * 2 - 1
    assert network(images).score.shape == (3,)
    faded_out = network(images, fade=0.0).score
    half = functional.interpolate(images, size=side // 2, mode="bilinear", align_corners=True)
    before = network(half).score if side > TINY["first_resolution"] else network(images).score
    assert_close(faded_out, before)


def test_all_weights_of_the_stages_in_use_learn() -> None:
    network = CoordResidualDiscriminatorConfig(**TINY).setup()
    network(torch.rand(3, 3, 32, 32) * 2 - 1, fade=0.5).score.sum().backward()
    still = {name for name, parameter in network.named_parameters() if parameter.grad is None}
    assert still == {"from_rgb.8.0.weight", "from_rgb.8.0.bias"}


@pytest.mark.parametrize("shape", [(128, 128), (64, 32), (32, 64)])
def test_other_sizes_of_pictures_are_refused(shape: tuple[int, int]) -> None:
    config = CoordResidualDiscriminatorConfig(resolution=64, base_channels=2, max_channels=4)
    with pytest.raises(UserError, match="squares with a side of 32, 64;"):
        config.setup()(torch.zeros(1, 3, *shape))


def test_pictures_before_the_first_stage_are_refused_with_the_flag_that_takes_them() -> None:
    config = CoordResidualDiscriminatorConfig(resolution=64, base_channels=2, max_channels=4)
    with pytest.raises(UserError, match=r"16 pixels wide.*first-resolution 16,"):
        config.setup()(torch.zeros(1, 3, 16, 16))


@pytest.mark.parametrize(
    ("resolution", "first", "name"),
    [(48, 32, "resolution"), (4, 4, "resolution"), (32, 64, "first"), (32, 24, "first")],
)
def test_impossible_resolutions_are_refused(resolution: int, first: int, name: str) -> None:
    config = CoordResidualDiscriminatorConfig(resolution=resolution, first_resolution=first)
    with pytest.raises(UserError, match=f"^{name}(_resolution)? is "):
        CoordResidualDiscriminator(config)


def test_a_foreign_checkpoint_is_refused() -> None:
    with pytest.raises(UserError, match=r"'blocks\.0\.weight' is no weight of CAMPARI's"):
        convert_released_state({"blocks.0.weight": torch.zeros(1)})
