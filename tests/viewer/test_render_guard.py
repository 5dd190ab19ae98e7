"""The guard: faults become pictures in a viewer's thread, and only there; interrupts always pass."""

from __future__ import annotations

import types

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.viewer.render_state_machine import RenderStateMachine
from nerfstudio.viewer_legacy.server.viewer_utils import IOChangeException

from gan3d_ns.viewer.render_guard import RenderGuard, fault_picture

NAMES = ("rgb", "depth", "normals")
COLOURS = ("rgb", "normals")


class RenderThread(RenderStateMachine):
    """nerfstudio's render thread, of which only the class matters here: it runs one function and keeps the result."""

    def __init__(self, function):
        panel = types.SimpleNamespace(output_render="rgb", split=False, split_output_render="rgb")
        super().__init__(types.SimpleNamespace(control_panel=panel), 10.0, None)  # pyright: ignore
        self.function, self.result, self.error = function, None, None

    def run(self):
        try:
            self.result = self.function()
        except BaseException as error:
            self.error = error


def in_render_thread(function):
    """The function's result, or its exception, in a thread of nerfstudio's class."""
    thread = RenderThread(function)
    thread.start()
    thread.join()
    if thread.error is not None:
        raise thread.error
    return thread.result


def camera(width: int = 160, height: int = 120) -> Cameras:
    return Cameras(torch.eye(4)[None, :3], 100.0, 100.0, width / 2, height / 2, width, height)


def failing():
    raise ValueError("no `planes` <here> {at all}")


def test_outside_of_a_viewer_faults_are_raised():
    with pytest.raises(ValueError, match="planes"):
        RenderGuard()(failing, camera(), NAMES)


def test_in_a_viewer_a_fault_is_a_picture_with_all_outputs_and_goes_when_it_is_gone():
    guard, good = RenderGuard(), {"rgb": torch.zeros(1)}
    outputs = in_render_thread(lambda: guard(failing, camera(), NAMES, COLOURS))
    assert tuple(outputs) == NAMES
    assert outputs["rgb"].shape == (120, 160, 3)
    assert outputs["depth"].shape == (120, 160, 1)
    assert "ValueError: no `planes`" in guard.fault
    assert in_render_thread(lambda: guard(lambda: good, camera(), NAMES)) is good
    assert guard.fault == ""


def test_the_report_in_the_panel_is_plain_text_between_backticks():
    guard = RenderGuard()
    guard.report = types.SimpleNamespace(content="", visible=False)  # pyright: ignore
    guard.show("no `planes` <here> {at all}")
    assert guard.report.visible
    assert guard.report.content.count("`") == 2
    guard.show("")
    assert not guard.report.visible


def test_interrupts_pass():
    def interrupted():
        raise IOChangeException

    guard = RenderGuard()
    with pytest.raises(IOChangeException):
        in_render_thread(lambda: guard(interrupted, camera(), NAMES))
    assert guard.fault == ""


@pytest.mark.parametrize("size", [(1, 1), (30, 40), (640, 480)])
def test_fault_pictures_fit_any_size(size):
    width, height = size
    outputs = fault_picture(camera(width, height), NAMES, COLOURS, "word " * 200)
    assert outputs["normals"].shape == (height, width, 3)
    assert outputs["rgb"].min() >= 0.0
    assert outputs["rgb"].max() <= 1.0
