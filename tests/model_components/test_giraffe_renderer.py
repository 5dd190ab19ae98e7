"""GIRAFFE's neural renderer against the numbers of the original release, and the law of its rays' colours."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from gan3d_ns.model_components.giraffe_renderer import (
    GiraffeRenderer,
    GiraffeRendererConfig,
    doubled_colours,
    load_giraffe_renderer,
)

TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}


def renderer(**sizes) -> GiraffeRenderer:
    torch.manual_seed(0)
    return GiraffeRendererConfig(**{"feature_dim": 16, "min_channels": 8, "resolution": 64, **sizes}).setup()


def weights_in(arrays: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def test_pictures_of_64_pixels_match_the_original(load_fixture) -> None:
    expected, own = load_fixture("giraffe_render"), renderer()
    load_giraffe_renderer(own, weights_in(load_fixture("giraffe_generator_weights"), "weights/neural_renderer."))
    pictures = own(expected["feature_map"][[0, 3]], None)
    assert_close(pictures, expected["image_views03"], **TOLERANCE)


def test_pictures_of_256_pixels_match_the_original(load_fixture) -> None:
    expected = load_fixture("giraffe_renderer256")
    own = renderer(feature_dim=32, resolution=256)
    load_giraffe_renderer(own, weights_in(expected, "weights/"))
    picture = own(expected["feature_map"], None)
    assert_close(picture[..., ::3, ::3], expected["image_every3"], **TOLERANCE)
    assert_close(picture[..., :12, :12], expected["image_corner"], **TOLERANCE)


@pytest.mark.parametrize(("sizes", "count"), [((128, 64), 98_313), ((256, 256), 410_383)])
def test_full_sizes_have_the_parameter_counts_of_the_release(sizes, count: int) -> None:
    own = GiraffeRendererConfig(feature_dim=sizes[0], resolution=sizes[1]).setup()
    assert sum(parameter.numel() for parameter in own.parameters()) == count


@pytest.mark.parametrize("rows", [16, 8, 5])
def test_each_block_doubles_the_size(rows: int) -> None:
    own = renderer()
    picture = own(torch.randn(2, 16, rows, rows + 1), None)
    assert picture.shape == (2, 3, 4 * rows, 4 * (rows + 1))
    assert picture.min() >= 0 and picture.max() <= 1


def test_a_rays_colour_is_that_of_a_constant_picture_away_from_its_borders() -> None:
    own, features = renderer(), torch.randn(2, 3, 16)
    colours = own.ray_colours(features, None)
    for scene in range(2):
        for ray in range(3):
            constant = features[scene, ray, None, :, None, None].expand(1, -1, 16, 16)
            middle = own(constant, None)[0, :, 28:36, 28:36]
            assert_close(middle, colours[scene, ray, :, None, None].expand(3, 8, 8), **TOLERANCE)


def test_doubled_colours_keep_a_constant_and_the_mean_of_the_inside() -> None:
    assert_close(doubled_colours(torch.full((1, 3, 4, 4), 0.7)), torch.full((1, 3, 8, 8), 0.7))
    point = torch.zeros(1, 3, 9, 9)
    point[..., 4, 4] = 1.0
    spread = doubled_colours(point)
    assert_close(spread.sum(dim=(2, 3)), torch.full((1, 3), 4.0))
    assert_close(spread, spread.flip(2))
    assert_close(spread, spread.transpose(2, 3))


def test_a_block_that_fades_in_begins_as_the_smaller_picture() -> None:
    own, features = renderer(), torch.randn(1, 16, 8, 8)
    own.doublings.fill_(1)
    small = torch.logit(own(features, None))
    own.doublings.fill_(2)
    for fade, same in ((0.0, True), (0.5, False)):
        own.fade.fill_(fade)
        assert torch.allclose(torch.logit(own(features, None)), doubled_colours(small), atol=1e-4) is same
