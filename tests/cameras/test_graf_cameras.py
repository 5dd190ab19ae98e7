"""GRAF's cameras: its recorded rays in our frame, and the laws of its pose distributions."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from gan3d_ns.cameras.patches import Patches
from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS, PosePriorConfig
from gan3d_ns.cameras.viewpoints import Viewpoints
from gan3d_ns.errors import UserError
from gan3d_ns.fields.nerf_field import world_to_field_rotation

PRESETS = ["graf-carla", "graf-celeba", "graf-cats", "graf-cub"]
SCALE = 10.0


def recorded_poses(camera: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Our (pitch, yaw) and radii; GRAF's azimuth 0 is our front, and runs the other way."""
    azimuth, polar = camera["azimuth_polar"].unbind(-1)
    return torch.stack((polar, math.pi / 2 - azimuth), dim=-1), camera["u_v_radius"][:, 2] / SCALE


def frame_coordinates(side: int) -> Tensor:
    """Where GRAF's pixels lie in our frame: pixel 0 on the left border, the last one a pixel short of the right."""
    steps = 2.0 * torch.arange(side) / side - 1.0
    down, right = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack((right, down), dim=-1).reshape(1, -1, 2)


@pytest.mark.parametrize("fov_deg", [10, 30])
def test_cameras_match_the_original(load_fixture, fov_deg: int) -> None:
    camera, rotation = load_fixture("graf_camera"), world_to_field_rotation(0.0)
    poses, radii = recorded_poses(camera)
    prior = replace(POSE_PRIOR_PRESETS["graf-celeba"], fov_deg=float(fov_deg)).setup()
    turned = rotation @ prior.camera_to_world(poses)
    assert_close(turned[:, :, :3], camera["cam2world"][:, :, :3], atol=1e-5, rtol=0)
    rays = prior.viewpoint_rays_at(Viewpoints(poses, radii), frame_coordinates(8).expand(6, -1, -1))
    expected = camera[f"fov{fov_deg}_ray_dirs"]
    assert_close(SCALE * rays.origins @ rotation.T, camera[f"fov{fov_deg}_ray_origins"], atol=1e-4, rtol=0)
    assert_close(rays.directions @ rotation.T, torch.nn.functional.normalize(expected, dim=-1), atol=1e-5, rtol=0)
    # GRAF's directions have depth 1 along the axis: its near times one of them ends where our near does.
    assert rays.nears is not None
    near = (prior.config.near - (prior.config.largest_radius - radii))[:, None, None] * expected
    assert_close((rays.nears * rays.directions) @ rotation.T, near, atol=1e-5, rtol=0)


def test_patches_of_rays_match_the_original(load_fixture) -> None:
    camera, patches = load_fixture("graf_camera"), load_fixture("graf_patches")
    rotation, chosen = world_to_field_rotation(0.0), patches["pose_index"].long()
    poses, radii = recorded_poses(camera)
    # A 64-pixel picture's corners are its outer pixels, of which GRAF's last one stands a pixel inside our frame.
    coordinates = patches["coords"][[1, 3]].flatten(1, 2) * 63 / 64 - 1 / 64
    prior = PosePriorConfig(fov_deg=30.0).setup()
    rays = prior.viewpoint_rays_at(Viewpoints(poses[chosen], radii[chosen]), coordinates)
    expected = torch.nn.functional.normalize(patches["ray_patch_dirs"], dim=-1)
    assert_close(rays.directions @ rotation.T, expected, atol=1e-4, rtol=0)
    assert_close(SCALE * rays.origins @ rotation.T, patches["ray_patch_origins"], atol=1e-4, rtol=0)


def test_patterns_and_patches_of_pictures_match_the_original(load_fixture) -> None:
    recorded = load_fixture("graf_patches")
    scale, shifts = recorded["scale_shiftx_shifty"][:, 0], recorded["scale_shiftx_shifty"][:, 1:]
    patches = Patches(scale, shifts, side=32)
    assert_close(patches.coordinates(), recorded["coords"].flatten(1, 2), atol=1e-6, rtol=0)
    for index in (1, 2):
        pixels = patches[index : index + 1].of(recorded["image"])[0].flatten(1).T
        assert_close(pixels, recorded[f"image_patch{index}"], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("name", "polar_deg", "yaw_deg", "radii"),
    [
        ("graf-carla", (0.0, 85.0), (-180.0, 180.0), (1.0, 1.0)),
        ("graf-celeba", (70.0, 85.0), (-45.0, 45.0), (0.95, 1.05)),
        ("graf-cats", (70.0, 85.0), (-35.0, 35.0), (1.0, 1.0)),
        ("graf-cub", (60.0, 95.0), (-180.0, 180.0), (0.9, 1.1)),
    ],
)
def test_poses_fill_the_published_ranges_evenly_by_area(name, polar_deg, yaw_deg, radii) -> None:
    prior, randomness = POSE_PRIOR_PRESETS[name].setup(), torch.Generator().manual_seed(0)
    pitch, yaw = prior.sample(20_000, randomness).unbind(-1)
    low, high = (math.cos(math.radians(degrees)) for degrees in reversed(polar_deg))
    assert_close(pitch.cos().aminmax(), (torch.tensor(low), torch.tensor(high)), atol=3e-3, rtol=0)
    assert_close(pitch.cos().mean(), torch.tensor((low + high) / 2), atol=1e-2, rtol=0)
    expected = torch.tensor(yaw_deg) + 90.0
    assert_close(torch.stack(torch.rad2deg(yaw).aminmax()), expected, atol=0.2, rtol=0)
    drawn = prior.sample_radii(20_000, randomness)
    if radii[0] == radii[1]:
        assert drawn is None
    else:
        assert_close(torch.stack(drawn.aminmax()), torch.tensor(radii), atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", PRESETS)
def test_every_distance_samples_the_same_space(name: str) -> None:
    """The nearest and the farthest points of a view lie on the same two planes, whatever the camera's distance."""
    prior = POSE_PRIOR_PRESETS[name].setup()
    config, poses = prior.config, prior.mean_pose().expand(3, 2)
    radii = config.radius + config.radius_spread * torch.tensor([-1.0, 0.0, 1.0])
    rays, backward = prior.viewpoint_rays(Viewpoints(poses, radii), 5), prior.camera_to_world(poses)[:, None, :, 2]
    assert rays.nears is not None and rays.fars is not None
    for distances, height in (
        (rays.nears, config.largest_radius - config.near),
        (rays.fars, config.largest_radius - config.far),
    ):
        heights = ((rays.origins + distances * rays.directions) * backward).sum(-1)
        assert_close(heights, torch.full_like(heights, height), atol=1e-5, rtol=0)


def test_without_planar_depth_all_rays_end_at_the_same_distance() -> None:
    prior = replace(POSE_PRIOR_PRESETS["graf-carla"], planar_depth=False).setup()
    rays = prior.rays(prior.mean_pose()[None], 4)
    assert rays.fars is not None
    assert rays.fars.unique().tolist() == [1.25]


@pytest.mark.parametrize("spread", [-0.1, 0.5])
def test_an_impossible_range_of_distances_is_refused(spread: float) -> None:
    with pytest.raises(UserError, match="radius_spread is"):
        PosePriorConfig(radius_spread=spread).setup()
