"""Every part fills its table from quick settings, and its rows obey laws."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from tiny_runs import make_tiny_run

from benchmarks.frames import MODES, Frame, FramesPart, compare
from benchmarks.growth import GrowthPart, too_much
from benchmarks.meshes import MeshesPart, vertex_distances
from benchmarks.methods import MethodsPart
from benchmarks.training import Iteration, method_config
from benchmarks.turns import TurnSettings
from gan3d_ns.errors import UserError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A shrunk gof-gan-tiny after two steps: a ball in front of nothing."""
    return make_tiny_run(
        "gof-gan-tiny", tmp_path_factory.mktemp("run"), **{"pipeline.model.start_shape.backdrop": None}
    )


def test_frames(run, request_of):
    rows = {row["name"]: row for row in FramesPart().rows(request_of(runs=(run,)))}
    assert tuple(rows) == MODES
    assert rows["dense again"]["psnr"] == "inf"
    assert all(math.isfinite(rows[name]["psnr"]) for name in ("surface only", "latent grid"))
    assert rows["latent grid"]["grid_seconds"] > 0.0
    assert 0.0 < rows["prior grid"]["grid_occupied"] <= 1.0
    assert "ratio" not in rows["dense"]


def test_a_finer_lattice_comes_closer_to_the_dense_frame(run, request_of):
    dense = Frame(run, 0, "dense", side=16)
    lattices = [replace(dense, mode="latent grid", grid_resolution=cells) for cells in (6, 40)]
    _, coarse, fine = compare([dense, *lattices], request_of())
    assert coarse["psnr"] + 3.0 < fine["psnr"]


def test_meshes(run, request_of):
    dense, sparse = MeshesPart().rows(request_of(runs=(run.parent,)))
    assert dense["queries"] == (dense["resolution"] + 1) ** 3
    assert sparse["query_fraction"] == sparse["queries"] / dense["queries"] < 1.0
    assert sparse["largest_distance"] < 0.1
    assert sparse["faces"] == dense["faces"]


def test_distances_of_meshes_are_in_voxels_and_both_ways():
    axis = np.arange(4.0)
    points = np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)
    assert vertex_distances(points, points, 0.5) == {"largest_distance": 0.0, "mean_distance": 0.0}
    assert vertex_distances(points, points + np.array([0.25, 0.0, 0.0]), 0.5)["largest_distance"] == 0.5
    for ours, theirs in ((points, points[:-1]), (points[:-1], points)):
        assert vertex_distances(ours, theirs, 1.0)["largest_distance"] == 1.0
    assert vertex_distances(points, points[:0], 1.0)["largest_distance"] == math.inf


def test_methods(request_of):
    part = MethodsPart()
    rows = list(part.rows_of("gof-gan-tiny", None, request_of(fields=("no-field",))))
    plain, own, grid, refused = rows
    assert plain["hit_rate"] is None
    assert own["images_per_second"] == pytest.approx(own["batch"] / own["seconds"])
    assert 0.0 < grid["grid_occupied"] <= 1.0
    assert "this version has the fields film-siren" in refused["skipped"]
    with pytest.raises(UserError, match="no method gof-gan-huge"):
        next(part.rows(request_of(methods=("gof-gan-huge",))))


@pytest.mark.parametrize("method", ["pi-gan-tiny", "graf-tiny"])
def test_densities_and_patches_are_measured_too(method, request_of):
    own, grid = list(MethodsPart().rows_of(method, None, request_of()))
    assert own["images_per_second"] == pytest.approx(own["batch"] / own["seconds"])
    assert own["ratio"] == pytest.approx(1.0) and 0.0 < grid["grid_occupied"] <= 1.0


def test_measuring_changes_no_method():
    before = method_config("gof-gan-tiny")
    Iteration("gof-gan-tiny", 16, 1, steps=1, field="film-siren", num_samples=3).prepare("cpu")
    after = method_config("gof-gan-tiny")
    assert after.curriculum == before.curriculum
    assert after.pipeline == before.pipeline


def test_growth(request_of):
    rows = list(GrowthPart().rows(request_of(methods=("gof-gan-tiny",))))
    assert [row["axis"] for row in rows] == ["resolution"] * 2 + ["samples"] * 2 + ["batch"] * 2
    assert [row["work"] for row in rows] == [1.0, 4.0, 1.0, 2.0, 1.0, 2.0]
    assert rows[1]["growth"] == rows[1]["seconds"] / rows[0]["seconds"]


def test_growth_leaves_out_what_would_be_too_much(request_of):
    before = {"seconds": 1.0, "rendering_seconds": 1.0, "peak_memory_gb": 2.0, "memory_prepared_gb": 1.0}
    request = request_of(turns=TurnSettings(rounds=4, warm_up=1, budget_seconds=100.0))
    assert too_much(before, 4.0, 1, request) is None
    assert "80 s" in (
        too_much(before, 8.0, 1, replace(request, turns=replace(request.turns, budget_seconds=79.0))) or ""
    )
    assert "GB of the machine's" in (too_much(before | {"peak_memory_gb": 1e6}, 4.0, 1, request) or "")
