"""What holds for compositing of any opacities, against a loop over the samples and nerfacc's functions."""

from __future__ import annotations

import math

import nerfacc
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_values import dtypes, numbers, tensors
from torch import Tensor
from torch.testing import assert_close

from gan3d_ns.model_components.compositing import (
    composite_colour,
    compositing_weights,
    depth_variance,
    expected_depth,
    median_surface,
)
from gan3d_ns.model_components.geometry import Density

EXACT = {torch.float32: 2e-6, torch.float64: 1e-9}


@st.composite
def opacities(draw: st.DrawFn, dtype: torch.dtype | None = None) -> Tensor:
    """(rays, samples): no ray or several, one sample or several, opaque and empty ones among them."""
    dtype = dtype or draw(dtypes)
    shape = (draw(st.integers(0, 3)), draw(st.integers(1, 9)))
    return draw(tensors(shape, 0.0, 1.0, dtype))


def walked(alphas: list[float]) -> list[float]:
    """The weights of one ray, sample by sample."""
    left, weights = 1.0, []
    for alpha in alphas:
        weights.append(left * alpha)
        left *= 1.0 - alpha
    return weights


@given(opacities())
def test_weights_are_those_of_a_walk_along_the_ray(alphas):
    weights = compositing_weights(alphas)
    expected = torch.tensor([walked(row) for row in alphas.tolist()], dtype=alphas.dtype).reshape(alphas.shape)
    tolerance = EXACT[alphas.dtype]
    assert_close(weights, expected, atol=tolerance, rtol=tolerance)
    assert ((weights >= 0) & (weights <= 1.0 + tolerance)).all(), "the transmittance's epsilon adds a little"
    assert (weights.sum(dim=-1) <= 1.0 + tolerance).all()
    theirs, _ = nerfacc.render_weight_from_alpha(alphas)
    assert_close(weights, theirs.to(alphas.dtype), atol=tolerance, rtol=tolerance)


@given(opacities(torch.float64), st.data())
def test_more_matter_hides_more(alphas, data):
    """Accumulation grows with every opacity, and what stands before a sample takes from its weight."""
    more = torch.maximum(alphas, data.draw(tensors(tuple(alphas.shape), 0.0, 1.0, torch.float64)))
    before, after = compositing_weights(alphas), compositing_weights(more)
    assert (after.sum(dim=-1) >= before.sum(dim=-1) - 1e-9).all()
    left_before, left_after = 1.0 - before.cumsum(dim=-1), 1.0 - after.cumsum(dim=-1)
    assert (left_after <= left_before + 1e-9).all()


@given(opacities(), st.data())
def test_rays_know_nothing_of_each_other(alphas, data):
    order = data.draw(st.permutations(range(len(alphas))))
    assert torch.equal(compositing_weights(alphas[order]), compositing_weights(alphas)[order])
    for index in range(len(alphas)):
        assert_close(compositing_weights(alphas[index]), compositing_weights(alphas)[index])


@given(st.lists(numbers(0.0, 50.0), min_size=1, max_size=6), st.data())
def test_a_piece_of_matter_may_be_cut_in_two(densities, data):
    """A density that is asked twice in its interval absorbs and shows what it did before; nerfacc says the same."""
    count = len(densities)
    steps = data.draw(st.lists(numbers(1e-3, 1.0), min_size=count, max_size=count))
    cut, share = data.draw(st.integers(0, count - 1)), data.draw(numbers(0.0, 1.0))
    geometry = Density(last_interval=steps[-1])
    ends = torch.tensor([0.0, *steps], dtype=torch.float64).cumsum(0)
    starts, values = ends[:-1], torch.tensor(densities, dtype=torch.float64)
    whole = compositing_weights(geometry.alphas(values, starts))
    theirs, _, _ = nerfacc.render_weight_from_density(starts[None], ends[None, 1:], values[None])
    assert_close(whole, theirs[0].double(), atol=1e-6, rtol=1e-6)
    middle = starts[cut] + share * steps[cut]
    last = ends[-1] - (middle if cut == count - 1 else starts[-1])
    finer = torch.cat((starts[: cut + 1], middle[None], starts[cut + 1 :]))
    twice = torch.cat((values[: cut + 1], values[cut : cut + 1], values[cut + 1 :]))
    parts = compositing_weights(Density(last_interval=float(last)).alphas(twice, finer))
    joined = torch.cat((parts[:cut], parts[cut : cut + 2].sum(dim=0, keepdim=True), parts[cut + 2 :]))
    assert_close(joined, whole, atol=1e-8, rtol=1e-8)


