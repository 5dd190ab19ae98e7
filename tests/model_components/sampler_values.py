"""Strategies for rays and for what fields may answer along them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from hypothesis import strategies as st
from nerfstudio.cameras.rays import RayBundle
from random_values import DTYPES, magnitudes, numbers
from torch import Tensor

LENGTHS = (0.0, 1e-7, 1e-3, 0.24, 5.0)
"""Of what lies between near and far; also nothing, and next to nothing."""


@st.composite
def ray_bundles(draw: st.DrawFn, dtype: torch.dtype | None = None) -> RayBundle:
    """One or several rays along +z from the origin, whose distance is their z; each with its own near and far."""
    dtype = dtype or draw(st.sampled_from(list(DTYPES)))
    batch, num_rays = draw(st.sampled_from(((2, 3), (1, 4), (1, 1))))
    shape = (batch, num_rays, 1)
    ends = st.tuples(magnitudes(1e-3, 3.0), st.sampled_from(LENGTHS))
    drawn = draw(st.lists(ends, min_size=batch * num_rays, max_size=batch * num_rays))
    nears = torch.tensor([near for near, _ in drawn], dtype=dtype).reshape(shape)
    fars = nears + torch.tensor([length for _, length in drawn], dtype=dtype).reshape(shape)
    directions = torch.zeros(batch, num_rays, 3, dtype=dtype)
    directions[..., 2] = 1.0
    return RayBundle(
        origins=torch.zeros_like(directions),
        directions=directions,
        pixel_area=torch.ones_like(nears),
        nears=nears,
        fars=fars,
    )


def rays_at_origin(generator: torch.Generator, num_rays: int) -> RayBundle:
    """Rays from the unit sphere past the origin."""
    origins = torch.nn.functional.normalize(torch.randn(1, num_rays, 3, generator=generator), dim=-1)
    targets = 0.5 * torch.randn(1, num_rays, 3, generator=generator)
    ones = torch.ones_like(origins[..., :1])
    directions = torch.nn.functional.normalize(targets - origins, dim=-1)
    return RayBundle(origins=origins, directions=directions, pixel_area=ones, nears=0.3 * ones, fars=1.9 * ones)


@st.composite
def waves(draw: st.DrawFn) -> Callable[[Tensor], Tensor]:
    """Functions that are linear between random values and go through the level any number of times, or never."""
    count = draw(st.integers(1, 12))
    values = draw(st.lists(numbers(-30.0, 30.0) | st.just(0.0), min_size=count, max_size=count))
    places = np.linspace(0.0, 1.0, count)

    def wave(distances: Tensor) -> Tensor:
        return torch.from_numpy(np.interp(distances.numpy(), places, values)).to(distances.dtype)

    return wave


def along_z(rays: RayBundle, wave: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The geometry at points of the rays of `ray_bundles`: a wave that spans all their distances."""
    far = max(1e-3, float(rays.fars.max())) if rays.fars.numel() else 1.0
    return lambda points: wave(points[..., 2] / far).to(points.dtype)
