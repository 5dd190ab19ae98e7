"""The Surface panel: which output is shown, at which level the surface lies, and "export this"."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Optional

from nerfstudio.viewer.viewer_elements import (
    ViewerCheckbox,
    ViewerControl,
    ViewerDropdown,
    ViewerElement,
    ViewerNumber,
)

from gan3d_ns.viewer.export_controls import ExportControls
from gan3d_ns.viewer.latent_controls import FOLDER_OFFSET, finite

if TYPE_CHECKING:
    from nerfstudio.viewer.viewer import Viewer

FOLDER = "Surface"
BELOW_GENERATOR = 0.05


class SurfaceControls(ViewerControl):
    """A folder below the Generator's.

    Args:
        output_names: what the model renders, the first one is shown first.
        level: value of the field on the surface that training used.
        show_level: shows another level set as the surface; None: the surface that training used.
        export: the part that writes files, if any.
    """

    def __init__(
        self,
        output_names: tuple[str, ...],
        level: float,
        show_level: Callable[[Optional[float]], None],
        export: Optional[ExportControls] = None,
    ) -> None:
        self.trained_level, self.show_level, self.export = float(level), show_level, export
        self.output = ViewerDropdown(
            "Output", output_names[0], list(output_names), cb_hook=self.choose_output, hint="What is shown"
        )
        self.own_level = ViewerCheckbox(
            "Other level",
            False,
            cb_hook=self.choose_level,
            hint="Show another level set of the field as the surface, and export meshes of it",
        )
        self.level = ViewerNumber(
            "Level", round(self.trained_level, 4), cb_hook=self.choose_level, hint="Lower is larger; matter lies above"
        )

    @property
    def elements(self) -> list[ViewerElement]:
        """The controls in the order of the panel."""
        return [self.output, self.own_level, self.level]

    def _setup(self, viewer: Viewer) -> None:
        super()._setup(viewer)
        order = viewer.stats_markdown.order + FOLDER_OFFSET + BELOW_GENERATOR
        with self.viser_server.gui.add_folder(FOLDER, order=order, expand_by_default=False):
            for element in self.elements:
                element.install(self.viser_server)
            if self.export is not None:
                self.export.install(viewer)
        # nerfstudio's own choice of the output, in its Control tab, stays: either follows the other.
        theirs = viewer.control_panel._output_render
        their_hook = theirs.cb_hook

        def follow(element: ViewerElement) -> None:
            their_hook(element)
            if theirs.value in self.output.options and self.output.value != theirs.value:
                self.output.value = theirs.value

        theirs.cb_hook = follow

    def choose_output(self, _: Optional[ViewerElement] = None) -> None:
        """Shows the chosen output."""
        theirs = self.viewer.control_panel._output_render
        if theirs.value != self.output.value and self.output.value in theirs.options:
            theirs.value = self.output.value

    def chosen_level(self) -> Optional[float]:
        """The level that was chosen; None where it is the trained one."""
        return finite(self.level.value, self.trained_level) if self.own_level.value else None

    def choose_level(self, _: Optional[ViewerElement] = None) -> None:
        """Shows the chosen level set."""
        self.show_level(self.chosen_level())
        if hasattr(self, "viewer"):
            self.viewer._trigger_rerender()
