"""Which object the viewer shows: seed, truncation, and the way to a second seed."""

from __future__ import annotations

import random
from dataclasses import dataclass

from nerfstudio.viewer.viewer_elements import ViewerButton, ViewerNumber, ViewerSlider
from torch import nn

MAX_SEED = 9999


@dataclass(frozen=True)
class LatentSelection:
    """One object of the family: codes are interpolated from the first seed's to the second's and then truncated."""

    seed: int = 0
    second_seed: int = 1
    interpolation: float = 0.0
    truncation: float = 1.0


class LatentControls(nn.Module):
    """The controls, as nerfstudio finds them: attributes of a module. Without a viewer they hold their start values.

    nerfstudio orders controls by attribute name, hence the letters.
    """

    def __init__(self, seed: int, truncation: float) -> None:
        super().__init__()
        self.a_seed = ViewerNumber("Seed", seed, hint="Every whole number is another object")
        self.b_random = ViewerButton("Random", cb_hook=self.press_random)
        self.c_second_seed = ViewerNumber("Second seed", seed + 1, hint="Where the slider below leads")
        self.d_interpolation = ViewerSlider("Towards second seed", 0.0, 0.0, 1.0, 0.01, hint="0 is the first seed")
        self.e_truncation = ViewerSlider(
            "Truncation", truncation, 0.0, 1.0, 0.05, hint="0 is the average object, 1 the full variety"
        )

    def press_random(self, button: ViewerButton) -> None:
        """Jumps to a seed that nobody chose."""
        self.a_seed.value = random.randint(0, MAX_SEED)

    def selection(self) -> LatentSelection:
        """What the controls say now."""
        return LatentSelection(
            seed=int(self.a_seed.value or 0),
            second_seed=int(self.c_second_seed.value or 0),
            interpolation=float(self.d_interpolation.value),
            truncation=float(self.e_truncation.value),
        )
