"""The check renderer against closed forms, and against gsplat's own twin and rasterizer."""

from __future__ import annotations

import math

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras

from gan3d_ns.cameras.pose_prior import PosePrior, PosePriorConfig
from gan3d_ns.exporter.splat_render import (
    BLUR,
    gsplat_problem,
    intrinsics,
    project,
    render_splats,
    render_with_gsplat,
    world_to_camera,
)
from gan3d_ns.exporter.splats import Splats

SIDE = 41
PRIOR = PosePrior(PosePriorConfig(distribution="uniform", yaw_spread_deg=180.0, elevation_spread_deg=60.0))


def front(side: int = SIDE) -> Cameras:
    return PRIOR.cameras(PRIOR.mean_pose()[None], side)[0:1]


def splats_at(positions: list[list[float]], scale: float = 0.004, opacity: float = 0.5) -> Splats:
    num = len(positions)
    return Splats(
        torch.tensor(positions),
        torch.full((num, 3), scale),
        torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(num, 1),
        torch.full((num,), opacity),
        torch.eye(3)[torch.arange(num) % 3],
    )


def random_splats(num: int) -> Splats:
    return Splats(
        0.05 * torch.randn(num, 3),
        torch.exp(torch.randn(num, 3) * 0.7 - 5.5),
        torch.randn(num, 4),
        torch.rand(num) * 0.9 + 0.05,
        torch.rand(num, 3),
    )


def test_one_gaussian_is_a_gaussian_in_the_picture() -> None:
    scale, opacity = 0.004, 0.6
    picture = render_splats(splats_at([[0.0, 0.0, 0.0]], scale, opacity), front())
    focal = (SIDE - 1) / 2 / math.tan(math.radians(6.0))
    variance = (focal * scale) ** 2 + BLUR
    offsets = torch.arange(SIDE) - (SIDE - 1) / 2
    squares = offsets[:, None] ** 2 + offsets[None, :] ** 2
    expected = opacity * torch.exp(-0.5 * squares / variance)
    expected = torch.where(expected < 1 / 255, 0.0, expected)
    torch.testing.assert_close(picture.accumulation, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(picture.rgb[..., 0], expected, atol=1e-5, rtol=1e-4)
    assert not picture.rgb[..., 1:].any()


def test_a_point_lands_on_the_pixel_whose_ray_meets_it() -> None:
    poses = PRIOR.sample(3, torch.Generator().manual_seed(0))
    for pose in poses:
        camera, row, column = PRIOR.cameras(pose[None], SIDE)[0:1], 7, 30
        ray = PRIOR.rays(pose[None], SIDE)
        point = (ray.origins + ray.directions)[0, row * SIDE + column]
        projected = project(splats_at([point.tolist()]), camera)
        torch.testing.assert_close(projected.centres[0], torch.tensor([column + 0.5, row + 0.5]), atol=2e-3, rtol=0)
        picture = render_splats(splats_at([point.tolist()]), camera)
        assert divmod(int(picture.accumulation.argmax()), SIDE) == (row, column)


def test_covariances_are_those_of_many_projected_points() -> None:
    splats = Splats(
        torch.tensor([[0.02, -0.03, 0.01]]),
        torch.tensor([[0.008, 0.003, 0.001]]),
        torch.tensor([[0.5, 0.2, -0.7, 0.3]]),
        torch.ones(1),
        torch.ones(1, 3),
    )
    camera = front(400)
    drawn = splats.positions + torch.randn(200_000, 3) * splats.scales @ splats.matrices[0].T
    centres = project(splats_at(drawn.tolist()), camera).centres
    projected = project(splats, camera)
    found = torch.cov(centres.T) + BLUR * torch.eye(2)
    torch.testing.assert_close(projected.covariances[0], found, rtol=0.02, atol=0.1)


def test_the_nearer_of_two_hides_the_other_whatever_their_order() -> None:
    near_and_far = [[0.0, 0.0, 0.05], [0.0, 0.0, -0.05]]
    middle = (SIDE - 1) // 2
    first = render_splats(splats_at(near_and_far), front(), background=1.0)
    # .5 red, .25 green, .25 of the white background
    torch.testing.assert_close(first.rgb[middle, middle], torch.tensor([0.75, 0.5, 0.25]), atol=1e-4, rtol=0)
    torch.testing.assert_close(first.accumulation[middle, middle], torch.tensor(0.75), atol=1e-4, rtol=0)
    # The first in the list is red: now it is the far one.
    swapped = render_splats(splats_at(near_and_far[::-1]), front(), background=1.0)
    torch.testing.assert_close(swapped.rgb[middle, middle], torch.tensor([0.5, 0.75, 0.25]), atol=1e-4, rtol=0)


def test_what_lies_behind_the_camera_or_beside_the_frame_is_not_seen() -> None:
    picture = render_splats(splats_at([[0.0, 0.0, 1.5], [0.5, 0.0, 0.0]]), front())
    assert not picture.accumulation.any()


def test_bands_of_rows_make_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    import gan3d_ns.exporter.splat_render as module

    splats = random_splats(200)
    whole = render_splats(splats, front())
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 7)
    torch.testing.assert_close(render_splats(splats, front()).rgb, whole.rgb)


