"""The Scene panel: how many objects there are, and where each one stands, what it is, and whether it is there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Optional

from nerfstudio.viewer.viewer_elements import (
    ViewerButton,
    ViewerCheckbox,
    ViewerControl,
    ViewerDropdown,
    ViewerElement,
    ViewerNumber,
    ViewerSlider,
)

from gan3d_ns.model_components.latents import whole_seed
from gan3d_ns.model_components.scenes import MOST_OBJECTS, ObjectEdit, Scene, SeedWay
from gan3d_ns.viewer.latent_controls import FOLDER_OFFSET, finite

if TYPE_CHECKING:
    from nerfstudio.viewer.viewer import Viewer

FOLDER = "Scene"
BELOW_GENERATOR = 0.02
"""Above the Surface panel."""
SMALLEST_SIZE, LARGEST_SIZE = 0.25, 2.5
HALF_TURN_DEG = 180.0


def within(value: Any, low: float, high: float, fallback: float) -> float:
    """``value`` as a number of a range, ``fallback`` for what is none."""
    return min(max(finite(value, fallback), low), high)


class SceneControls(ViewerControl):
    """A folder below the Generator's, for methods that show several objects; without a viewer nothing is edited.

    Args:
        num_objects: of a training picture.
        reach: how far objects can be moved to each side, in world units.
        background: whether it is shown at first.
    """

    def __init__(self, num_objects: int, reach: float, background: bool = True) -> None:
        self.reach, self.given = reach, False
        self.edits = [ObjectEdit() for _ in range(MOST_OBJECTS)]
        self.rest = Scene()
        """What the panel has no controls for, of a scene that was loaded."""
        self._filling = False
        self.own_number = ViewerCheckbox(
            "Other number", False, cb_hook=self.redraw, hint="Show as many objects as the slider says"
        )
        self.number = ViewerSlider(
            "Objects",
            min(num_objects, MOST_OBJECTS),
            0,
            MOST_OBJECTS,
            1,
            cb_hook=self.redraw,
            hint="More than were trained: just more of them",
        )
        self.background = ViewerCheckbox(
            "Background", background, cb_hook=self.redraw, hint="Objects alone, or before their background"
        )
        names = [f"object {index + 1}" for index in range(MOST_OBJECTS)]
        self.chosen = ViewerDropdown("Object", names[0], names, cb_hook=self.fill, hint="Which one is changed below")
        self.present = ViewerCheckbox("Present", True, cb_hook=self.note, hint="Take this object away, or put it back")
        self.turn = ViewerSlider(
            "Turn",
            0.0,
            -HALF_TURN_DEG,
            HALF_TURN_DEG,
            5.0,
            cb_hook=self.note,
            hint="Degrees, counterclockwise from above",
        )
        self.moves = [
            ViewerSlider(name, 0.0, -reach, reach, reach / 50.0, cb_hook=self.note, hint="In world units")
            for name in ("To the right", "Up", "To the front")
        ]
        self.size = ViewerSlider(
            "Size", 1.0, SMALLEST_SIZE, LARGEST_SIZE, 0.05, cb_hook=self.note, hint="1 is as it was drawn"
        )
        self.own_shape = ViewerCheckbox("Other shape", False, cb_hook=self.note, hint="Take another scene's shape")
        self.shape_seed = ViewerNumber("Shape seed", 0, cb_hook=self.note, hint="Whose shape, where that is on")
        self.own_colours = ViewerCheckbox("Other colours", False, cb_hook=self.note, hint="Take another scene's look")
        self.colour_seed = ViewerNumber("Colour seed", 0, cb_hook=self.note, hint="Whose look, where that is on")
        self.reset = ViewerButton("As it was drawn", cb_hook=self.press_reset)

    @property
    def elements(self) -> list[ViewerElement]:
        """The controls of the whole scene, in the order of the panel."""
        return [self.own_number, self.number, self.background, self.chosen, *self.of_object, self.reset]

    @property
    def of_object(self) -> list[ViewerElement]:
        """The controls of the chosen object."""
        codes = [self.own_shape, self.shape_seed, self.own_colours, self.colour_seed]
        return [self.present, self.turn, *self.moves, self.size, *codes]

    def _setup(self, viewer: Viewer) -> None:
        super()._setup(viewer)
        order = viewer.stats_markdown.order + FOLDER_OFFSET + BELOW_GENERATOR
        with self.viser_server.gui.add_folder(FOLDER, order=order, expand_by_default=False):
            for element in self.elements:
                element.install(self.viser_server)

    @property
    def index(self) -> int:
        """Of the chosen object."""
        return self.chosen.options.index(self.chosen.value) if self.chosen.value in self.chosen.options else 0

    def redraw(self, _: Optional[ViewerElement] = None) -> None:
        """Asks the viewer, if there is one, for new pictures."""
        if hasattr(self, "viewer") and not self._filling:
            self.viewer._trigger_rerender()

    def fill(self, _: Optional[ViewerElement] = None) -> None:
        """Lets the controls show what is done to the chosen object."""
        edit = self.edits[self.index]
        self._filling = True
        try:
            self.present.value, self.turn.value, self.size.value = edit.present, edit.turn_deg, edit.size
            for slider, shift in zip(self.moves, edit.shift, strict=True):
                slider.value = shift
            for own, number, way in (
                (self.own_shape, self.shape_seed, edit.shape),
                (self.own_colours, self.colour_seed, edit.appearance),
            ):
                own.value = way is not None
                number.value = 0 if way is None else way.seed
        finally:
            self._filling = False

    def note(self, _: Optional[ViewerElement] = None) -> None:
        """Takes down what the controls say of the chosen object; odd values are read as the nearest sensible ones."""
        if self._filling:
            return
        edit = self.edits[self.index]

        def way(own: bool, value: Any, known: Optional[SeedWay]) -> Optional[SeedWay]:
            if not own:
                return None
            seed = whole_seed(value)
            return known if known is not None and known.seed == seed else SeedWay(seed)

        shift = [within(slider.value, -self.reach, self.reach, 0.0) for slider in self.moves]
        self.edits[self.index] = replace(
            edit,
            present=bool(self.present.value),
            turn_deg=within(self.turn.value, -HALF_TURN_DEG, HALF_TURN_DEG, 0.0),
            shift=(shift[0], shift[1], shift[2]),
            size=within(self.size.value, SMALLEST_SIZE, LARGEST_SIZE, 1.0),
            shape=way(bool(self.own_shape.value), self.shape_seed.value, edit.shape),
            appearance=way(bool(self.own_colours.value), self.colour_seed.value, edit.appearance),
        )
        self.redraw()

    def press_reset(self, _: Optional[ViewerElement] = None) -> None:
        """Puts the whole scene back as it was drawn."""
        self.show(None)
        # A latent's own scene stays away as well.
        self.given = True
        self.redraw()

    def show(self, scene: Optional[Scene]) -> None:
        """Takes over the scene of a latent that was loaded; None: an untouched one."""
        self.rest, self.given = scene or Scene(), scene is not None
        self.edits = [self.rest.edit_of(index) for index in range(max(MOST_OBJECTS, len(self.rest.objects)))]
        self._filling = True
        try:
            self.own_number.value, self.background.value = self.rest.num_objects is not None, self.rest.background
            if self.rest.num_objects is not None:
                self.number.value = min(self.rest.num_objects, MOST_OBJECTS)
        finally:
            self._filling = False
        self.fill()
        self.redraw()

    def scene(self, seed: int) -> Optional[Scene]:
        """What the controls say now; None where nothing was touched.

        Args:
            seed: of the scene that is shown: it decides which objects are added.
        """
        edits = list(self.edits)
        while edits and edits[-1] == ObjectEdit():
            edits.pop()
        number = round(within(self.number.value, 0.0, float(MOST_OBJECTS), 0.0)) if self.own_number.value else None
        scene = replace(self.rest, num_objects=number, objects=tuple(edits), background=bool(self.background.value))
        if scene == replace(Scene(), seed=scene.seed) and not self.given:
            return None
        return replace(scene, seed=scene.seed if self.given and self.rest != Scene() else seed)
