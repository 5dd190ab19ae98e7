"""Pictures for exporters are the model's own, and can be put before another background."""

from __future__ import annotations

import pytest
import torch
from pictured_ball import pictured_ball
from tiny_runs import make_tiny_run

from gan3d_ns.exporter.object_pictures import pictured_object
from gan3d_ns.model_components.latents import LatentSelection

POSE = torch.tensor([1.3, 1.1])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory):
    from gan3d_ns.scripts.runs import load_run

    return load_run(make_tiny_run("gof-gan-tiny", tmp_path_factory.mktemp("run")))[1].model


def test_the_picture_is_the_one_that_nerfstudio_gets(model) -> None:
    selection = LatentSelection(seed=5, truncation=0.8)
    picture = pictured_object(model, selection).picture(POSE, 24)
    assert model.shown_selection is None, "what the viewer shows stays"
    model.shown_selection = selection
    try:
        model.latent_grid()  # the model uses it from the second picture on
        model.shown_object().num_rays = 10**9
        outputs = model.get_outputs_for_camera(model.pose_prior.cameras(POSE[None], 24)[0:1])
    finally:
        model.shown_selection = None
    torch.testing.assert_close(picture.rgb, outputs["rgb"], atol=1e-3, rtol=0)
    torch.testing.assert_close(picture.accumulation[..., None], outputs["accumulation"], atol=1e-3, rtol=0)
    hit = outputs["surface_hit"][..., 0] > 0
    assert hit.any()
    torch.testing.assert_close(picture.depth[hit], outputs["depth"][..., 0][hit], atol=1e-4, rtol=0)


def test_its_camera_has_its_rays() -> None:
    picture = pictured_ball().picture(POSE, 16)
    rays = picture.camera.generate_rays(camera_indices=0)
    torch.testing.assert_close(rays.directions, picture.directions, atol=1e-5, rtol=0)
    torch.testing.assert_close(rays.origins, picture.origins, atol=1e-6, rtol=0)


def test_another_background_is_a_picture_with_that_background() -> None:
    white, black = (pictured_ball(background=name).picture(POSE, 24) for name in ("white", "black"))
    assert white.rgb[0, 0, 0] == 1.0
    assert black.rgb[0, 0, 0] == 0.0
    torch.testing.assert_close(white.before(torch.zeros(3)), black.rgb, atol=1e-5, rtol=0)
    torch.testing.assert_close(black.before(torch.ones(3)), white.rgb, atol=1e-5, rtol=0)
    grey = white.before(torch.tensor([0.2, 0.4, 0.6]))
    torch.testing.assert_close(grey[0, 0], torch.tensor([0.2, 0.4, 0.6]))


def test_a_ray_that_its_last_sample_closes_ends_there() -> None:
    pictured = pictured_ball(background="last-sample")
    picture = pictured.picture(POSE, 24)
    assert (picture.accumulation == 1.0).all()
    assert picture.depth[0, 0] > 1.0, "beyond the object"
    ball = pictured_ball(background="white").picture(POSE, 24)
    solid = ball.accumulation > 0.99
    torch.testing.assert_close(picture.depth[solid], ball.depth[solid], atol=1e-4, rtol=0)
