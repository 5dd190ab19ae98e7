"""Equalised layers and FIR resampling: laws, slow references and known answers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.testing import assert_close

from gan3d_ns.field_components.style_layers import (
    EqualisedConv2d,
    EqualisedLinear,
    fir_downsample2d,
    fir_filter2d,
    fir_upsample2d,
)

TAPS = [(1.0, 3.0, 3.0, 1.0), (1.0, 1.0), (1.0, 5.0, 10.0, 10.0, 5.0, 1.0)]


def zeros_between(images: Tensor) -> Tensor:
    batch, channels, rows, columns = images.shape
    spread = torch.zeros(batch, channels, 2 * rows, 2 * columns)
    spread[:, :, ::2, ::2] = images
    return spread


def slow_filter(images: Tensor, taps: tuple[float, ...], before: int, after: int) -> Tensor:
    """The definition, pixel by pixel, with the square kernel."""
    weights = torch.tensor(taps)
    square = weights[:, None] * weights / weights.sum() ** 2
    padded = functional.pad(images, (before, after, before, after))
    rows, columns = (padded.shape[axis] - len(taps) + 1 for axis in (2, 3))
    filtered = torch.zeros(*images.shape[:2], rows, columns)
    for row in range(rows):
        for column in range(columns):
            window = padded[:, :, row : row + len(taps), column : column + len(taps)]
            filtered[:, :, row, column] = (window * square).sum(dim=(2, 3))
    return filtered


@pytest.mark.parametrize("taps", TAPS)
def test_resampling_follows_its_definition(taps: tuple[float, ...]) -> None:
    images, extra = torch.randn(2, 3, 4, 6), len(taps) - 2
    before, after = (extra + 1) // 2, extra // 2
    assert_close(fir_downsample2d(images, taps), slow_filter(images, taps, before, after)[:, :, ::2, ::2])
    doubled = slow_filter(zeros_between(images), taps, before + 1, after) * 4
    assert_close(fir_upsample2d(images, taps), doubled)
    assert_close(fir_filter2d(images, taps, (2, 1)), slow_filter(images, taps, 2, 1))


def test_the_default_filter_is_bilinear_away_from_the_border_and_fades_there() -> None:
    images = torch.rand(1, 2, 5, 5)
    bilinear = functional.interpolate(images, scale_factor=2, mode="bilinear", align_corners=False)
    assert_close(fir_upsample2d(images)[:, :, 1:-1, 1:-1], bilinear[:, :, 1:-1, 1:-1])
    plain = fir_upsample2d(torch.ones(1, 1, 4, 4))
    assert_close(plain[0, 0, 0, 3], torch.tensor(0.75))
    assert_close(plain[0, 0, 0, 0], torch.tensor(9 / 16))


@pytest.mark.parametrize("taps", TAPS)
def test_down_is_a_quarter_of_the_transpose_of_up(taps: tuple[float, ...]) -> None:
    """<up(x), y> = 4 <x, down(y)>: the two have the same filter."""
    small, large = torch.randn(1, 2, 4, 5), torch.randn(1, 2, 8, 10)
    assert_close((fir_upsample2d(small, taps) * large).sum(), 4 * (small * fir_downsample2d(large, taps)).sum())


@pytest.mark.parametrize("rate", [1.0, 0.01])
def test_a_linear_layer_keeps_the_variance_whatever_its_rate(rate: float) -> None:
    layer = EqualisedLinear(400, 300, initial_bias=2.0, rate=rate)
    outputs = layer(torch.randn(200, 400))
    assert_close(outputs.mean(), torch.tensor(2.0), atol=0.05, rtol=0)
    assert_close(outputs.std(), torch.tensor(1.0), atol=0.05, rtol=0)


@pytest.mark.parametrize("rate", [1.0, 0.01])
def test_a_sign_step_moves_the_outputs_by_the_rate(rate: float) -> None:
    """A step of size s on each weight and bias moves the output for an input of ones by s rate (sqrt(in) + 1)."""
    layer = EqualisedLinear(16, 3, rate=rate)
    inputs = torch.ones(1, 16)
    before = layer(inputs)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 0.5
    assert_close(layer(inputs) - before, torch.full((1, 3), 0.5 * rate * (math.sqrt(16) + 1)), atol=1e-4, rtol=1e-4)


def test_a_convolution_keeps_the_variance_and_the_size() -> None:
    layer = EqualisedConv2d(64, 48, 3)
    outputs = layer(torch.randn(4, 64, 16, 16))
    assert outputs.shape == (4, 48, 16, 16)
    assert_close(outputs[:, :, 1:-1, 1:-1].std(), torch.tensor(1.0), atol=0.06, rtol=0)
    strided = EqualisedConv2d(2, 5, 3, stride=2, padding=0, bias=False)
    images = torch.randn(1, 2, 9, 9)
    assert_close(strided(images), functional.conv2d(images, strided.weight / math.sqrt(18), stride=2))
