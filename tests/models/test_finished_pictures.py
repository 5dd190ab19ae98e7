"""Pictures that a neural renderer finishes: one path for training, viewer and metrics, in place over the geometry."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from feature_model import FEATURES, RAY_SIDE, RESOLUTION, FeatureBall, Painter, feature_model
from torch.testing import assert_close

from gan3d_ns.cameras.viewpoints import Viewpoints
from gan3d_ns.errors import UserError
from gan3d_ns.exporter.object_pictures import pictured_object
from gan3d_ns.metrics.generated_views import Views, render_views
from gan3d_ns.model_components.latents import LatentSelection
from gan3d_ns.model_components.ray_samplers import SurfaceWindowSamplerConfig
from gan3d_ns.models.finished_picture import feature_image_size
from gan3d_ns.models.gan_model import GanModel
from gan3d_ns.models.generator import Generator


@pytest.fixture(scope="module")
def model() -> GanModel:
    return feature_model()


def viewpoint(model: GanModel) -> Viewpoints:
    return Viewpoints(model.pose_prior.mean_pose()[None])


def training_picture(model: GanModel) -> torch.Tensor:
    generator, styles = model.generator_ema, model.styles_of(LatentSelection())
    rays = generator.picture_rays(model.pose_prior, viewpoint(model), RESOLUTION)
    return generator.pictures(generator.render(styles, rays), styles).detach()


def test_a_picture_takes_a_ray_for_each_feature(model: GanModel) -> None:
    rays = model.generator.picture_rays(model.pose_prior, viewpoint(model), RESOLUTION)
    assert rays.origins.shape[1] == RAY_SIDE**2
    assert training_picture(model).shape == (1, 3, RESOLUTION, RESOLUTION)


def test_a_camera_of_the_prior_sees_the_training_picture(model: GanModel) -> None:
    camera = model.pose_prior.cameras(viewpoint(model).poses, RESOLUTION)[0:1]
    seen = model.get_outputs_for_camera(camera)["rgb"]
    assert_close(seen.permute(2, 0, 1)[None], training_picture(model), atol=1e-4, rtol=0)


def test_metrics_and_exporters_see_the_training_picture(model: GanModel) -> None:
    views = Views(torch.zeros(1, 3), viewpoint(model))
    (seen,) = render_views(model, views, RESOLUTION)
    assert_close(seen.rgb, training_picture(model))
    exported = pictured_object(model, LatentSelection()).picture(viewpoint(model).poses[0], RESOLUTION)
    assert_close(exported.rgb.permute(2, 0, 1)[None], training_picture(model))


def test_picture_and_geometry_lie_over_each_other(model: GanModel) -> None:
    """The middle of the painted ball is where the ball's own pixels have it; published grids are a little larger."""

    def painted_width(chosen: Any) -> float:
        picture = training_picture(chosen)[0].mean(dim=0)
        inside = (picture - picture[0, 0]).abs() > 0.02
        return float(inside.float().sum()) ** 0.5

    (seen,) = render_views(model, Views(torch.zeros(1, 3), viewpoint(model)), RESOLUTION)
    true_width = float(seen.hit.float().sum()) ** 0.5
    aligned, published = painted_width(model), painted_width(feature_model(aligned=False))
    assert abs(aligned - true_width) < 1.5
    assert published < aligned


def test_rays_alone_have_a_colour_of_their_own(model: GanModel) -> None:
    """Exporters and chunks ask for single rays: their colour does not depend on the others."""
    rays = model.pose_prior.rays(viewpoint(model).poses, 6)
    generator, styles = model.generator_ema, model.styles_of(LatentSelection())
    whole = generator.render(styles, rays).rgb
    parts = torch.cat([generator.render(styles, rays[:, index : index + 1]).rgb for index in range(36)], dim=1)
    assert_close(whole, parts)
    assert generator.render(styles, rays).features.shape == (1, 36, FEATURES)
    outputs = model.get_outputs(rays.flatten())
    assert_close(outputs["rgb"], whole[0])


