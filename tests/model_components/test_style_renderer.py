"""VolumeGAN's neural renderer: the recorded numbers of the release, and what 1x1 convolutions promise."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from gan3d_ns.errors import UserError
from gan3d_ns.model_components.style_renderer import StyleRenderer, StyleRendererConfig

TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}
RECORDED = StyleRendererConfig(
    feature_dim=16, code_dim=32, ray_side=8, resolution=32, channels_times_side=128, aligned=False,
    faded_borders=True,
)  # fmt: skip
SMALL = StyleRendererConfig(feature_dim=5, code_dim=4, ray_side=4, resolution=16, channels_times_side=64)
VIEWED_LATENTS = [0, 0, 1, 1]


@pytest.fixture
def published(load_fixture) -> StyleRenderer:
    weights = load_fixture("volumegan_generator_weights")
    renderer = StyleRenderer(RECORDED)
    renderer.load_authors_weights({name.removeprefix("weights/"): tensor for name, tensor in weights.items()})
    return renderer


def small_renderer(**changes) -> StyleRenderer:
    torch.manual_seed(0)
    renderer = StyleRenderer(dataclasses.replace(SMALL, **changes))
    with torch.no_grad():
        for stage in renderer.stages:
            for layer in (stage.first, stage.second, stage.colour):
                layer.bias.normal_()
            stage.first.noise_strength.fill_(0.5)
    return renderer


def styles_of(renderer: StyleRenderer, count: int = 2) -> SimpleNamespace:
    return SimpleNamespace(renderer_codes=torch.randn(count, len(renderer.style_layers), 4))


def recorded_codes(load_fixture) -> torch.Tensor:
    codes = load_fixture("volumegan_mapping")["w"][VIEWED_LATENTS]
    return codes[:, None].expand(-1, 5, -1)


def test_pictures_match_the_original(published, load_fixture) -> None:
    expected = load_fixture("volumegan_render")
    pictures = published.signed_pictures(expected["feature_map"], recorded_codes(load_fixture))
    torch.testing.assert_close(pictures, expected["image"], **TOLERANCE)


def test_stored_noise_enters_as_in_the_original(published, load_fixture, monkeypatch) -> None:
    expected, weights = load_fixture("volumegan_render"), load_fixture("volumegan_generator_weights")
    stored = iter(weights[f"weights/synthesis.layer{index}.noise"] for index in (1, 2, 3, 4))
    monkeypatch.setattr(published, "spatial_noise", lambda like, jitter: next(stored))
    codes, jitter = recorded_codes(load_fixture), torch.Generator()
    pictures = published.signed_pictures(expected["feature_map"], codes, jitter)
    torch.testing.assert_close(pictures, expected["image_const_noise"], **TOLERANCE)
    assert (expected["image_const_noise"] - expected["image"]).abs().max() > 1e-2


@pytest.mark.parametrize("level_of_detail", [0.3, 0.7, 1.0, 1.6])
def test_growing_pictures_match_the_original(published, load_fixture, level_of_detail) -> None:
    expected, weights = load_fixture("volumegan_render"), load_fixture("volumegan_generator_weights")
    state = {name.removeprefix("weights/"): tensor for name, tensor in weights.items()}
    published.load_authors_weights({**state, "synthesis.lod": torch.tensor(level_of_detail)})
    pictures = published.signed_pictures(expected["feature_map"][:1], recorded_codes(load_fixture)[:1])
    assert pictures.shape[-1] == published.side == (32 if level_of_detail < 1 else 16)
    whole = torch.nn.functional.interpolate(pictures, (32, 32), mode="nearest")
    name = f"image_lod{round(10 * level_of_detail):02d}"
    torch.testing.assert_close(whole[0], expected[name], **TOLERANCE)


def test_the_published_sizes_have_the_published_number_of_weights() -> None:
    renderer = StyleRenderer(StyleRendererConfig())
    assert sum(entry.numel() for entry in renderer.parameters()) == 2_350_479


@pytest.mark.parametrize("base_rgb", ["features", "layer"])
@pytest.mark.parametrize("fade", [1.0, 0.3])
@pytest.mark.parametrize("faded_borders", [True, False])
def test_a_ray_has_the_colour_of_a_picture_that_shows_it_all_over(base_rgb, fade, faded_borders) -> None:
    renderer = small_renderer(base_rgb=base_rgb, faded_borders=faded_borders)
    renderer.grow_to(16, fade)
    styles, feature = styles_of(renderer), torch.randn(2, 1, 5)
    image = feature[:, 0, :, None, None].expand(-1, -1, 9, 9)
    picture = renderer(image, styles)
    colour = renderer.ray_colours(feature, styles)
    inside = picture[:, :, 8:-8, 8:-8] if faded_borders else picture
    torch.testing.assert_close(inside, colour[:, 0, :, None, None].expand_as(inside), **TOLERANCE)


def test_pixels_do_not_meet_without_a_doubling() -> None:
    """Permuted rays give permuted colours, and a picture that is not doubled is made of these."""
    renderer = small_renderer()
    styles, features = styles_of(renderer), torch.randn(2, 16, 5)
    order = torch.randperm(16)
    colours = renderer.ray_colours(features, styles)
    torch.testing.assert_close(renderer.ray_colours(features[:, order], styles), colours[:, order])
    renderer.grow_to(4)
    picture = renderer(features.transpose(1, 2).unflatten(2, (4, 4)), styles)
    torch.testing.assert_close(picture.flatten(2).transpose(1, 2), renderer.ray_colours(features, styles))


def test_a_pixel_reaches_its_neighbours_only() -> None:
    """Each doubling lets a feature reach one more: the filter is four taps wide."""
    renderer = small_renderer()
    renderer.grow_to(8)
    styles, features = styles_of(renderer, 1), torch.randn(1, 5, 9, 9)
    changed = features.clone()
    changed[:, :, 4, 4] += 1.0
    moved = (renderer(changed, styles) - renderer(features, styles)).abs().amax(dim=(0, 1)) > 0
    rows, columns = torch.nonzero(moved, as_tuple=True)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (7, 10, 7, 10)


def test_noise_comes_from_the_jitter_alone() -> None:
    renderer = small_renderer()
    styles, features = styles_of(renderer), torch.randn(2, 5, 4, 4)
    assert torch.equal(renderer(features, styles), renderer(features, styles))
    first, again, other = (renderer(features, styles, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert (first - other).abs().max() > 1e-3


def test_unfinished_stages_leave_no_mark() -> None:
    renderer = small_renderer()
    styles, features = styles_of(renderer), torch.randn(2, 5, 4, 4)
    renderer.grow_to(16, fade=0.0)
    growing = renderer(features, styles)
    renderer.grow_to(8)
    before = renderer(features, styles)
    torch.testing.assert_close(growing, before.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))


def test_without_first_colours_the_base_is_the_picture() -> None:
    """Features of 1 all over, as rays before a white background have them, are white for every code."""
    renderer = StyleRenderer(dataclasses.replace(SMALL, colour_gain=0.0))
    styles = SimpleNamespace(renderer_codes=torch.randn(2, len(renderer.style_layers), 4))
    assert torch.equal(renderer(torch.ones(2, 5, 4, 4), styles), torch.ones(2, 3, 16, 16))


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(UserError, match="fewer than 3 channels"):
        StyleRendererConfig(channels_times_side=100, resolution=64)
    with pytest.raises(UserError, match="3 numbers"):
        StyleRendererConfig(feature_dim=2)
