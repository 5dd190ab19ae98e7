"""Which object the viewer shows: seed, appearance, truncation, and the way to a second seed."""

from __future__ import annotations

import math
import secrets
from typing import TYPE_CHECKING, Any

from nerfstudio.viewer.viewer_elements import (
    ViewerButton,
    ViewerCheckbox,
    ViewerControl,
    ViewerElement,
    ViewerNumber,
    ViewerSlider,
)

from gan3d_ns.model_components.latents import LatentSelection, whole_seed

if TYPE_CHECKING:
    from nerfstudio.viewer.viewer import Viewer

FOLDER = "Generated object"
RANDOM_SEEDS = 10_000
FOLDER_OFFSET = 0.5
"""nerfstudio numbers the panel's entries 0, 1, 2...: the folder goes between the statistics and the tabs, where it is
seen without scrolling and from every tab."""


def finite(value: Any, fallback: float) -> float:
    """``value`` as a number, ``fallback`` for what is none."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return fallback
    return number if math.isfinite(number) else fallback


class LatentControls(ViewerControl):
    """A folder of its own in the viewer's panel; without a viewer the controls hold their start values.

    Args:
        seed: the first object.
        truncation: where its slider starts.
        separates_appearance: whether shape and appearance can have seeds of their own.
    """

    def __init__(self, seed: int, truncation: float, separates_appearance: bool = False) -> None:
        self.start_truncation = truncation
        self.separates_appearance = separates_appearance
        self.own_appearance = ViewerCheckbox(
            "Other appearance", False, cb_hook=self.redraw, hint="Keep the shape of the seed, in the colours of another"
        )
        self.appearance_seed = ViewerNumber(
            "Appearance seed", whole_seed(seed), cb_hook=self.redraw, hint="Whose colours, where that is switched on"
        )
        self.seed = ViewerNumber(
            "Seed", whole_seed(seed), cb_hook=self.redraw, hint="Every whole number is another object"
        )
        self.random = ViewerButton("Random", cb_hook=self.press_random)
        self.truncation = ViewerSlider(
            "Truncation",
            float(truncation),
            min(0.0, truncation),
            max(1.0, truncation),
            0.05,
            cb_hook=self.redraw,
            hint="0 is the average object, 1 the full variety",
        )
        self.second_seed = ViewerNumber(
            "Second seed", whole_seed(seed + 1), cb_hook=self.redraw, hint="Where the interpolation leads"
        )
        self.interpolation = ViewerSlider(
            "Interpolation", 0.0, 0.0, 1.0, 0.01, cb_hook=self.redraw, hint="0 is the first seed, 1 the second"
        )

    @property
    def elements(self) -> list[ViewerElement]:
        """The controls in the order of the panel."""
        appearance = [self.own_appearance, self.appearance_seed] if self.separates_appearance else []
        return [self.seed, self.random, *appearance, self.truncation, self.second_seed, self.interpolation]

    def _setup(self, viewer: Viewer) -> None:
        super()._setup(viewer)
        with self.viser_server.gui.add_folder(FOLDER, order=viewer.stats_markdown.order + FOLDER_OFFSET):
            for element in self.elements:
                element.install(self.viser_server)

    def redraw(self, _: ViewerElement) -> None:
        """Asks the viewer, if there is one, for new pictures."""
        if hasattr(self, "viewer"):
            self.viewer._trigger_rerender()

    def press_random(self, button: ViewerButton) -> None:
        """Jumps to a seed that nobody chose, all of it. Leaves the random numbers of a training alone."""
        self.interpolation.value = 0.0
        self.seed.value = secrets.randbelow(RANDOM_SEEDS)
        self.redraw(button)

    def selection(self) -> LatentSelection:
        """What the controls say now; odd values are read as the nearest sensible ones."""
        other = self.separates_appearance and bool(self.own_appearance.value)
        return LatentSelection(
            seed=whole_seed(self.seed.value),
            second_seed=whole_seed(self.second_seed.value),
            interpolation=min(max(finite(self.interpolation.value, 0.0), 0.0), 1.0),
            truncation=finite(self.truncation.value, self.start_truncation),
            appearance_seed=whole_seed(self.appearance_seed.value) if other else None,
        )
