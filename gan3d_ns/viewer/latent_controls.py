"""The Generator panel: seed, appearance, truncation, weights, the way to a second object, mixed layers, files."""

from __future__ import annotations

import math
import secrets
from typing import TYPE_CHECKING, Any, Literal, Optional, get_args

from nerfstudio.viewer.viewer_elements import (
    ViewerButton,
    ViewerCheckbox,
    ViewerControl,
    ViewerDropdown,
    ViewerElement,
    ViewerNumber,
    ViewerSlider,
)

from gan3d_ns.model_components.latents import Curve, LatentSelection, SavedLatent, Space, whole_seed
from gan3d_ns.viewer.latent_files import Check, Encode, LatentFiles
from gan3d_ns.viewer.player import Player

if TYPE_CHECKING:
    from nerfstudio.viewer.viewer import Viewer

    from gan3d_ns.viewer.scene_controls import SceneControls

FOLDER = "Generator"
RANDOM_SEEDS = 10_000
FOLDER_OFFSET = 0.5
"""nerfstudio numbers the panel's entries 0, 1, 2...: the folder goes between the statistics and the tabs, where it is
seen without scrolling and from every tab."""

Weights = Literal["average", "in training"]
WAYS: dict[str, tuple[Space, Curve]] = {
    "styles, line": ("codes", "linear"),
    "styles, arc": ("codes", "slerp"),
    "latents, line": ("latents", "linear"),
    "latents, arc": ("latents", "slerp"),
}
"""What the way from A to B can be."""