def test_a_lattice_paints_the_same_picture(model: GanModel) -> None:
    generator, styles = model.generator_ema, model.styles_of(LatentSelection())
    rays = generator.picture_rays(model.pose_prior, viewpoint(model), RESOLUTION)
    plain, lattice = (generator.render(styles, rays, grid=grid) for grid in (None, model.latent_grid()))
    difference = (generator.pictures(plain, styles) - generator.pictures(lattice, styles)).abs().mean()
    assert float(difference) < 0.02


@pytest.mark.parametrize(("zoom", "closer"), [(1.0, 1.0), (2.0, 1.0), (1.0, 0.5), (0.5, 1.0)])
def test_features_keep_the_size_that_they_were_trained_at(model: GanModel, zoom: float, closer: float) -> None:
    camera = model.pose_prior.cameras(viewpoint(model).poses, 4 * RESOLUTION)[0:1]
    camera.fx, camera.fy = zoom * camera.fx, zoom * camera.fy
    camera.camera_to_worlds[..., 3] *= closer
    rows, columns = feature_image_size(camera, model.config.pose_prior, model.generator.neural_renderer)
    assert rows == columns == round(RAY_SIDE * closer / zoom)
    assert model.get_outputs_for_camera(camera)["rgb"].shape == (4 * RESOLUTION, 4 * RESOLUTION, 3)


def test_a_wide_camera_sees_coarser_rather_than_without_end(model: GanModel) -> None:
    camera = model.pose_prior.cameras(viewpoint(model).poses, RESOLUTION)[0:1]
    camera.fx, camera.fy = camera.fx / 100.0, camera.fy / 100.0
    rows, _ = feature_image_size(camera, model.config.pose_prior, model.generator.neural_renderer)
    assert rows == 8 * RAY_SIDE


def test_few_rays_at_once_make_the_same_picture(model: GanModel, monkeypatch: pytest.MonkeyPatch) -> None:
    camera = model.pose_prior.cameras(viewpoint(model).poses, RESOLUTION)[0:1]
    camera.width = camera.width * 2
    camera.cx = camera.cx * 2.0
    whole = model.get_outputs_for_camera(camera)["rgb"]
    asked, render = [], Generator.render

    def counted(generator: Generator, styles: Any, rays: Any, **settings: Any) -> Any:
        asked.append(rays.shape[1])
        return render(generator, styles, rays, **settings)

    monkeypatch.setattr(Generator, "render", counted)
    monkeypatch.setattr(model.config, "eval_num_rays_per_chunk", 9)
    assert_close(model.get_outputs_for_camera(camera)["rgb"], whole)
    assert max(asked) == 9


def test_sides_that_are_not_doubled_rays_are_refused() -> None:
    with pytest.raises(UserError, match="cannot make 24 pixels of 8 rays"):
        Painter(FEATURES, 8, 24)
    painter = Painter(FEATURES, 8, 32)
    with pytest.raises(UserError, match="8, 16, 32 pixels, not of 64"):
        painter.grow_to(64)
    painter.grow_to(16, 0.25)
    assert painter.side == 16
    assert float(painter.fade) == 0.25
    assert painter.state_dict().keys() >= {"doublings", "fade"}


def test_features_without_a_renderer_are_refused() -> None:
    with pytest.raises(UserError, match="gives 5 features and the neural renderer takes none"):
        Generator(FeatureBall(1.0), SurfaceWindowSamplerConfig().setup(), "black")


def test_a_renderer_whose_codes_the_field_does_not_pass_on_is_refused() -> None:
    painter = Painter(FEATURES, 8, 32)
    painter.style_layers = ("16x16 first",)
    with pytest.raises(UserError, match="wants codes for its layers, which FeatureBall does not pass on"):
        Generator(FeatureBall(1.0), SurfaceWindowSamplerConfig().setup(), "black", painter)
