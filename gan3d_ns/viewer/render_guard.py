"""A fault while the viewer renders is shown in the panel; uncaught it would end that browser's render thread."""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.utils.rich_utils import CONSOLE
from nerfstudio.viewer.viewer_elements import ViewerText
from nerfstudio.viewer_legacy.server.viewer_utils import IOChangeException
from torch import Tensor, nn

ALL_WELL = "ok"
FAULT_COLOUR = (0.35, 0.08, 0.08)


def in_viewer_thread() -> bool:
    """Whether the caller runs in one of nerfstudio's render threads, one of which serves each browser."""
    from nerfstudio.viewer.render_state_machine import RenderStateMachine

    return isinstance(threading.current_thread(), RenderStateMachine)


class RenderGuard(nn.Module):
    """Calls a render function; in a viewer thread a fault becomes a dark red picture and a line in the panel."""

    def __init__(self) -> None:
        super().__init__()
        self.z_status = ViewerText("Render status", ALL_WELL, disabled=True, hint="The last fault while rendering")

    def __call__(
        self, render: Callable[[], dict[str, Tensor]], camera: Cameras, output_names: tuple[str, ...]
    ) -> dict[str, Tensor]:
        """The result of ``render``, or a picture of the fault with the same outputs.

        Args:
            render: makes the outputs, "height width channel" each.
            camera: the single camera that is rendered.
            output_names: the outputs that the viewer offers.
        """
        if not in_viewer_thread():
            return render()
        try:
            outputs = render()
        except IOChangeException:
            raise
        except Exception as fault:
            message = f"{type(fault).__name__}: {fault}"
            if self.z_status.value != message:
                CONSOLE.print_exception()
                self.z_status.value = message
            return fault_picture(camera, output_names)
        if self.z_status.value != ALL_WELL:
            self.z_status.value = ALL_WELL
        return outputs


def fault_picture(camera: Cameras, output_names: tuple[str, ...]) -> dict[str, Tensor]:
    """Outputs of the camera's size that say "something went wrong": dark red colours, zeros elsewhere."""
    height, width = int(camera.height.flatten()[0]), int(camera.width.flatten()[0])
    red = torch.tensor(FAULT_COLOUR, device=camera.device).expand(height, width, 3)
    scalar = torch.zeros(height, width, 1, device=camera.device)
    return {name: red if name in ("rgb", "normals") else scalar for name in output_names}
