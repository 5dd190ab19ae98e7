"""Where a model's cameras stand: on its pose prior, or where its camera generator has learnt that they stood."""

from __future__ import annotations

from typing import Optional, Union

import torch

from gan3d_ns.cameras.pose_prior import PosePrior, PosePriorConfig
from gan3d_ns.cameras.viewpoints import Viewpoints
from gan3d_ns.models.generator import Generator


class CameraLaw:
    """The prior that cameras are drawn from, and what becomes of them.

    Args:
        config: of the prior.
    """

    def __init__(self, config: PosePriorConfig) -> None:
        self.drawn: PosePrior = config.setup()
        self._fitted: Optional[tuple[tuple[int, ...], PosePrior]] = None

    @torch.no_grad()
    def sample(
        self,
        generator: Generator,
        num: int,
        randomness: Optional[torch.Generator] = None,
        device: Union[torch.device, str] = "cpu",
    ) -> Viewpoints:
        """Random cameras of a generator's pictures."""
        viewpoints, moved = self.drawn.sample_viewpoints(num, randomness, device), generator.camera_generator
        return viewpoints if moved is None else moved(viewpoints.to(generator.mean_code.device)).to(device)

    @torch.no_grad()
    def seen(self, generator: Generator) -> PosePrior:
        """The prior itself, or the simple law that is nearest to what the camera generator makes of it."""
        moved = generator.camera_generator
        if moved is None:
            return self.drawn
        # torch counts the writes into each tensor; moving a module to a device exchanges its memory uncounted.
        state = [*moved.parameters(), *moved.buffers()]
        key = tuple(number for entry in state for number in (entry.data_ptr(), entry._version))
        if self._fitted is None or self._fitted[0] != key:
            self._fitted = (key, PosePrior(moved.fitted()))
        return self._fitted[1]
