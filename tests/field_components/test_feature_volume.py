"""VolumeGAN's feature volume: the recorded numbers of the release, and laws of styling and reading it."""

from __future__ import annotations

import pytest
import torch

from gan3d_ns.field_components.feature_volume import FeatureVolume, sample_volume

TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}
BOX = torch.tensor([[-0.1886, -0.1671, -0.1956], [0.1887, 0.1692, 0.1872]])


def in_box(points: torch.Tensor) -> torch.Tensor:
    low, high = BOX
    return (points - low) / (high - low) * 2.0 - 1.0


@pytest.fixture
def volume(load_fixture) -> FeatureVolume:
    weights = load_fixture("volumegan_generator_weights")
    prefix, volume = "weights/nerfmlp.fv.", FeatureVolume(32, (16, 8, 8))
    state = {
        name.removeprefix(prefix)
        .replace("mapping_network", "style")
        .replace("layer", "convolutions.")
        .replace("const", "constant"): tensor
        for name, tensor in weights.items()
        if name.startswith(prefix)
    }
    volume.load_state_dict(state)
    return volume


def test_volumes_match_the_original(volume, load_fixture) -> None:
    codes, expected = load_fixture("volumegan_mapping")["w"], load_fixture("volumegan_volume")
    torch.testing.assert_close(volume.style(codes), expected["scale_shift"], **TOLERANCE)
    features = volume(codes)
    torch.testing.assert_close(features[0], expected["volume_latent0"], **TOLERANCE)
    torch.testing.assert_close(features[..., ::2, ::2, ::2], expected["volume_every"], **TOLERANCE)


def test_reads_match_the_original_inside_and_outside_the_box(volume, load_fixture) -> None:
    codes, expected = load_fixture("volumegan_mapping")["w"], load_fixture("volumegan_volume")
    coordinates = in_box(expected["points"])
    torch.testing.assert_close(coordinates, expected["grid_coords"], **TOLERANCE)
    assert (coordinates.abs() > 1).any()
    reads = sample_volume(volume(codes), coordinates.expand(4, -1, -1))
    torch.testing.assert_close(reads, expected["lookup"], **TOLERANCE)


@pytest.mark.parametrize("order", ["style-then-activate", "activate-then-style"])
def test_without_scales_all_points_have_the_same_features(order) -> None:
    volume = FeatureVolume(5, (6, 4, 3), order=order)
    with torch.no_grad():
        volume.style.weight.zero_()
        volume.style.bias[: 6 + 4 + 3] = 0.0
        volume.style.bias[6 + 4 + 3 :].normal_()
    points = sample_volume(volume(torch.randn(2, 5)), torch.rand(2, 50, 3) * 2 - 1)
    torch.testing.assert_close(points, points[:, :1].expand_as(points))
    assert points.abs().sum() > 0


def test_the_orders_of_style_and_activation_differ() -> None:
    torch.manual_seed(0)
    published = FeatureVolume(5, (6, 4), order="style-then-activate")
    other = FeatureVolume(5, (6, 4), order="activate-then-style")
    other.load_state_dict(published.state_dict())
    code = torch.randn(1, 5)
    assert (published(code) - other(code)).abs().max() > 1e-3
    # Style last: the spread of a channel over the volume is the size of its scale.
    scale = other.style(code)[0, 6:10].abs()
    torch.testing.assert_close(other(code)[0].flatten(1).std(dim=1, correction=0), scale, **TOLERANCE)


def test_reads_of_a_linear_volume_are_linear_inside_and_constant_outside() -> None:
    axis = torch.linspace(-1, 1, 8)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    ramp = torch.stack((x, y, z))[None]
    points = torch.rand(1, 100, 3) * 4 - 2
    torch.testing.assert_close(sample_volume(ramp, points), points.clamp(-1, 1))


def test_reads_have_a_second_derivative_with_respect_to_the_volume() -> None:
    points = torch.rand(2, 7, 3, dtype=torch.float64) * 2.4 - 1.2
    volume = torch.randn(2, 3, 4, 4, 4, dtype=torch.float64, requires_grad=True)

    def squared(entry: torch.Tensor) -> torch.Tensor:
        return sample_volume(entry, points).square()

    assert torch.autograd.gradcheck(squared, (volume,))
    assert torch.autograd.gradgradcheck(squared, (volume,))


def test_reads_have_a_derivative_with_respect_to_the_position() -> None:
    volume = torch.randn(1, 2, 4, 4, 4, dtype=torch.float64)
    points = torch.rand(1, 6, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda entry: sample_volume(volume, entry), (points,))


def test_the_side_counts_voxels() -> None:
    volume = FeatureVolume(3, (4, 4, 2, 2))
    assert volume.side == 32 == volume(torch.randn(1, 3)).shape[-1]


@pytest.mark.parametrize("moving", [False, True])
def test_reads_of_a_volume_in_half_precision_have_gradients(moving: bool) -> None:
    """The volume comes out of convolutions in half precision, and gradients go back outside of it."""
    convolution = torch.nn.Conv3d(2, 2, 3, padding=1)
    coordinates = torch.rand(1, 5, 3).requires_grad_(moving)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        read = sample_volume(convolution(torch.randn(1, 2, 4, 4, 4)), coordinates)
    assert read.dtype == torch.float32
    read.sum().backward()
    assert convolution.weight.grad is not None and bool(convolution.weight.grad.any())
