import copy

import pytest
import torch
from torch.testing import assert_close

from gan3d_ns.discriminators.small import (
    SmallDiscriminator,
    SmallDiscriminatorConfig,
)
from gan3d_ns.errors import UserError


def small(resolution=32, pose_centre=None):
    torch.manual_seed(0)
    config = SmallDiscriminatorConfig(resolution=resolution, base_channels=8, max_channels=16)
    return config.setup(pose_centre=pose_centre)


@pytest.mark.parametrize("batch", [1, 3, 8])
@pytest.mark.parametrize("side", [8, 16, 32, 64])
def test_every_smaller_side_and_any_batch_is_scored(batch, side):
    output = small(64)(torch.rand(batch, 3, side, side) * 2 - 1, fade=0.5)
    assert output.score.shape == (batch,)
    assert output.pose is not None
    assert output.pose.shape == (batch, 2)
    assert output.latent is None


def test_the_largest_side_has_an_adapter_and_a_block():
    assert isinstance(small(16), SmallDiscriminator)
    assert small(16).sides == [16, 8]


def test_pose_starts_near_the_given_centre():
    centre = torch.tensor([1.4, 1.6])
    pose = small(32, centre)(torch.rand(16, 3, 32, 32) * 2 - 1).pose
    assert (pose - centre).abs().max() < 0.5


def test_fade_blends_linearly_between_two_stages_before_the_next_block():
    network = small(32)
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    new = network.blocks["32"](network.from_rgb["32"](images))
    old = network.from_rgb["16"](torch.nn.functional.avg_pool2d(images, 2))
    blended = network.blocks["8"](network.blocks["16"](0.3 * new + 0.7 * old))
    assert_close(network.features(images, fade=0.3), blended)


def test_fully_faded_out_the_new_stage_has_no_say():
    network = small(32)
    images = torch.rand(4, 3, 32, 32) * 2 - 1
    halved = torch.nn.functional.avg_pool2d(images, 2)
    assert_close(network(images, fade=0.0).score, network(halved).score)


def test_weights_of_a_small_resolution_load_into_a_larger_one():
    young, grown = small(16), small(64)
    missing, unexpected = grown.load_state_dict(young.state_dict(), strict=False)
    assert not unexpected
    assert all(name.split(".")[1] in ("32", "64") for name in missing)
    images = torch.rand(2, 3, 16, 16)
    assert_close(young(images).score, grown(images).score)


def test_scores_know_positions():
    network = small(32)
    images = torch.full((2, 3, 32, 32), -1.0)
    images[0, :, 4:12, 4:12] = 1
    images[1] = images[0].flip(-1)
    score = network(images).score
    assert (score[0] - score[1]).abs() > 1e-4


@pytest.mark.parametrize("batch", [1, 4])
def test_second_order_gradient_matches_finite_differences(batch):
    network = small(16).double()
    images = torch.rand(batch, 3, 16, 16, dtype=torch.float64, requires_grad=True)

    def penalty():
        (gradient,) = torch.autograd.grad(network(images, fade=0.7).score.sum(), images, create_graph=True)
        return gradient.square().sum()

    weight = network.blocks["16"].second.weight
    (analytic,) = torch.autograd.grad(penalty(), weight)
    direction = torch.randn_like(weight)
    values = []
    for step in (1e-6, -1e-6):
        saved = copy.deepcopy(weight.data)
        weight.data += step * direction
        values.append(penalty().item())
        weight.data = saved
    assert_close((analytic * direction).sum().item(), (values[0] - values[1]) / 2e-6, rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize("resolution", [0, 8, 24, 100])
def test_impossible_resolutions_are_refused(resolution):
    with pytest.raises(UserError, match=f"resolution is {resolution}, .* power of two from 16"):
        SmallDiscriminatorConfig(resolution=resolution).setup()


@pytest.mark.parametrize("shape", [(32, 16), (24, 24), (64, 64), (4, 4)])
def test_images_of_another_size_are_refused(shape):
    with pytest.raises(UserError, match=f"{shape[0]} x {shape[1]} pixels.*8, 16, 32"):
        small(32)(torch.zeros(1, 3, *shape))
