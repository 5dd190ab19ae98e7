"""Which outputs a viewer wants, and what is farther than its camera frusta."""

from __future__ import annotations

import types

import torch
from nerfstudio.viewer.render_state_machine import RenderStateMachine

from gan3d_ns.viewer.render_thread import asking_for, open_background, viewer_of_this_thread, wanted_outputs

NAMES = ("rgb", "depth", "normals")


def seen_by(panel):
    """Viewer and wanted outputs inside one of nerfstudio's render threads."""
    viewer, seen = types.SimpleNamespace(control_panel=panel), []

    class Thread(RenderStateMachine):
        def run(self):
            seen.append((viewer_of_this_thread(), wanted_outputs(NAMES)))

    thread = Thread(viewer, 10.0, None)  # pyright: ignore
    thread.start()
    thread.join()
    assert seen[0][0] is viewer
    return seen[0][1]


def panel(shown: str, split: bool = False, beside: str = "not set"):
    return types.SimpleNamespace(output_render=shown, split=split, split_output_render=beside)


def test_outside_of_a_viewer_all_outputs_are_wanted():
    assert viewer_of_this_thread() is None
    assert wanted_outputs(NAMES) == set(NAMES)


def test_outputs_can_be_asked_for():
    with asking_for(["normals", "unknown"]):
        assert wanted_outputs(NAMES) == {"normals"}
        with asking_for([]):
            assert wanted_outputs(NAMES) == set()
        assert wanted_outputs(NAMES) == {"normals"}
        assert seen_by(panel("depth")) == {"depth"}, "a viewer's own threads are not meant"
    assert wanted_outputs(NAMES) == set(NAMES)


def test_a_viewer_wants_what_it_shows():
    assert seen_by(panel("normals")) == {"normals"}
    assert seen_by(panel("rgb", split=True, beside="depth")) == {"rgb", "depth"}
    assert seen_by(panel("rgb", split=False, beside="depth")) == {"rgb"}


def test_before_anyone_chose_the_first_output_is_shown():
    assert seen_by(panel("not set")) == {"rgb"}


def test_the_open_background_is_beyond_every_camera_and_matter_stays():
    depth, accumulation = torch.tensor([[[0.9], [1.12]]]), torch.tensor([[[0.98], [0.1]]])
    opened = open_background(depth, accumulation)
    assert opened[0, 0] == depth[0, 0]
    assert opened[0, 1] > 2.0
