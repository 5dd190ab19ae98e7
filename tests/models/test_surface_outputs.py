"""Pictures of the search, other level sets, and copies that stand still."""

from __future__ import annotations

import copy

import pytest
import torch
from analytic_field import BallField
from nerfstudio.data.scene_box import SceneBox

from gan3d_ns.method_configs.gof import gof_gan_tiny
from gan3d_ns.method_configs.pigan import pi_gan_tiny
from gan3d_ns.model_components.latents import LatentSelection
from gan3d_ns.models.gan_model import GanModel

SIDE = 24
RADIUS, SLOPE = 0.05, 2000.0


def model_of(method) -> GanModel:
    """The method's model with a ball at the origin in place of its field, and neither warm grid nor seeds."""
    config = copy.deepcopy(method.config.pipeline.model)
    config.latent_grid.enabled = False
    box = SceneBox(torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]]))
    model = config.setup(scene_box=box, num_train_data=1).eval()
    model.generator_ema.field = BallField(RADIUS, SLOPE)
    model.generator_ema.register_buffer("mean_code", torch.zeros(3))
    model.generator.field = BallField(RADIUS, SLOPE)
    model.shown_selection = LatentSelection(truncation=0.0)
    return model


def outputs_of(model: GanModel) -> dict[str, torch.Tensor]:
    return model.get_outputs_for_camera(model.pose_prior.cameras(model.pose_prior.mean_pose()[None], SIDE))


def middle(picture: torch.Tensor) -> torch.Tensor:
    return picture[SIDE // 2, SIDE // 2]


def test_the_window_lies_around_the_surface_and_is_the_whole_ray_beside_it():
    model = model_of(gof_gan_tiny)
    model.generator_ema.sampler.half_width.fill_(0.02)
    prior = model.config.pose_prior
    outputs = outputs_of(model)
    near, far = prior.near, prior.far
    depth = float(middle(outputs["depth"]))
    expected = [(depth + offset - near) / (far - near) for offset in (-0.02, 0.0, 0.02)]
    torch.testing.assert_close(middle(outputs["search_window"]), torch.tensor(expected), atol=1e-3, rtol=0)
    torch.testing.assert_close(outputs["search_window"][0, 0], torch.tensor([0.0, 0.0, 1.0]), atol=0.02, rtol=0)


def test_the_window_is_the_samplers_whatever_level_is_shown():
    model = model_of(gof_gan_tiny)
    window = outputs_of(model)["search_window"]
    model.show_level(SLOPE * 0.015)
    torch.testing.assert_close(outputs_of(model)["search_window"], window)


def test_radiance_fields_have_no_window():
    outputs = outputs_of(model_of(pi_gan_tiny))
    start, end = middle(outputs["search_window"])[[0, 2]]
    assert start < 0.02 and end > 0.98


@pytest.mark.parametrize("method", [gof_gan_tiny, pi_gan_tiny], ids=["occupancy", "density"])
@pytest.mark.parametrize("shift", [-0.01, 0.0, 0.015])
def test_another_level_is_the_ball_of_that_level(method, shift):
    model = model_of(method)
    model.show_level(SLOPE * shift)
    prior = model.config.pose_prior
    depth = float(middle(outputs_of(model)["depth"]))
    # The middle pixel looks past the centre by half a pixel.
    angle = torch.tensor(prior.fov_deg).deg2rad() / 2.0 / (SIDE - 1)
    assert depth == pytest.approx(prior.radius - (RADIUS - shift), abs=2e-3 + float(angle))


def test_skipped_space_is_what_the_grid_leaves_out():
    model = model_of(gof_gan_tiny)
    assert outputs_of(model)["skipped_space"].max() == 0
    model.config.latent_grid.enabled = True
    model.shown_object().num_rays = 10**9
    skipped = outputs_of(model)["skipped_space"]
    assert skipped[0, 0] == 1.0, "nothing is there"
    assert 0.0 < middle(skipped) < 1.0


def test_a_copy_shows_the_same_and_stands_still():
    config = copy.deepcopy(gof_gan_tiny.config.pipeline.model)
    box = SceneBox(torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]]))
    model = config.setup(scene_box=box, num_train_data=1).eval()
    model.latent.seed.value = 5
    model.update_to_step(77)
    before = torch.get_rng_state()
    copied = model.still_copy()
    assert torch.equal(torch.get_rng_state(), before), "a training must not notice"
    expected = outputs_of(model)["rgb"]
    assert copied.provenance(copied.selection()) == model.provenance(model.selection())
    with torch.no_grad():
        for parameter in model.generator_ema.parameters():
            parameter.add_(1.0)
    model.latent.seed.value = 6
    torch.testing.assert_close(outputs_of(copied)["rgb"], expected)
