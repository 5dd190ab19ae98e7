"""A fault while the viewer renders is shown in its panel; uncaught it would end that browser's render thread."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.utils.rich_utils import CONSOLE
from nerfstudio.viewer.viewer_elements import ViewerControl
from nerfstudio.viewer_legacy.server.viewer_utils import IOChangeException
from PIL import Image, ImageDraw
from torch import Tensor

from gan3d_ns.viewer.render_thread import viewer_of_this_thread

if TYPE_CHECKING:
    from nerfstudio.viewer.viewer import Viewer

FAULT_COLOUR = (89, 20, 20)
TEXT_COLOUR = (255, 225, 225)
CHARACTER_WIDTH = 6
"""Width of a letter of PIL's built-in font, in pixels."""
SMALLEST_LEGIBLE = 100
"""Pictures narrower than this many pixels, as sent while the camera moves, carry no text."""
REPORT_OFFSET = 0.25
"""Places the report right below nerfstudio's statistics, see ``latent_controls``."""


class RenderGuard(ViewerControl):
    """Calls a render function; in a viewer a fault becomes a dark red picture and a line in the panel."""

    def __init__(self) -> None:
        self.fault = ""

    def _setup(self, viewer: Viewer) -> None:
        super()._setup(viewer)
        order = viewer.stats_markdown.order + REPORT_OFFSET
        self.report = self.viser_server.gui.add_markdown("", order=order, visible=False)

    def __call__(
        self,
        render: Callable[[], dict[str, Tensor]],
        camera: Cameras,
        output_names: tuple[str, ...],
        colour_outputs: tuple[str, ...] = ("rgb",),
    ) -> dict[str, Tensor]:
        """The result of ``render``, or in a viewer a picture of the fault with the same outputs.

        Args:
            render: makes the outputs, "height width channel" each.
            camera: the single camera that is rendered.
            output_names: the outputs that the viewer offers.
            colour_outputs: those of them that have three channels.
        """
        if viewer_of_this_thread() is None:
            return render()
        try:
            outputs = render()
        except IOChangeException:
            # The viewer interrupts renders that are out of date with this.
            raise
        except Exception as fault:
            message = " ".join(f"{type(fault).__name__}: {fault}".split())
            if message != self.fault:
                CONSOLE.print_exception()
                self.show(message)
            return fault_picture(camera, output_names, colour_outputs, message)
        if self.fault:
            self.show("")
        return outputs

    def show(self, message: str) -> None:
        """Puts a message into the panel, an empty one takes it away."""
        self.fault = message
        if hasattr(self, "report"):
            # As code: the panel would read brackets in a message as markup and show nothing.
            self.report.content = f"**Render fault:** `{message.replace('`', chr(39))}`" if message else ""
            self.report.visible = bool(message)


def fault_picture(
    camera: Cameras, output_names: tuple[str, ...], colour_outputs: tuple[str, ...], message: str
) -> dict[str, Tensor]:
    """Outputs of the camera's size: dark red with the message for colours, zeros for the others."""
    height, width = int(camera.height.flatten()[0]), int(camera.width.flatten()[0])
    picture = Image.new("RGB", (width, height), FAULT_COLOUR)
    if width >= SMALLEST_LEGIBLE:
        lines = textwrap.wrap(f"Render fault: {message}", width // CHARACTER_WIDTH - 4)
        ImageDraw.Draw(picture).multiline_text((2 * CHARACTER_WIDTH, height // 3), "\n".join(lines), fill=TEXT_COLOUR)
    colour = torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255.0).to(camera.device)
    scalar = torch.zeros(height, width, 1, device=camera.device)
    return {name: colour if name in colour_outputs else scalar for name in output_names}
