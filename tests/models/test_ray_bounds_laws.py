"""What holds for the part of a ray that is sampled, wherever a viewer's camera stands and looks."""

from __future__ import annotations

import torch
from camera_values import pose_priors
from hypothesis import given
from hypothesis import strategies as st
from nerfstudio.cameras.rays import RayBundle
from random_values import magnitudes, seeds

from gan3d_ns.models.ray_bounds import seen_radius, shell, with_near_and_far


@given(pose_priors(), magnitudes(1e-3, 1e3), seeds, st.booleans())
def test_every_ray_has_a_part_in_front_of_its_camera_and_none_beyond_what_was_seen(prior, distance, seed, bounded):
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(2, 20, 3, generator=generator, dtype=torch.float64)
    places, towards = torch.nn.functional.normalize(drawn, dim=-1)
    origins = distance * prior.radius * places
    # Half of the rays look at the origin, the others anywhere.
    towards[:10] = torch.nn.functional.normalize(-places[:10] + 0.05 * towards[:10], dim=-1)
    ones = torch.ones_like(origins[:, :1])
    rays = RayBundle(origins=origins, directions=towards, pixel_area=ones)
    if bounded:
        rays.nears, rays.fars = 0.5 * distance * prior.radius * ones, 2.0 * distance * prior.radius * ones
    asked = rays.nears, rays.fars
    first, last = shell(prior, origins)
    rays, valid = with_near_and_far(prior, rays)
    assert rays.nears is not None and rays.fars is not None
    assert rays.nears.isfinite().all() and rays.fars.isfinite().all()
    assert (rays.nears > 0).all() and (rays.fars > rays.nears).all()
    slack = 1e-6 * (1.0 + distance) * prior.radius
    assert (rays.nears >= first - slack).all() and (rays.fars <= last + slack).all()
    if bounded:
        assert (rays.nears >= asked[0] - slack)[valid].all() and (rays.fars <= asked[1] + slack)[valid].all()
    # The ends of what is sampled lie in the ball that the prior's cameras see, unless the shell is all there is.
    for ends in (rays.nears, rays.fars):
        reached = (origins + ends * towards).norm(dim=-1)
        assert (reached <= seen_radius(prior) * (1 + 1e-6) + slack)[valid].all()
