"""The small networks whose numbers were recorded from the original GIRAFFE, in our terms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from gan3d_ns.cameras.pose_prior import PosePriorConfig
from gan3d_ns.fields.composite_field import CompositeField, CompositeFieldConfig
from gan3d_ns.fields.giraffe_decoder import GiraffeDecoderConfig
from gan3d_ns.fields.placement import PlacementConfig

Fixture = Callable[[str], dict[str, Tensor]]

RECORDED = CompositeFieldConfig(
    num_objects=2,
    objects=GiraffeDecoderConfig(shape_dim=16, appearance_dim=16, hidden_dim=24),
    background=GiraffeDecoderConfig(
        shape_dim=8, appearance_dim=8, hidden_dim=16, num_layers=4, skip_layers=(), input_scale=12.0
    ),
    feature_dim=16,
    placement=PlacementConfig(
        smallest_scale=(0.3, 0.25, 0.2),
        largest_scale=(0.6, 0.5, 0.4),
        lowest_translation=(-0.6, -0.5, -0.1),
        highest_translation=(0.6, 0.5, 0.2),
        background_turns=(0.0, 0.25),
    ),
)
RADIUS = 2.732
PRIOR = PosePriorConfig(fov_deg=30.0, near=0.5 / RADIUS, far=6.0 / RADIUS, planar_depth=True)


def released_state(load_fixture: Fixture) -> dict[str, Tensor]:
    """The recorded state dict of the whole generator."""
    arrays = load_fixture("giraffe_generator_weights")
    return {name.removeprefix("weights/"): value for name, value in arrays.items()}


def recorded_field(load_fixture: Fixture, **changes) -> CompositeField:
    """The field with the recorded weights."""
    field = CompositeField(replace(RECORDED, **changes))
    state = released_state(load_fixture)
    field.load_authors_weights({name: value for name, value in state.items() if "renderer" not in name})
    return field


def recorded_latents(load_fixture: Fixture) -> Tensor:
    """The recorded codes of four scenes, at the recorded places."""
    codes, places = load_fixture("giraffe_field"), load_fixture("giraffe_composition")
    each = torch.cat((places["value_scale"][:, :1], places["value_rotation"][:, None], places["value_translation"]), 1)
    uniforms = torch.cat((each.flatten(), torch.tensor([0.5, 0.3]))).expand(4, -1)
    return torch.cat(
        (
            codes["z_shape_obj"].flatten(1),
            codes["z_shape_bg"],
            codes["z_app_obj"].flatten(1),
            codes["z_app_bg"],
            torch.special.ndtri(uniforms),
        ),
        dim=1,
    )


def recorded_poses(load_fixture: Fixture) -> Tensor:
    """The recorded cameras as our (pitch, yaw); GIRAFFE's azimuth 0 is our front, and runs the other way."""
    azimuth, polar = load_fixture("giraffe_camera")["azimuth_polar"].unbind(-1)
    return torch.stack((polar, torch.pi / 2 - azimuth), dim=-1)
