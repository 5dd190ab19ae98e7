import pytest
import torch
from torch.testing import assert_close

from gan3d_ns.discriminators.progressive import (
    ProgressiveDiscriminator,
    ProgressiveDiscriminatorConfig,
    convert_released_state,
)
from gan3d_ns.errors import UserError


@pytest.fixture(scope="module")
def released(load_fixture):
    weights = load_fixture("gof_discriminator_weights")
    return {name.removeprefix("weights/"): tensor for name, tensor in weights.items()}


@pytest.fixture(scope="module")
def published(released):
    network = ProgressiveDiscriminatorConfig(resolution=128).setup()
    network.load_state_dict(convert_released_state(released, 128))
    return network.requires_grad_(False)


@pytest.mark.parametrize("side", [32, 64, 128])
@pytest.mark.parametrize(("label", "fade"), [("alpha10", 1.0), ("alpha03", 0.3)])
def test_outputs_match_the_original(load_fixture, published, side, label, fade):
    reference = load_fixture("gof_discriminator")
    output = published(reference[f"images{side}"], fade=fade)
    expected = f"res{side}_{label}"
    assert_close(output.score[:, None], reference[f"{expected}_score"], atol=1e-4, rtol=1e-4)
    assert_close(output.latent, reference[f"{expected}_latent"], atol=1e-4, rtol=1e-4)
    assert_close(output.pose, reference[f"{expected}_position"], atol=1e-4, rtol=1e-4)


def test_the_full_network_has_the_originals_parameters_without_the_unused_head(released):
    with torch.device("meta"):
        network = ProgressiveDiscriminatorConfig(resolution=512).setup()
    assert sum(parameter.numel() for parameter in network.parameters()) == 12_825_523
    ours = {name: tensor.shape for name, tensor in network.state_dict().items()}
    assert ours == {name: tensor.shape for name, tensor in convert_released_state(released).items()}


def test_a_foreign_checkpoint_is_refused():
    with pytest.raises(UserError, match=r"'siren\.weight' is no weight of"):
        convert_released_state({"siren.weight": torch.zeros(1)})


def test_the_latent_estimate_can_be_left_out():
    output = ProgressiveDiscriminatorConfig(resolution=8, latent_dim=0).setup()(torch.zeros(2, 3, 8, 8))
    assert output.latent is None
    assert output.pose.shape == (2, 2)


def test_pose_centre_moves_the_pose_alone():
    def setup(centre):
        torch.manual_seed(0)
        return ProgressiveDiscriminatorConfig(resolution=8, latent_dim=4).setup(pose_centre=centre)

    images, centre = torch.rand(2, 3, 8, 8), torch.tensor([1.5, 1.7])
    plain, moved = setup(None)(images), setup(centre)(images)
    assert_close(moved.pose, plain.pose + centre)
    assert_close(moved.score, plain.score)
    assert_close(moved.latent, plain.latent)


def test_kaiming_initialisation_keeps_the_variance_of_the_fan_in():
    network = ProgressiveDiscriminatorConfig(resolution=16, kaiming_initialisation=True).setup()
    weight = network.blocks["16"].first.weight
    assert_close(weight.std().item(), (2 / 1.04 / weight[0].numel()) ** 0.5, rtol=0.02, atol=0)


@pytest.mark.parametrize("resolution", [2, 48, 1024])
def test_impossible_resolutions_are_refused(resolution):
    with pytest.raises(UserError, match=f"resolution is {resolution}"):
        ProgressiveDiscriminator(ProgressiveDiscriminatorConfig(resolution=resolution))
