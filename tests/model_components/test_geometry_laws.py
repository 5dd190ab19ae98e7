"""What holds for how values are read as matter, and for ways between latents."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from random_values import dtypes, magnitudes, numbers, seeds, tensors
from torch.testing import assert_close

from gan3d_ns.model_components.geometry import Density, Geometry, Occupancy
from gan3d_ns.model_components.latents import (
    SEED_RANGE,
    between,
    decode_latent,
    encode_latent,
    slerp,
    whole_seed,
)

densities = st.builds(
    Density,
    st.sampled_from(("relu", "softplus")),
    unit_length=magnitudes(1e-3, 10.0),
    thickness=magnitudes(1e-5, 1.0),
    last_interval=st.none() | numbers(0.0, 1.0),
)
geometries = st.builds(Occupancy, numbers(0.0, 1.0)) | densities


def length_of(geometry: Geometry) -> float:
    return geometry.thickness if isinstance(geometry, Density) else 1.0


@given(geometries, tensors((3, 6), -100.0, 100.0), tensors((3, 6), 0.0, 2.0), magnitudes(1e-4, 10.0))
def test_opacities_are_shares_that_grow_with_the_value(geometry, values, steps, length):
    distances = 1.0 + steps.cumsum(dim=-1)
    for opacities in (geometry.alphas(values, distances), geometry.opacity(values, length)):
        assert ((opacities >= 0) & (opacities <= 1)).all()
    assert (geometry.alphas(values + 1.0, distances) >= geometry.alphas(values, distances) - 1e-6).all()
    assert (geometry.opacity(values, 2.0 * length) >= geometry.opacity(values, length) - 1e-6).all()


@given(geometries, numbers(1e-3, 0.999))
def test_values_and_opacities_lead_to_each_other(geometry, opacity):
    """Also in matter so thin, or measured so coarsely, that its exponentials overflow."""
    value = torch.tensor(geometry.value_of(opacity), dtype=torch.float64)
    assert math.isclose(float(geometry.opacity(value, length_of(geometry))), opacity, rel_tol=1e-6, abs_tol=1e-9)
    assert math.isfinite(geometry.level)


@given(densities, numbers(-20.0, 60.0), magnitudes(1e-4, 1.0), magnitudes(1e-4, 1.0))
def test_layers_of_a_density_absorb_one_after_the_other(density, value, first, second):
    """Light that passes two lengths is the product of what passes each (Beer and Lambert)."""
    value = torch.tensor(value, dtype=torch.float64)
    passed = [1.0 - float(density.opacity(value, length)) for length in (first, second, first + second)]
    assert math.isclose(passed[0] * passed[1], passed[2], rel_tol=1e-6, abs_tol=1e-12)


@st.composite
def directions(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """Two vectors at any angle, from the same to nearly opposite ones, of any lengths."""
    dtype, angle = draw(dtypes), draw(numbers(0.0, math.pi) | st.sampled_from((1e-7, 1e-4, math.pi - 2e-3)))
    lengths = draw(magnitudes(0.01, 100.0)), draw(magnitudes(0.01, 100.0))
    random = torch.Generator().manual_seed(draw(seeds))
    frame = torch.linalg.qr(torch.randn(8, 2, generator=random, dtype=torch.float64)).Q
    first, side = frame.unbind(-1)
    second = math.cos(angle) * first + math.sin(angle) * side
    return (lengths[0] * first).to(dtype), (lengths[1] * second).to(dtype)


@given(directions(), numbers(0.0, 1.0))
def test_arcs_keep_to_their_plane_and_pace(pair, amount):
    first, second = pair
    longest = max(float(first.norm()), float(second.norm()))
    assert_close(slerp(first, second, 0.0), first, rtol=1e-4, atol=1e-5 * longest)
    assert_close(slerp(first, second, 1.0), second, rtol=1e-4, atol=1e-5 * longest)
    assert_close(slerp(first, second, amount), slerp(second, first, 1.0 - amount), rtol=1e-3, atol=1e-3 * longest)
    point = slerp(first, second, amount).double()
    assert point.isfinite().all()
    units = [torch.nn.functional.normalize(entry.double(), dim=-1) for entry in (first, second, point)]
    angle = 2.0 * math.atan2(float((units[0] - units[1]).norm()), float((units[0] + units[1]).norm()))
    if angle < math.pi - 1e-3:  # beyond there is no shortest way
        expected = torch.lerp(first.norm(), second.norm(), amount)
        assert math.isclose(float(point.norm()), float(expected), rel_tol=1e-3)
        turned = 2.0 * math.atan2(float((units[0] - units[2]).norm()), float((units[0] + units[2]).norm()))
        assert abs(turned - amount * angle) < 2e-3


@given(tensors((2, 3, 4), -1e4, 1e4), numbers(0.0, 1.0), st.sampled_from(("linear", "slerp")))
def test_ways_between_any_codes_are_finite_and_keep_the_ends(codes, amount, curve):
    first, second = codes
    reach = 1e-4 * max(1.0, float(codes.abs().max()))
    assert_close(between(first, second, 0.0, curve), first, atol=reach, rtol=1e-4)
    assert_close(between(first, second, 1.0, curve), second, atol=reach, rtol=1e-4)
    point = between(first, second, amount, curve)
    assert point.isfinite().all()
    longest = torch.maximum(first.norm(dim=-1), second.norm(dim=-1))
    assert (point.norm(dim=-1) <= longest * (1 + 1e-3) + 1e-6).all()
    assert_close(between(first, first, amount, curve), first, atol=reach, rtol=1e-4)


@given(
    st.integers() | st.floats(allow_subnormal=False) | st.text() | st.none() | st.booleans() | st.lists(st.integers())
)
def test_anything_is_a_seed(value):
    seed = whole_seed(value)
    assert type(seed) is int and 0 <= seed < SEED_RANGE
    assert whole_seed(seed) == seed
    assert int(float(seed)) == seed, "a browser's numbers hold it"


@given(
    st.integers(0, 5).flatmap(lambda rows: tensors((rows, 7), -1e30, 1e30)),
    st.dictionaries(st.text(), st.text(), max_size=4),
    st.text(st.characters(exclude_characters="/\\.\0"), min_size=1),
)
def test_latents_come_back_from_their_files_as_they_were(codes, metadata, name):
    """With any words in them: names of files may hold what UTF-8 has no form for."""
    metadata.pop("kind", None)
    saved = decode_latent(encode_latent(codes, metadata), f"{name}.safetensors")
    assert torch.equal(saved.codes, codes)
    assert saved.metadata == metadata
    assert saved.name == name
