"""Films: their frames are the model's pictures, closed and smooth, whatever the chunks and the neighbours are."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.data.scene_box import SceneBox

from gan3d_ns.cameras.trajectories import trajectory, view_range
from gan3d_ns.engine.film import Screen, film, filming_fov_deg, journey, screen_for
from gan3d_ns.engine.sample_panel import picture, render_selections
from gan3d_ns.method_configs.gof import gof_gan_tiny
from gan3d_ns.model_components.latents import LatentSelection, SavedLatent
from gan3d_ns.models.gan_model import GanModel
from gan3d_ns.models.generator import Generator
from gan3d_ns.models.latent_codes import layer_codes

SIDE = 12
FIRST, SECOND = LatentSelection(seed=4), LatentSelection(seed=9)


@pytest.fixture(scope="module")
def model() -> GanModel:
    torch.manual_seed(0)
    config = copy.deepcopy(gof_gan_tiny.config.pipeline.model)
    config.start_shape.backdrop, config.background = None, "white"
    config.latent_grid = dataclasses.replace(config.latent_grid, resolution=16)
    box = SceneBox(torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]]))
    return config.setup(scene_box=box, num_train_data=1).eval()


def frames_of(
    model: GanModel, reels: Any, num_frames: int, programme: Any = "front-sweep", **screen: Any
) -> np.ndarray:
    layout = {"what": ("rgb",), "resolution": SIDE, **screen}
    poses = trajectory(model.config.pose_prior, programme, num_frames)
    frames = film(model, reels, poses, filming_fov_deg(model), screen_for(len(reels), **layout))
    return np.stack(list(frames))


def test_a_frame_is_the_view_of_its_pose(model: GanModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model.config.latent_grid, "enabled", False)
    prior, kinds = model.config.pose_prior, ("normals", "rgb", "depth")
    frames = frames_of(model, [[FIRST] * 4], 4, what=kinds)
    assert frames.shape == (4, SIDE, 3 * SIDE, 3)
    # The model bounds its rays more closely than the panel does: samples lie elsewhere, pictures are not quite equal.
    yaws = [direction * view_range(prior).yaw_reach for direction in (0.0, 1.0, -1.0)]
    views = [render_selections(model, [FIRST], yaw, SIDE) for yaw in yaws]
    sheets = [torch.cat([picture(view, prior, kind)[0] for kind in kinds], dim=1).clamp(0.0, 1.0) for view in views]
    for frame, expected in zip(frames, (0, 1, 0, 2), strict=True):
        differences = [float(np.abs(frame / 255.0 - sheet.numpy()).mean()) for sheet in sheets]
        assert int(np.argmin(differences)) == expected
        assert differences[expected] < 0.25 * min(differences[:expected] + differences[expected + 1 :])


@pytest.mark.parametrize("grid", [True, False])
def test_frames_depend_on_neither_chunks_nor_neighbours(
    model: GanModel, monkeypatch: pytest.MonkeyPatch, grid: bool
) -> None:
    monkeypatch.setattr(model.config.latent_grid, "enabled", grid)
    together = frames_of(model, [[FIRST] * 6, [SECOND] * 6], 6)
    assert together.shape == (6, SIDE, 2 * SIDE, 3)
    monkeypatch.setattr(model.config, "eval_num_rays_per_chunk", 50)
    for cell, selection in enumerate((FIRST, SECOND)):
        alone = frames_of(model, [[selection] * 6], 6)
        difference = np.abs(alone.astype(int) - together[:, :, cell * SIDE : (cell + 1) * SIDE])
        assert difference.max() <= 1, "rounding"


def test_an_object_is_made_once_and_for_all_its_frames(model: GanModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lattice pays for all frames together, so the first one already has it: no jump in the film."""
    made: list[Any] = []
    grids: list[bool] = []
    styles_of, render = GanModel.styles_of, Generator.render

    def noted(self: GanModel, selection: LatentSelection) -> Any:
        made.append(selection)
        return styles_of(self, selection)

    def rendered(self: Generator, styles: Any, rays: Any, **settings: Any) -> Any:
        grids.append(settings["grid"] is not None)
        return render(self, styles, rays, **settings)

    monkeypatch.setattr(GanModel, "styles_of", noted)
    monkeypatch.setattr(Generator, "render", rendered)
    queries, lattice = model.generator.sampler.num_queries, (model.config.latent_grid.resolution + 1) ** 3
    few = lattice // (SIDE**2 * queries)
    for num_frames, expected in ((few, False), (few + 1, True)):
        made.clear()
        grids.clear()
        frames_of(model, [[FIRST] * num_frames, [SECOND] * num_frames], num_frames)
        assert sorted(entry.seed for entry in made) == [4, 9]
        assert grids == [expected] * (2 * num_frames)
    assert model.shown_selection is None, "the model itself goes on showing what it showed"