@given(opacities(), st.data())
def test_backgrounds_fill_what_is_left(alphas, data):
    weights = compositing_weights(alphas)
    colours = data.draw(tensors((*alphas.shape, 3), 0.0, 1.0, alphas.dtype))
    black, white = (composite_colour(weights, colours, background) for background in ("black", "white"))
    left = 1.0 - weights.sum(dim=-1, keepdim=True)
    tolerance = 10.0 * EXACT[alphas.dtype]
    assert_close(white - black, left.expand_as(black), atol=tolerance, rtol=0)
    last = composite_colour(weights, colours, "last-sample")
    assert_close(last - black, left * colours[:, -1], atol=tolerance, rtol=0)
    for seen in (black, white, last):
        assert (seen >= -tolerance).all() and (seen <= 1.0 + tolerance).all(), "a mixture of colours is a colour"
    evenly = composite_colour(weights, torch.ones_like(colours), "last-sample")
    assert_close(evenly, torch.ones_like(evenly), atol=tolerance, rtol=0)
    theirs = nerfacc.accumulate_along_rays(weights.float(), values=colours.float())
    assert_close(black.float(), theirs, atol=1e-5, rtol=0)


@given(opacities(), st.data())
def test_gradients_are_finite_and_those_of_the_walk(alphas, data):
    """Also at opacities of exactly 0 and 1, where logarithms and divisions would end."""
    colours = data.draw(tensors((*alphas.shape, 2), -1.0, 1.0, alphas.dtype))
    alphas.requires_grad_(True)
    composite_colour(compositing_weights(alphas), colours, "white").sum().backward()
    assert alphas.grad is not None and alphas.grad.isfinite().all()
    exact = alphas.detach().double().requires_grad_(True)
    left, seen = torch.ones(len(exact), dtype=torch.float64), torch.zeros(len(exact), 2, dtype=torch.float64)
    for index in range(exact.shape[1]):
        seen = seen + (left * exact[:, index])[:, None] * (colours[:, index].double() - 1.0)
        left = left * (1.0 - exact[:, index])
    seen.sum().backward()
    assert_close(alphas.grad.double(), exact.grad, atol=1e-4, rtol=1e-4)


@given(opacities(), numbers(0.01, 100.0))
def test_depths_lie_on_the_ray_and_scale_with_it(alphas, scale):
    weights, num = compositing_weights(alphas), alphas.shape[-1]
    distances = (1.0 + torch.arange(num, dtype=alphas.dtype) / num).expand_as(alphas)
    depth, variance = expected_depth(weights, distances), depth_variance(weights, distances)
    assert depth.isfinite().all() and variance.isfinite().all()
    assert ((depth >= 0) & (depth <= distances[..., -1] + 1e-5)).all()
    assert (variance >= 0).all()
    opaque = weights.sum(dim=-1) > 0.999
    assert (depth[opaque] >= distances[opaque, 0] - 1e-4).all()
    assert_close(expected_depth(weights, scale * distances), scale * depth, rtol=1e-4, atol=1e-6)


def walked_median(alphas: list[float], distances: list[float]) -> float | None:
    """Where the light of one ray falls to a half, sample by sample; None where it never does."""
    left = 1.0
    for index, (alpha, distance) in enumerate(zip(alphas, distances, strict=True)):
        after = left * (1.0 - alpha)
        if after <= 0.5:
            if index + 1 == len(distances):
                return distance
            # Light falls as exp(-density s): from `left` over `after` at the interval's end.
            share = 0.0 if after == 0.0 else math.log(left / 0.5) / math.log(left / after)
            return distance + share * (distances[index + 1] - distance)
        left = after
    return None


@given(opacities(torch.float64))
def test_the_median_is_that_of_a_walk_along_the_ray(alphas):
    distances = torch.linspace(0.5, 1.5, alphas.shape[1], dtype=torch.float64)
    hits = median_surface(compositing_weights(alphas), distances.expand_as(alphas), 9.0)
    for row, hit, depth in zip(alphas.tolist(), hits.hit, hits.depth, strict=True):
        if abs(sum(walked(row)) - 0.5) < 1e-6:
            continue  # rounding decides
        expected = walked_median(row, distances.tolist())
        assert bool(hit) == (expected is not None)
        # Behind an opaque sample nothing is left to be measured to more than the transmittance's epsilon.
        assert abs(float(depth) - (9.0 if expected is None else expected)) < 0.05
