"""What a viewer wants of a render: which outputs it shows, and depth that lets scene objects be seen."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from nerfstudio.viewer.viewer import Viewer

OPEN_DEPTH = 16.0
"""Depth of the open background in world units: about the farthest that viser can encode (167.77 of its own units)."""
OPAQUE = 0.5
"""Rays with less accumulation show the background."""


def viewer_of_this_thread() -> Viewer | None:
    """The viewer whose render thread is running this, of which each browser has one; None anywhere else."""
    from nerfstudio.viewer.render_state_machine import RenderStateMachine

    thread = threading.current_thread()
    return thread.viewer if isinstance(thread, RenderStateMachine) else None


def wanted_outputs(names: tuple[str, ...]) -> frozenset[str]:
    """Those of ``names`` that someone will look at: in a viewer the shown ones, anywhere else all.

    The first of ``names`` is what a viewer shows before anyone chooses.
    """
    viewer = viewer_of_this_thread()
    if viewer is None:
        return frozenset(names)
    panel = viewer.control_panel
    shown = {panel.output_render, panel.split_output_render} if panel.split else {panel.output_render}
    return frozenset(shown & set(names)) or frozenset(names[:1])


def open_background(
    depth: Float[Tensor, "height width 1"], accumulation: Float[Tensor, "height width 1"]
) -> Float[Tensor, "height width 1"]:
    """Depth with the background out of the way: viewers draw camera frusta only where they are nearer than it.

    The far plane itself lies just behind the object and would hide every frustum beyond. As a picture this depth
    would show nothing but that distance.
    """
    return torch.where(accumulation > OPAQUE, depth, torch.full_like(depth, OPEN_DEPTH))