def test_only_what_is_shown_is_computed(model: GanModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> Any:
        raise AssertionError("nobody asked for normals")

    monkeypatch.setattr(Generator, "surface_normals", refused)
    frames_of(model, [[FIRST]], 1, what=("depth", "rgb"))
    with pytest.raises(AssertionError):
        frames_of(model, [[FIRST]], 1, what=("normals",))


def test_a_journey_is_closed_and_rests_at_its_objects() -> None:
    reel = journey([FIRST, SECOND, LatentSelection(seed=2)], 30, "latents", "slerp")
    assert [entry.seed for entry in reel[::10]] == [4, 9, 2]
    assert [entry.second_seed for entry in reel[::10]] == [9, 2, 4]
    assert all(entry.interpolation == 0.0 for entry in reel[::10])
    assert {(entry.space, entry.curve) for entry in reel} == {("latents", "slerp")}
    amounts = [entry.interpolation for entry in reel[:10]]
    assert amounts == sorted(amounts)
    assert amounts[5] == 0.5
    assert amounts[1] < 0.03 and amounts[9] > 0.97


def test_a_journey_leads_through_saved_objects(model: GanModel) -> None:
    codes = torch.randn(len(model.generator.field.style_layers), model.generator.field.code_dim)
    kept = LatentSelection(saved=SavedLatent(codes))
    reel = journey([FIRST, kept], 4)
    torch.testing.assert_close(layer_codes(model.generator_ema, reel[2])[:, 0], codes)
    half = (layer_codes(model.generator_ema, FIRST)[:, 0] + codes) / 2
    torch.testing.assert_close(layer_codes(model.generator_ema, reel[1])[:, 0], half)
    torch.testing.assert_close(layer_codes(model.generator_ema, reel[3])[:, 0], half)


@pytest.mark.parametrize(("space", "curve"), [("codes", "linear"), ("latents", "slerp")])
def test_a_film_is_a_loop_without_jumps(model: GanModel, space: Any, curve: Any) -> None:
    """While object and camera move, no step is much longer than the one before: nor is the last."""
    frames = frames_of(model, [journey([FIRST, SECOND], 24, space, curve)], 24, "ellipse").astype(float) / 255.0
    steps = np.abs(np.roll(frames, -1, axis=0) - frames).mean(axis=(1, 2, 3))
    assert steps.max() > 1e-3
    assert steps[-1] < 1.5 * max(steps[-2], steps[0])
    assert steps.max() < 0.5 * np.abs(frames - np.roll(frames, 12, axis=0)).mean(axis=(1, 2, 3)).max()


def test_objects_before_nothing_get_air(model: GanModel, monkeypatch: pytest.MonkeyPatch) -> None:
    assert filming_fov_deg(model) == pytest.approx(model.config.pose_prior.fov_deg)
    monkeypatch.setattr(model.config.pose_prior, "yaw_spread_deg", 180.0)
    assert filming_fov_deg(model) > model.config.pose_prior.fov_deg + 0.5


def test_how_a_screen_is_laid_out() -> None:
    assert screen_for(1, ("rgb",), 8).shape == (8, 8, 3)
    assert screen_for(1, ("rgb", "depth"), 8).shape == (8, 16, 3)
    assert screen_for(4, ("rgb",), 8).shape == (8, 32, 3)
    assert screen_for(5, ("rgb",), 8).shape == (16, 24, 3)
    assert screen_for(3, ("rgb", "depth", "normals"), 8).shape == (24, 24, 3)
    assert screen_for(5, ("rgb",), 8, columns=2).shape == (24, 16, 3)
    assert screen_for(2, ("rgb",), 8, columns=7).columns == 2
    screen = Screen(8, ("rgb", "depth"), 3, 2)
    assert screen.place(2, 1) == (slice(8, 16), slice(8, 16))


def test_places_without_an_object_are_background(model: GanModel) -> None:
    (frame,) = frames_of(model, [[FIRST]] * 3, 1, columns=2)
    assert (frame[SIDE:, SIDE:] == 255).all()
    np.testing.assert_array_equal(frame[:SIDE, :SIDE], frame[SIDE:, :SIDE])
