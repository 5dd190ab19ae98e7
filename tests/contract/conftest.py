"""One short run for each registered method of this package; every test of this folder reads it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from feature_files import save_network
from recorded_training import TrainedRun, train
from tiny_runs import set_path, tiny_config

STEPS = 5
FORM: dict[str, Any] = {
    "pipeline.model.film_siren.sphere_prior_gain": 6.0,
    "pipeline.model.start_shape.backdrop": None,
    "pipeline.model.nerf.start_shape": True,
    "pipeline.model.decomposed.start_shape": True,
    "pipeline.model.feature_volume.start_shape": True,
    "pipeline.datamanager.dataparser.virtual_view_resolution": 32,
    "pipeline.loss.normal_weight": 0.05,
    "steps_per_save": 2,
    "save_only_latest_checkpoint": False,
}
"""A surface even without training, so that exporters have something to export; checkpoints of steps 2 and 4."""
FORM_OF: dict[str, dict[str, Any]] = {
    # Its densities are for each world unit: at 35 matter is half opaque over .02 of them.
    "pi-gan-paper": {"pipeline.model.film_siren.sphere_prior_gain": 600.0},
}
"""Methods whose values need another scale for that."""
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "gof-gan-tiny-hash": ("gof-gan-tiny", {"pipeline.model.field": "hash"}),
    "pi-gan-tiny-as-gof": ("pi-gan-tiny", {"pipeline.model.geometry": "occupancy"}),
    "volumegan-tiny-as-density": ("volumegan-tiny", {"pipeline.model.geometry": "density"}),
    "gof-gan-tiny-learned-cameras": (
        "gof-gan-tiny",
        {"pipeline.model.camera_law": "learned", "pipeline.model.camera_generator.learn_fov": True},
    ),
}
"""Methods with other settings: a name for the run, the method, and dotted paths."""


def gan_method_names() -> list[str]:
    """The methods of this package, as nerfstudio's registry finds them: a later one is covered without an edit."""
    from nerfstudio.plugins.registry import discover_methods

    from gan3d_ns.engine.trainer_config import GanTrainerConfig

    methods, _ = discover_methods()
    return sorted(name for name, config in methods.items() if isinstance(config, GanTrainerConfig))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "trained" in metafunc.fixturenames:
        runs = [*gan_method_names(), *VARIANTS]
        metafunc.parametrize("trained", runs, indirect=True, scope="session")


def contract_config(run: str, folder: Path) -> Any:
    """A registered method, shrunk, with a surface from the start; settings that it does not have are left out."""
    method_name, variant = VARIANTS.get(run, (run, {}))
    config = tiny_config(method_name, folder, STEPS, **variant)
    for path, value in {**FORM, **FORM_OF.get(method_name, {})}.items():
        set_path(config, path, value)
    model = config.pipeline.model
    if model.field in ("nerf", "feature-volume", "decomposed"):
        # Sharp enough for a published density to be a ball, and as large as the space and the frame of the cameras.
        model.start_shape.sphere_prior_gain = 40.0 if model.density.unit_length < 1.0 else 600.0
        prior = model.pose_prior
        # There are no fine ones, and the ball's rim wants some.
        model.volume_sampler.num_coarse_samples = max(16, round(48 * (prior.far - prior.near)))
        frame = prior.radius * math.tan(math.radians(prior.fov_deg) / 2.0)
        model.start_shape.box_half_sides = (min(prior.far - prior.radius, frame),) * 3
    if model.field == "composite":
        # Balls in the middle, as large as the frame: sharp, sampled densely enough, and shown without their background.
        model.show_background = False
        middle = {"lowest_translation": (0.0, 0.0, 0.0), "highest_translation": (0.0, 0.0, 0.0)}
        sides = {"smallest_scale": (0.3, 0.3, 0.3), "largest_scale": (0.3, 0.3, 0.3)}
        model.composite.placement = dataclasses.replace(model.composite.placement, **middle, **sides)
        model.composite.start_gain, model.composite.background_start_radius = 300.0, 0.1
        model.pose_prior = dataclasses.replace(model.pose_prior, near=0.88, far=1.12)
        model.volume_sampler.num_coarse_samples = 16
    return config


@pytest.fixture(scope="session", autouse=True)
def small_features(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A feature network in place of the one that is downloaded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN3D_FEATURES", str(save_network(tmp_path_factory.mktemp("features") / "cells.pt")))
        yield


@pytest.fixture(scope="session")
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """Five steps of a method, with checkpoints after three of them and at the end."""
    return train(contract_config(request.param, tmp_path_factory.mktemp(request.param)))


@pytest.fixture(scope="session")
def pipeline(trained: TrainedRun) -> Any:
    """The run as viewer, render and export open it."""
    from nerfstudio.utils.eval_utils import eval_setup

    return eval_setup(trained.config_file)[1]
