"""What holds for where the objects of any scene stand."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from random_values import dtypes, numbers, tensors
from torch.testing import assert_close

from gan3d_ns.fields.placement import first_free, in_box, in_range, number_of_objects, turned, uniforms_of

triples = st.tuples(*[numbers(-10.0, 10.0)] * 3)


@given(tensors((5, 3), -1e3, 1e3), triples, st.tuples(*[numbers(0.0, 5.0)] * 3), st.booleans())
def test_any_latent_places_an_object_within_its_range(latents, lowest, extent, one_for_all):
    highest = tuple(low + length for low, length in zip(lowest, extent, strict=True))
    uniforms = uniforms_of(latents[:, :1] if one_for_all else latents)
    assert ((uniforms >= 0) & (uniforms <= 1)).all()
    found = in_range(uniforms, lowest, highest)
    low, high = torch.tensor(lowest), torch.tensor(highest)
    assert ((found >= low - 1e-5) & (found <= high + 1e-5)).all()
    order = uniforms[:, 0].argsort()
    assert (found[order, 0].diff() >= -1e-5).all(), "a larger latent, a larger number"


@given(tensors((4, 3)), triples, numbers(-7.0, 7.0), st.tuples(*[numbers(0.05, 5.0)] * 3), dtypes)
def test_boxes_hold_what_stands_in_them(points, translation, angle, scales, dtype):
    """p_box = R (p - t) / s, and back by hand."""
    points, moved = points.to(dtype), torch.tensor(translation, dtype=dtype)
    found = in_box(points, moved, torch.tensor(angle, dtype=dtype), torch.tensor(scales, dtype=dtype))
    back = turned(found * torch.tensor(scales, dtype=dtype), torch.tensor(-angle, dtype=dtype)) + moved
    assert_close(back, points, atol=1e-4, rtol=1e-4)
    again = turned(points, torch.tensor(angle + 2.0 * math.pi, dtype=dtype))
    assert_close(again, turned(points, torch.tensor(angle, dtype=dtype)), atol=1e-4, rtol=1e-4)
    assert_close(again.norm(dim=-1), points.norm(dim=-1), atol=1e-4, rtol=1e-4)


@given(
    st.lists(numbers(0.0, 1.0), min_size=1, max_size=5).filter(lambda weights: sum(weights) > 1e-3),
    tensors((6,), 0.0, 1.0),
)
def test_only_numbers_of_objects_that_can_be_are_drawn(weights, uniforms):
    counts = number_of_objects(uniforms, tuple(weights), len(weights))
    assert ((counts >= 1) & (counts <= len(weights))).all()
    assert all(weights[count - 1] > 0 for count in counts.tolist())
    assert (counts[uniforms.argsort()].diff() >= 0).all()
    assert (number_of_objects(uniforms, (), len(weights)) == len(weights)).all()


@given(tensors((2, 3, 4, 3), -1.0, 1.0), tensors((2, 3, 3), 0.0625, 0.5), numbers(0.0, 0.5))
def test_objects_take_the_first_of_their_places_that_is_free(places, scales, padding):
    chosen = first_free(places, scales, padding)
    for batch in range(2):
        for index in range(3):
            tries = places[batch, index]
            reach = [float(scale[:2].max()) for scale in scales[batch]]

            def free(place: torch.Tensor, batch: int = batch, index: int = index, reach: list = reach) -> bool:
                gaps = [float((place - other)[:2].abs().max()) for other in chosen[batch, :index]]
                return all(gap > reach[index] + reach[other] + padding for other, gap in enumerate(gaps))

            expected = next((place for place in tries if free(place)), tries[-1])
            near_tie = any(
                abs(float((place - other)[:2].abs().max()) - reach[index] - reach[number] - padding) < 1e-5
                for place in tries
                for number, other in enumerate(chosen[batch, :index])
            )
            assert near_tie or torch.equal(chosen[batch, index], expected)