def finite(value: Any, fallback: float) -> float:
    """``value`` as a number, ``fallback`` for what is none."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return fallback
    return number if math.isfinite(number) else fallback


def nothing_to_encode(_: LatentSelection) -> bytes:
    """Stands where no model is."""
    raise NotImplementedError("these controls belong to no model")


class LatentControls(ViewerControl):
    """A folder of its own in the viewer's panel; without a viewer the controls hold their start values.

    Args:
        seed: the first object.
        truncation: where its slider starts.
        separates_appearance: whether shape and appearance can have seeds of their own.
        style_layers: names of the layers that can take another object's code.
        encode: makes the content of a latent's file.
        check: refuses loaded latents that the model cannot show.
        scene: what is done to the things of a scene, for methods that show several.
    """

    def __init__(
        self,
        seed: int,
        truncation: float,
        separates_appearance: bool = False,
        style_layers: tuple[str, ...] = (),
        encode: Encode = nothing_to_encode,
        check: Check = lambda _: "",
        scene: Optional[SceneControls] = None,
    ) -> None:
        self.scene = scene
        self.start_truncation = truncation
        self.separates_appearance = separates_appearance
        self.saved: Optional[SavedLatent] = None
        self.player = Player(self.move_to)
        self.files = LatentFiles(encode, check, self.selection, self.show_saved)
        self.own_appearance = ViewerCheckbox(
            "Other appearance", False, cb_hook=self.redraw, hint="Keep the shape of the seed, in the colours of another"
        )
        self.appearance_seed = ViewerNumber(
            "Appearance seed", whole_seed(seed), cb_hook=self.redraw, hint="Whose colours, where that is switched on"
        )
        self.seed = ViewerNumber(
            "Seed", whole_seed(seed), cb_hook=self.choose_seed, hint="Every whole number is another object"
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
        self.weights = ViewerDropdown[Weights](
            "Weights",
            "average",
            list(get_args(Weights)),
            cb_hook=self.redraw,
            hint="The moving average of the training's weights, or the weights themselves",
        )
        self.second_seed = ViewerNumber(
            "Second seed", whole_seed(seed + 1), cb_hook=self.redraw, hint="B, where the interpolation leads"
        )
        self.interpolation = ViewerSlider(
            "Interpolation", 0.0, 0.0, 1.0, 0.01, cb_hook=self.redraw, hint="0 is A, the object above; 1 is B"
        )
        self.way = ViewerDropdown(
            "Way", next(iter(WAYS)), list(WAYS), cb_hook=self.redraw, hint="Between what, and on a line or an arc"
        )
        self.play = ViewerCheckbox("Play A - B", False, cb_hook=self.press_play, hint="Go to B and back, for ever")
        self.mixed_seed = ViewerNumber(
            "Mixed seed", whole_seed(seed + 2), cb_hook=self.redraw, hint="Whose style the layers below take"
        )
        self.mixed_layers = [ViewerCheckbox(name, False, cb_hook=self.redraw) for name in style_layers]

    @property
    def folders(self) -> dict[str, list[ViewerElement]]:
        """The controls by folder, in the order of the panel; the first folder holds the others."""
        appearance = [self.own_appearance, self.appearance_seed] if self.separates_appearance else []
        return {
            FOLDER: [self.seed, self.random, *appearance, self.truncation, self.weights],
            "Interpolation A - B": [self.second_seed, self.interpolation, self.play, self.way],
            "Style mixing": [self.mixed_seed, *self.mixed_layers] if self.mixed_layers else [],
        }

    def _setup(self, viewer: Viewer) -> None:
        super()._setup(viewer)
        gui = self.viser_server.gui
        if viewer.trainer is None:
            # nerfstudio offers to pause the training of a run that is only looked at, and calls its step 0.
            viewer.pause_train.visible = viewer.resume_train.visible = False
            viewer.stats_markdown.content = viewer.make_stats_markdown(getattr(viewer.get_model(), "step", 0), None)
        (_, first), *others = self.folders.items()
        with gui.add_folder(FOLDER, order=viewer.stats_markdown.order + FOLDER_OFFSET):
            for element in first:
                element.install(self.viser_server)
            for label, elements in others:
                if elements:
                    with gui.add_folder(label, expand_by_default=False):
                        for element in elements:
                            element.install(self.viser_server)
            self.files.install(viewer)

    def redraw(self, _: Optional[ViewerElement] = None) -> None:
        """Asks the viewer, if there is one, for new pictures."""
        if hasattr(self, "viewer"):
            self.viewer._trigger_rerender()

    def choose_seed(self, element: Optional[ViewerElement] = None) -> None:
        """A seed takes the place of a loaded latent."""
        if self.saved is not None:
            self.saved = None
            self.files.say("")
        self.redraw(element)

    def press_random(self, button: ViewerButton) -> None:
        """Jumps to a seed that nobody chose, all of it. Leaves the random numbers of a training alone."""
        self.interpolation.value = 0.0
        self.seed.value = secrets.randbelow(RANDOM_SEEDS)
        self.choose_seed(button)

    def press_play(self, checkbox: ViewerCheckbox) -> None:
        """Starts or pauses the way to the second object and back."""
        if checkbox.value:
            self.player.play(min(max(finite(self.interpolation.value, 0.0), 0.0), 1.0))
        else:
            self.player.pause()

    def move_to(self, amount: float) -> None:
        """Moves the slider."""
        if hasattr(self, "viewer") and not self.viewer.viser_server.get_clients():
            return  # nobody is looking
        self.interpolation.value = round(amount, 2)
        if self.interpolation.gui_handle is None:
            self.redraw()

    def show_saved(self, saved: SavedLatent) -> None:
        """Shows a latent from a file, until another seed is chosen."""
        self.saved = saved
        if self.scene is not None:
            self.scene.show(LatentSelection(saved=saved).used_scene)
        self.interpolation.value = 0.0
        self.redraw()

    def selection(self) -> LatentSelection:
        """What the controls say now; odd values are read as the nearest sensible ones."""
        other = self.separates_appearance and bool(self.own_appearance.value)
        space, curve = WAYS.get(self.way.value, next(iter(WAYS.values())))
        mixed = tuple(index for index, element in enumerate(self.mixed_layers) if element.value)
        return LatentSelection(
            seed=whole_seed(self.seed.value),
            second_seed=whole_seed(self.second_seed.value),
            interpolation=min(max(finite(self.interpolation.value, 0.0), 0.0), 1.0),
            truncation=finite(self.truncation.value, self.start_truncation),
            appearance_seed=whole_seed(self.appearance_seed.value) if other else None,
            space=space,
            curve=curve,
            mixed_seed=whole_seed(self.mixed_seed.value) if mixed else None,
            mixed_layers=mixed,
            raw_weights=self.weights.value == "in training",
            saved=self.saved,
            scene=None if self.scene is None else self.scene.scene(whole_seed(self.seed.value)),
        )
