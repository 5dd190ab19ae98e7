"""The object that viewer, render and exports show: its latent, its cached styles, and the rays that can meet it."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from nerfstudio.data.scene_box import OrientedBox, SceneBox

from gan3d_ns.cameras.pose_prior import poses_from_degrees
from gan3d_ns.engine.ema import update_ema
from gan3d_ns.fields.base_field import Styles
from gan3d_ns.method_configs.gof import gof_gan_tiny
from gan3d_ns.model_components.latents import LatentSelection
from gan3d_ns.models import gan_model, named_outputs
from gan3d_ns.models.gan_model import OUTPUT_NAMES, GanModel
from gan3d_ns.models.ray_bounds import with_near_and_far

SIDE = 12


def numbers(styles: Styles) -> torch.Tensor:
    """All numbers of some styles in a row."""
    return torch.cat([getattr(styles, entry.name).flatten() for entry in dataclasses.fields(styles)]).clone()


@pytest.fixture
def model() -> GanModel:
    config = copy.deepcopy(gof_gan_tiny.config.pipeline.model)
    config.start_shape.backdrop = None
    box = SceneBox(torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]]))
    return config.setup(scene_box=box, num_train_data=1).eval()


def camera(model: GanModel, yaw_deg: float = 0.0, elevation_deg: float = 0.0, distance: float = 1.0):
    pose = poses_from_degrees(torch.tensor([yaw_deg]), torch.tensor([elevation_deg]))
    cameras = model.pose_prior.cameras(pose, SIDE)
    cameras.camera_to_worlds[..., 3] *= distance
    return cameras[0:1]


@pytest.mark.parametrize("seed", [-1, 0, 2**53 - 1, 2**70])
def test_any_seed_has_its_latent(model: GanModel, seed: int):
    latent = model.latent_of_seed(seed)
    assert torch.equal(latent, model.latent_of_seed(seed))
    assert not torch.equal(latent, model.latent_of_seed(seed + 1))


def test_interpolation_towards_the_same_seed_changes_nothing(model: GanModel):
    plain = model.styles_of(LatentSelection(seed=4))
    halfway = model.styles_of(LatentSelection(seed=4, second_seed=4, interpolation=0.5))
    torch.testing.assert_close(numbers(halfway), numbers(plain))


def test_styles_are_computed_once_for_a_selection(model: GanModel, monkeypatch):
    first = model.current_styles()
    assert model.current_styles() is first
    model.latent.seed.value = 1
    assert not torch.equal(numbers(model.current_styles()), numbers(first))


def test_styles_follow_training_steps(model: GanModel):
    before = numbers(model.current_styles())
    with torch.no_grad():
        for parameter in model.generator.parameters():
            parameter.add_(0.05)
    update_ema(model.generator_ema, model.generator, 0.5)
    torch.testing.assert_close(numbers(model.current_styles()), numbers(model.styles_of(model.latent.selection())))
    assert not torch.equal(numbers(model.current_styles()), before)


def test_styles_follow_the_centre_of_truncation(model: GanModel):
    model.latent.truncation.value = 0.5
    before = numbers(model.current_styles())
    model.generator_ema.mean_code.add_(1.0)
    assert not torch.equal(numbers(model.current_styles()), before)


def test_styles_follow_the_weights_to_other_memory(model: GanModel):
    # What Module.to(device) does: the parameters stay, their data are exchanged.
    before = numbers(model.current_styles())
    for parameter in model.generator_ema.parameters():
        parameter.data = 1.1 * parameter.data
    assert not torch.equal(numbers(model.current_styles()), before)


@pytest.mark.parametrize("yaw_deg", [0.0, 30.0, 170.0])
@pytest.mark.parametrize("elevation_deg", [0.0, -20.0, 55.0])
def test_cameras_of_the_prior_keep_their_near_and_far(model: GanModel, yaw_deg: float, elevation_deg: float):
    rays = camera(model, yaw_deg, elevation_deg).generate_rays(0, keep_shape=True).flatten()
    bounded, valid = with_near_and_far(model.config.pose_prior, rays)
    prior = model.config.pose_prior
    assert valid.all()
    torch.testing.assert_close(bounded.nears, torch.full_like(bounded.nears, prior.near))
    torch.testing.assert_close(bounded.fars, torch.full_like(bounded.fars, prior.far))


@pytest.mark.parametrize("distance", [0.0, 0.05, 0.5, 3.0, 20.0])
def test_a_camera_anywhere_sees_finite_things_inside_the_ball(model: GanModel, distance: float):
    place = camera(model, 10.0, 5.0, distance)
    outputs = model.get_outputs_for_camera(place)
    assert tuple(outputs) == OUTPUT_NAMES
    assert all(torch.isfinite(value).all() for value in outputs.values())
    hit = outputs["surface_hit"][..., 0] > 0
    rays = place.generate_rays(0, keep_shape=True)
    points = rays.origins + outputs["depth"] * rays.directions
    assert (points[hit].norm(dim=-1) < model.seen_radius + 1e-5).all()


def test_rays_that_miss_show_the_background(model: GanModel):
    model.generator_ema.background = "white"
    place = camera(model)
    place.camera_to_worlds[..., :3, 2] *= -1.0
    outputs = model.get_outputs_for_camera(place)
    assert (outputs["rgb"] == 1.0).all()
    assert (outputs["accumulation"] == 0.0).all()
    assert (outputs["depth"] >= 1.0).all()


def test_the_background_is_flat_in_depth_pictures(model: GanModel):
    place = camera(model)
    place.fx /= 2.0
    place.fy /= 2.0
    outputs = model.get_outputs_for_camera(place)
    empty = outputs["accumulation"] < 0.5
    assert empty.any()
    assert outputs["depth"][empty].unique().numel() == 1


def test_a_crop_box_beside_the_object_leaves_nothing(model: GanModel):
    box = OrientedBox.from_params((0.0, 5.0, 0.0), (0.0, 0.0, 0.0), (0.1, 0.1, 0.1))
    outputs = model.get_outputs_for_camera(camera(model), obb_box=box)
    assert (outputs["accumulation"] == 0.0).all()
    assert (outputs["depth"] < 2.0).all()


def test_a_viewer_renders_only_what_it_shows(model: GanModel, monkeypatch):
    everything = model.get_outputs_for_camera(camera(model))
    monkeypatch.setattr(named_outputs, "wanted_outputs", lambda names: frozenset({"rgb"}))

    def never(*_):
        raise AssertionError("nobody looks at normals")

    monkeypatch.setattr(model.generator_ema, "surface_normals", never)
    shown = model.get_outputs_for_camera(camera(model))
    assert tuple(shown) == OUTPUT_NAMES
    for name in ("rgb", "depth", "accumulation", "surface_hit"):
        torch.testing.assert_close(shown[name], everything[name])


def count_lattices(monkeypatch) -> list[object]:
    """A list that grows with each latent grid that is made."""
    made: list[object] = []

    class Counted(gan_model.LatentGrid):
        def __init__(self, *args):
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr(gan_model, "LatentGrid", Counted)
    return made


def test_the_lattice_is_made_once_for_an_object_and_again_for_the_next(model: GanModel, monkeypatch):
    made = count_lattices(monkeypatch)
    model.config.latent_grid = dataclasses.replace(model.config.latent_grid, resolution=8)
    for yaw_deg in (0.0, 10.0, 20.0):
        model.get_outputs_for_camera(camera(model, yaw_deg))
    assert len(made) == 1
    model.latent.seed.value = 5
    model.get_outputs_for_camera(camera(model))
    assert len(made) == 2
    with torch.no_grad():
        next(model.generator_ema.parameters()).add_(0.01)
    model.get_outputs_for_camera(camera(model))
    assert len(made) == 3


def test_a_small_picture_of_a_new_object_makes_no_lattice(model: GanModel, monkeypatch):
    made = count_lattices(monkeypatch)
    for seed in range(4):
        model.latent.seed.value = seed
        model.get_outputs_for_camera(camera(model))
    assert not made


def test_chunks_of_a_picture_are_rendered_alike(model: GanModel, monkeypatch):
    """Also in the picture whose rays, taken together, are enough for a lattice."""
    made = count_lattices(monkeypatch)
    model.config.latent_grid = dataclasses.replace(model.config.latent_grid, resolution=12)
    model.config.eval_num_rays_per_chunk = SIDE
    chunked = model.get_outputs_for_camera(camera(model))
    assert len(made) == 1
    model.config.eval_num_rays_per_chunk = SIDE * SIDE
    whole = model.get_outputs_for_camera(camera(model))
    for name in OUTPUT_NAMES:
        torch.testing.assert_close(chunked[name], whole[name], atol=1e-5, rtol=1e-5)


def test_the_lattice_shows_what_the_field_shows(model: GanModel):
    model.config.latent_grid = dataclasses.replace(model.config.latent_grid, enabled=False)
    dense = model.get_outputs_for_camera(camera(model, 20.0, 10.0))
    model.config.latent_grid = dataclasses.replace(model.config.latent_grid, enabled=True, resolution=64)
    model.shown_object().num_rays = 10**6
    fast = model.get_outputs_for_camera(camera(model, 20.0, 10.0))
    assert isinstance(model.viewing_grid(), gan_model.LatentGrid)
    assert -10 * torch.log10((fast["rgb"] - dense["rgb"]).square().mean()) > 35
    both = (fast["surface_hit"] * dense["surface_hit"])[..., 0] > 0
    assert both.any()
    torch.testing.assert_close(fast["depth"][both], dense["depth"][both], atol=2e-3, rtol=0)


def test_surface_only_shows_the_surface_colour(model: GanModel):
    composited = model.get_outputs_for_camera(camera(model))
    model.config.surface_only = True
    surface = model.get_outputs_for_camera(camera(model))
    hit = surface["surface_hit"][..., 0] > 0
    assert hit.any()
    torch.testing.assert_close(surface["rgb"][hit], composited["surface_rgb"][hit], atol=1e-5, rtol=0)
    torch.testing.assert_close(surface["accumulation"], surface["surface_hit"])


def test_configs_from_before_the_shared_start_shape_are_read() -> None:
    """As nerfstudio saves them: YAML with Python objects, here without the newer settings."""
    import yaml

    from gan3d_ns.field_components.start_shape import StartShapeConfig
    from gan3d_ns.models.gan_model import GanModelConfig

    old = GanModelConfig(seed=7)
    for name in ("start_shape", "hash_grid"):
        del vars(old)[name]
    vars(old.tri_plane).update(backdrop=-0.5, box_half_sides=(0.2, 0.2, 0.1))
    read = yaml.load(yaml.dump(old), Loader=yaml.Loader)
    assert read.seed == 7
    assert read.start_shape == StartShapeConfig(backdrop=-0.5, box_half_sides=(0.2, 0.2, 0.1))
    assert read.hash_grid == GanModelConfig().hash_grid


def test_rays_reach_all_that_learned_cameras_can_see() -> None:
    from dataclasses import replace

    from gan3d_ns.cameras.camera_generator import CameraGeneratorConfig
    from gan3d_ns.cameras.pose_prior import POSE_PRIOR_PRESETS
    from gan3d_ns.models.ray_bounds import reached, seen_radius, shell

    prior = POSE_PRIOR_PRESETS["procedural"]
    still = CameraGeneratorConfig().setup(prior=prior)
    assert reached(prior, None) == reached(prior, still) == prior
    moving = CameraGeneratorConfig(learn_fov=True, learn_radius=True, fov_range_deg=8.0, radius_range=0.3)
    bounds = reached(prior, moving.setup(prior=prior))
    widest = replace(prior, fov_deg=prior.fov_deg + 8.0, radius=1.3, near=prior.near + 0.3, far=prior.far + 0.3)
    assert seen_radius(bounds) == pytest.approx(seen_radius(widest))
    place = torch.tensor([0.0, 0.0, 1.0])
    for found, expected in zip(shell(bounds, place), shell(prior, place), strict=True):
        torch.testing.assert_close(found, expected)
