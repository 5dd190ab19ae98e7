"""GIRAFFE through the one render path, against the pictures of the original release."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from giraffe_release import PRIOR, RADIUS, recorded_field, recorded_latents, recorded_poses, released_state
from torch import Tensor
from torch.testing import assert_close

from gan3d_ns.cameras.pose_prior import PosePrior
from gan3d_ns.cameras.viewpoints import Viewpoints
from gan3d_ns.fields.composite_field import CompositeStyles
from gan3d_ns.fields.nerf_field import world_to_field_rotation
from gan3d_ns.model_components.geometry import Density
from gan3d_ns.model_components.giraffe_renderer import GiraffeRendererConfig, load_giraffe_renderer
from gan3d_ns.model_components.ray_samplers import VolumeSampler, VolumeSamplerConfig
from gan3d_ns.models.generator import Generator, RenderOutput

TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}
VIEWS = [(0, 0), (0, 1), (1, 2), (1, 3)]
"""Recorded (latent, pose)."""


@pytest.fixture
def generator(load_fixture) -> Generator:
    renderer = GiraffeRendererConfig(feature_dim=16, min_channels=8, aligned=False).setup()
    state, prefix = released_state(load_fixture), "neural_renderer."
    load_giraffe_renderer(
        renderer, {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    )
    sampler = VolumeSampler(
        VolumeSamplerConfig(num_coarse_samples=12, num_fine_samples=0, spacing="stratified"),
        Density(activation="relu", unit_length=1 / RADIUS),
    )
    return Generator(recorded_field(load_fixture), sampler, "black", renderer)


@pytest.fixture
def styles(generator: Generator, load_fixture) -> CompositeStyles:
    latents = recorded_latents(load_fixture)[[latent for latent, _ in VIEWS]]
    return generator.styles(latents)  # pyright: ignore[reportReturnType]


def view(generator: Generator, styles: CompositeStyles, load_fixture) -> RenderOutput:
    poses = recorded_poses(load_fixture)[[pose for _, pose in VIEWS]]
    rays = generator.picture_rays(PosePrior(PRIOR), Viewpoints(poses), 64)
    return generator.render(styles, rays)


def squares(values: Tensor) -> Tensor:
    return values.unflatten(1, (16, 16))


def test_cameras_match_the_original(load_fixture) -> None:
    camera, rotation = load_fixture("giraffe_camera"), world_to_field_rotation(0.0)
    poses, prior = recorded_poses(load_fixture), PosePrior(PRIOR)
    expected = camera["world_matrix"]
    # Its first camera is where ours is, up to the sign of zero.
    assert_close(rotation @ prior.camera_to_world(poses)[:, :, :3], expected[:, :3, :3], atol=1e-5, rtol=0)
    rays = prior.rays(poses, 8)
    assert_close(RADIUS * rays.origins @ rotation.T, camera["ray_origins"].flatten(1, 2), atol=1e-4, rtol=0)
    directions = torch.nn.functional.normalize(camera["ray_dirs"], dim=-1).flatten(1, 2)
    assert_close(rays.directions @ rotation.T, directions, atol=1e-5, rtol=0)


def test_rays_match_the_original(generator, styles, load_fixture) -> None:
    expected, output = load_fixture("giraffe_render"), view(generator, styles, load_fixture)
    assert_close(squares(output.weights), expected["weights"], **TOLERANCE)
    assert_close(squares(output.accumulation), expected["acc"], **TOLERANCE)
    assert_close(squares(torch.relu(output.geometry_values)), expected["density_sum"], atol=1e-3, rtol=1e-3)
    assert output.features is not None
    # The encodings' tenth octave turns 2^9 pi of a position's last bit into 1e-4.
    assert_close(squares(output.features).permute(0, 3, 1, 2), expected["feature_map"], atol=3e-4, rtol=1e-3)


def test_pictures_match_the_original(generator, styles, load_fixture) -> None:
    expected, output = load_fixture("giraffe_render"), view(generator, styles, load_fixture)
    assert_close(generator.pictures(output, styles)[[0, 3]], expected["image_views03"], **TOLERANCE)


def test_each_object_on_its_own_matches_the_original(generator, styles, load_fixture) -> None:
    """The original's masks give the last sample, which else stands for infinity, no interval at all."""
    expected = load_fixture("giraffe_render")["alpha_maps"]
    alone = replace(styles, background_present=torch.zeros(4, dtype=torch.bool))
    for index in (0, 1):
        present = torch.zeros(4, 2, dtype=torch.bool)
        present[:, index] = True
        output = view(generator, replace(alone, present=present), load_fixture)
        assert_close(squares(output.weights[..., :-1].sum(-1)), expected[:, index], **TOLERANCE)


def test_the_background_on_its_own_matches_the_original(generator, styles, load_fixture) -> None:
    expected = load_fixture("giraffe_render")["feature_map_background_view0"]
    empty = replace(styles, present=torch.zeros(4, 2, dtype=torch.bool))
    features = view(generator, empty, load_fixture).features
    assert features is not None
    assert_close(squares(features).permute(0, 3, 1, 2)[:1], expected, **TOLERANCE)
