"""Fewer faces, and the process that counts them out."""

from __future__ import annotations

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import trimesh

from gan3d_ns.exporter.apart import WorkerError, run_apart
from gan3d_ns.exporter.mesh import MeshExtractionConfig, extract_mesh
from gan3d_ns.exporter.simplification import simplified, target_faces


@pytest.fixture(scope="module")
def ball():
    corner = torch.full((3,), 0.12)
    return extract_mesh(MeshExtractionConfig(resolution=40), lambda p: 0.08 - p.norm(dim=-1), -corner, corner)


@pytest.mark.parametrize(
    ("decimate", "faces", "expected"), [(500, 8000, 500), (0.25, 8000, 2000), (1.0, 8000, 8000), (9e3, 8, 9000)]
)
def test_a_number_or_a_share(decimate, faces, expected):
    assert target_faces(decimate, faces) == expected


def test_fewer_faces_lie_near_the_surface_and_stay_closed(ball):
    fewer = simplified(ball.vertices, ball.faces, np.array(800))
    assert len(fewer["faces"]) == 800
    assert set(np.unique(fewer["faces"])) == set(range(len(fewer["vertices"])))
    mesh = trimesh.Trimesh(fewer["vertices"], fewer["faces"], process=False)
    assert mesh.is_watertight and mesh.is_winding_consistent and mesh.volume > 0
    np.testing.assert_allclose(np.linalg.norm(mesh.triangles_center, axis=1), 0.08, rtol=0.02)


def in_a_thread(function):
    """The function's result or what it raised, from a thread that is not the main one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


@pytest.fixture
def children(monkeypatch):
    """The processes that a test starts."""
    started, start = [], subprocess.Popen

    def noted(*arguments, **settings):
        started.append(start(*arguments, **settings))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", noted)
    return started


def test_another_process_gives_the_same(ball, children):
    question = {"vertices": ball.vertices, "faces": ball.faces, "target": np.array(300)}
    here = run_apart("simplification:simplified", question)
    assert not children, "the main thread holds up nobody"
    there = in_a_thread(lambda: run_apart("simplification:simplified", question))
    assert len(children) == 1
    for name in ("vertices", "faces"):
        np.testing.assert_array_equal(here[name], there[name])
        assert here[name].dtype == there[name].dtype


def test_a_failure_over_there_says_what_it_was(ball):
    with pytest.raises(WorkerError, match="AttributeError"):
        in_a_thread(lambda: run_apart("simplification:no_such_function", {"faces": ball.faces}))


def test_an_interruption_ends_the_other_process(ball, children):
    calls = []

    def stop():
        calls.append(len(children))
        if children:
            raise InterruptedError

    before = time.perf_counter()
    question = {"vertices": ball.vertices, "faces": ball.faces, "target": np.array(300)}
    with pytest.raises(InterruptedError):
        in_a_thread(lambda: run_apart("simplification:simplified", question, stop))
    assert calls == [0, 1]
    assert children[0].returncode not in (None, 0)
    assert time.perf_counter() - before < 5