def test_gradients_are_those_of_finite_differences() -> None:
    splats, wanted = random_splats(12), torch.rand(SIDE, SIDE, 3)
    leaves = [value.double().requires_grad_(True) for value in vars(splats).values()]
    camera = front()
    camera.camera_to_worlds = camera.camera_to_worlds.double()

    def loss(*values: torch.Tensor) -> torch.Tensor:
        return ((render_splats(Splats(*values), camera).rgb - wanted) ** 2).sum()

    gradients = torch.autograd.grad(loss(*leaves), leaves)
    step = 1e-7
    for index, gradient in enumerate(gradients):
        direction = torch.randn_like(gradient)
        ends = [
            loss(*[value + sign * step * direction if index == at else value for at, value in enumerate(leaves)])
            for sign in (1, -1)
        ]
        expected = (ends[0] - ends[1]) / (2 * step)
        # Pixels that come and go at the edge of a splat's reach make small jumps.
        torch.testing.assert_close((gradient * direction).sum(), expected, rtol=0.05, atol=0.05)


def test_projection_equals_gsplats_own_reference() -> None:
    from gsplat.cuda._torch_impl import _fully_fused_projection

    splats = random_splats(300)
    for pose in PRIOR.sample(3, torch.Generator().manual_seed(0)):
        camera = PRIOR.cameras(pose[None], 64)[0:1]
        _, centres, depths, conics, _ = _fully_fused_projection(
            splats.positions, splats.covariances, world_to_camera(camera)[None], intrinsics(camera)[None], 64, 64
        )
        projected = project(splats, camera)
        torch.testing.assert_close(projected.centres, centres[0], atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(projected.depths, depths[0])
        inverses = projected.covariances.inverse()
        mine = torch.stack((inverses[:, 0, 0], inverses[:, 0, 1], inverses[:, 1, 1]), dim=-1)
        torch.testing.assert_close(mine, conics[0], atol=1e-4, rtol=1e-2)


@pytest.mark.gpu
def test_pictures_equal_those_of_gsplat() -> None:
    splats = random_splats(2000).to("cuda")
    for pose in PRIOR.sample(3, torch.Generator().manual_seed(0)).to("cuda"):
        camera = PRIOR.cameras(pose[None], 96)[0:1]
        with torch.no_grad():
            mine, theirs = render_splats(splats, camera, 1.0), render_with_gsplat(splats, camera, 1.0)
        # gsplat cuts splats at three standard deviations, where they are at most 1% opaque.
        assert (mine.rgb - theirs.rgb).abs().mean() < 2e-3
        torch.testing.assert_close(mine.accumulation, theirs.accumulation, atol=0.03, rtol=0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there it may work")
def test_where_gsplat_cannot_work_is_found_out_before() -> None:
    assert gsplat_problem(torch.device("cpu")) is not None
