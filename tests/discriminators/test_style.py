"""VolumeGAN's discriminator against the numbers of the original release."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from gan3d_ns.discriminators.style import StyleDiscriminator, StyleDiscriminatorConfig, convert_released_state
from gan3d_ns.errors import UserError
from gan3d_ns.model_components import losses

TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}
RECORDED = {"resolution": 32, "base_channels": 8, "max_channels": 16}
LAZY_R1_WEIGHT = 10.0 * 16
"""gamma of 10 over every 16th step; ours has the half inside."""


@pytest.fixture(scope="module")
def arrays(load_fixture):
    return load_fixture("volumegan_discriminator")


@pytest.fixture(scope="module")
def recorded(arrays) -> StyleDiscriminator:
    network = StyleDiscriminatorConfig(**RECORDED).setup()
    prefix = "weights/"
    network.load_authors_weights(
        {f"module.{name.removeprefix(prefix)}": tensor for name, tensor in arrays.items() if prefix in name}
    )
    return network.requires_grad_(False)


@pytest.mark.parametrize("level_of_detail", [0.0, 0.3, 0.7, 1.0, 1.3, 2.0])
def test_scores_match_the_original_at_each_level_of_detail(arrays, recorded, level_of_detail: float) -> None:
    images = arrays["images"]
    for _ in range(int(level_of_detail)):
        images = functional.avg_pool2d(images, 2)
    output = recorded(images, fade=1 - level_of_detail % 1)
    expected = arrays[f"score_lod{round(10 * level_of_detail):02d}"]
    assert_close(output.score[:, None], expected, **TOLERANCE)
    assert output.pose is None


def test_a_smaller_batch_is_a_group_of_its_own(arrays, recorded) -> None:
    assert_close(recorded(arrays["images"][:2]).score[:, None], arrays["score_first2_lod00"], **TOLERANCE)


def test_losses_and_penalty_match_the_original(arrays, recorded) -> None:
    real = arrays["images"].clone().requires_grad_(True)
    on_real, on_fake = recorded(real).score, recorded(arrays["fake"]).score
    assert_close(on_fake[:, None], arrays["loss_score_fake"], **TOLERANCE)
    expected = arrays["loss_d_real"] + arrays["loss_d_fake"]
    assert_close(losses.non_saturating_discriminator_loss(on_real, on_fake), expected, **TOLERANCE)
    assert_close(losses.non_saturating_generator_loss(on_fake), arrays["loss_g"], **TOLERANCE)
    assert_close(LAZY_R1_WEIGHT * losses.r1_penalty(on_real, real), arrays["loss_r1"], **TOLERANCE)


def test_full_size_has_the_parameter_count_of_the_release() -> None:
    with torch.device("meta"):
        network = StyleDiscriminatorConfig().setup()
    assert sum(parameter.numel() for parameter in network.parameters()) == 28_875_393


@pytest.mark.parametrize("batch", [1, 3, 8])
@pytest.mark.parametrize("side", [8, 16, 32])
def test_each_stage_is_scored_and_fades_in_from_the_one_before(batch: int, side: int) -> None:
    network = StyleDiscriminatorConfig(**RECORDED).setup(pose_centre=torch.zeros(2))
    images = torch.rand(batch, 3, side, side) * 2 - 1
    score = network(images, fade=0.0).score
    assert score.shape == (batch,)
    if side > 8:
        assert_close(score, network(functional.avg_pool2d(images, 2)).score)


def test_all_weights_of_the_stages_in_use_learn() -> None:
    network = StyleDiscriminatorConfig(**RECORDED).setup()
    network(torch.rand(3, 3, 32, 32) * 2 - 1, fade=0.5).score.sum().backward()
    still = {name for name, parameter in network.named_parameters() if parameter.grad is None}
    assert still == {f"from_rgb.{side}.convolution.{kind}" for side in (4, 8) for kind in ("weight", "bias")}


def test_an_untrained_tower_passes_smooth_pictures_on_at_their_size() -> None:
    """What the gains are for: the signal neither dies nor explodes on its way (noise is filtered away)."""
    network = StyleDiscriminatorConfig(resolution=128, base_channels=64, max_channels=64).setup()
    images = functional.interpolate(torch.randn(4, 3, 2, 2), size=128, mode="bilinear")
    with torch.no_grad():
        ratio = network.features(images).square().mean() / images.square().mean()
    assert 0.1 < ratio < 4


@pytest.mark.parametrize("shape", [(4, 4), (64, 64), (32, 16)])
def test_other_sizes_of_pictures_are_refused(shape: tuple[int, int]) -> None:
    network = StyleDiscriminatorConfig(**RECORDED).setup()
    with pytest.raises(UserError, match="squares with a side of 8, 16, 32;"):
        network(torch.zeros(1, 3, *shape))


@pytest.mark.parametrize("resolution", [4, 48])
def test_impossible_resolutions_are_refused(resolution: int) -> None:
    with pytest.raises(UserError, match=f"resolution is {resolution}, but"):
        StyleDiscriminator(StyleDiscriminatorConfig(resolution=resolution))


def test_an_empty_group_is_refused() -> None:
    with pytest.raises(UserError, match="deviation_group is 0"):
        StyleDiscriminator(StyleDiscriminatorConfig(resolution=8, deviation_group=0))


def test_a_foreign_checkpoint_is_refused() -> None:
    with pytest.raises(UserError, match=r"'mapping\.dense0\.weight' is no weight of VolumeGAN's"):
        convert_released_state({"mapping.dense0.weight": torch.zeros(1)})
