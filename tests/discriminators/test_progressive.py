import pytest
import torch
from torch.testing import assert_close

from gan3d_ns.discriminators.progressive import (
    ProgressiveDiscriminator,
    ProgressiveDiscriminatorConfig,
    convert_released_state,
)
from gan3d_ns.errors import UserError

WEIGHTS = {
    "progressive": "gof_discriminator_weights",
    "ccs": "pigan_ccsencoder_discriminator_weights",
    "strided": "pigan_strided_discriminator_weights",
}
# The file of recorded outputs, and what the names in it begin with.
OUTPUTS = {
    "progressive": ("gof_discriminator", ""),
    "ccs": ("pigan_discriminator", "ccsencoder_"),
    "strided": ("pigan_discriminator", "strided_"),
}


@pytest.fixture(scope="module")
def released(load_fixture):
    def read(architecture):
        return {name.removeprefix("weights/"): tensor for name, tensor in load_fixture(WEIGHTS[architecture]).items()}

    return read


@pytest.fixture(scope="module", params=list(WEIGHTS))
def published(released, request):
    network = ProgressiveDiscriminatorConfig(resolution=128, architecture=request.param).setup()
    network.load_state_dict(convert_released_state(released(request.param), 128, request.param))
    return network.requires_grad_(False)


@pytest.mark.parametrize("side", [32, 64, 128])
@pytest.mark.parametrize(("label", "fade"), [("alpha10", 1.0), ("alpha03", 0.3)])
def test_outputs_match_the_original(load_fixture, published, side, label, fade):
    name, prefix = OUTPUTS[published.config.architecture]
    reference = load_fixture(name)
    output = published(reference[f"images{side}"], fade=fade)
    expected = f"{prefix}res{side}_{label}"
    assert_close(output.score[:, None], reference[f"{expected}_score"], atol=1e-4, rtol=1e-4)
    if published.config.architecture == "strided":
        assert output.latent is None
        assert output.pose is None
        return
    assert_close(output.latent, reference[f"{expected}_latent"], atol=1e-4, rtol=1e-4)
    assert_close(output.pose, reference[f"{expected}_position"], atol=1e-4, rtol=1e-4)


# The original progressive network has 20,202,931 with a second head, the original strided one 12,805,489 with a
# linear layer of 400 x 2 + 400 numbers; neither takes part in a loss.
@pytest.mark.parametrize(
    ("architecture", "side", "count"),
    [("progressive", 512, 12_825_523), ("ccs", 256, 13_291_075), ("strided", 256, 12_805_489 - 1200)],
)
def test_the_full_network_has_the_originals_parameters_without_the_unused_layers(released, architecture, side, count):
    with torch.device("meta"):
        network = ProgressiveDiscriminatorConfig(resolution=side, architecture=architecture).setup()
    assert sum(parameter.numel() for parameter in network.parameters()) == count
    ours = {name: tensor.shape for name, tensor in network.state_dict().items()}
    theirs = convert_released_state(released(architecture), side, architecture)
    assert ours == {name: tensor.shape for name, tensor in theirs.items()}


def test_a_foreign_checkpoint_is_refused():
    with pytest.raises(UserError, match=r"'siren\.weight' is no weight of the published progressive"):
        convert_released_state({"siren.weight": torch.zeros(1)}, 128)


@pytest.mark.parametrize("architecture", ["progressive", "ccs"])
def test_the_latent_estimate_can_be_left_out(architecture):
    config = ProgressiveDiscriminatorConfig(resolution=8, latent_dim=0, architecture=architecture)
    output = config.setup()(torch.zeros(2, 3, 8, 8))
    assert output.latent is None
    assert output.pose.shape == (2, 2)


@pytest.mark.parametrize("architecture", ["progressive", "ccs"])
def test_pose_centre_moves_the_pose_alone(architecture):
    def setup(centre):
        torch.manual_seed(0)
        config = ProgressiveDiscriminatorConfig(resolution=8, latent_dim=4, architecture=architecture)
        return config.setup(pose_centre=centre)

    images, centre = torch.rand(2, 3, 8, 8), torch.tensor([1.5, 1.7])
    plain, moved = setup(None)(images), setup(centre)(images)
    assert_close(moved.pose, plain.pose + centre)
    assert_close(moved.score, plain.score)
    assert_close(moved.latent, plain.latent)


def test_a_discriminator_without_a_pose_takes_a_pose_centre_and_keeps_its_score():
    def setup(centre):
        torch.manual_seed(0)
        return ProgressiveDiscriminatorConfig(resolution=8, architecture="strided").setup(pose_centre=centre)

    images = torch.rand(2, 3, 8, 8)
    assert_close(setup(torch.tensor([1.5, 1.7]))(images).score, setup(None)(images).score, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("architecture", "chosen", "kaiming"),
    [("progressive", None, False), ("progressive", True, True), ("ccs", None, True), ("ccs", False, False)],
)
def test_kaiming_initialisation_keeps_the_variance_of_the_fan_in(architecture, chosen, kaiming):
    network = ProgressiveDiscriminatorConfig(
        resolution=16, architecture=architecture, kaiming_initialisation=chosen
    ).setup()
    for convolution in (network.blocks["16"].first, network.blocks["16"].second):
        weight = convolution.weight
        # The framework's own: uniform, with a third of the variance 1 / fan_in.
        variance = (2 / 1.04 if kaiming else 1 / 3) / weight[0].numel()
        assert_close(weight.std().item(), variance**0.5, rtol=0.02, atol=0)


@pytest.mark.parametrize(
    ("resolution", "architecture"), [(2, "ccs"), (48, "strided"), (1024, "progressive"), (512, "ccs"), (512, "strided")]
)
def test_impossible_resolutions_are_refused(resolution, architecture):
    config = ProgressiveDiscriminatorConfig(resolution=resolution, architecture=architecture)
    with pytest.raises(UserError, match=f"resolution is {resolution}"):
        ProgressiveDiscriminator(config)
