"""What a viewer wants of a render: which outputs it shows, and depth that lets scene objects be seen."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
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
_ASKED: ContextVar[frozenset[str] | None] = ContextVar("asked", default=None)


def viewer_of_this_thread() -> Viewer | None:
    """The viewer whose render thread is running this, of which each browser has one; None anywhere else."""
    from nerfstudio.viewer.render_state_machine import RenderStateMachine

    thread = threading.current_thread()
    return thread.viewer if isinstance(thread, RenderStateMachine) else None


@contextmanager
def asking_for(names: Iterable[str]) -> Iterator[None]:
    """What is rendered inside has these outputs; others may stay blank, which saves the time that they cost."""
    token = _ASKED.set(frozenset(names))
    try:
        yield
    finally:
        _ASKED.reset(token)


def wanted_outputs(names: tuple[str, ...]) -> frozenset[str]:
    """Those of ``names`` that someone will look at: in a viewer the shown ones, anywhere else all.

    The first of ``names`` is what a viewer shows before anyone chooses. Inside of `asking_for` they are what is asked.
    """
    asked = _ASKED.get()
    if asked is not None:
        return asked & frozenset(names)
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
