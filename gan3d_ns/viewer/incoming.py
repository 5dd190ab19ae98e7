"""What may come in through the viewer's socket: functions that name what is wrong, or return nothing.

viser believes what a browser sends. A camera without a direction ends a render thread, a value of the wrong kind breaks
a control for everybody, and a path with dots leads out of the folder that it serves.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from viser import _messages as messages
from viser._gui_handles import GuiUploadButtonHandle, _GuiInputHandle
from viser.infra import Message

ASPECTS = (1.0 / 32.0, 32.0)
"""Narrower or wider windows would be pictures of no height, and padded to sizes that fill the memory."""
FOVS = (1e-3, math.pi - 1e-3)
"""Radians."""
FARTHEST = 1e6
"""viser units; float32 still tells neighbouring pixels apart."""
UNIT_TOLERANCE = 0.1
"""Of a quaternion's length: browsers send float32."""
SMALLEST_LENGTH = 1e-9
LARGEST_INTEGER = 2**53
"""Larger ones are no numbers in a browser, and beyond 64 bits the message that tells the others cannot be written."""
LONGEST_TEXT = 10_000
LARGEST_UPLOAD = 16 * 2**20
"""Bytes; latents take some thousands."""
MOST_PARTS = 4096
MOST_UPLOADS = 8
"""At the same time; one more replaces the oldest."""
OWN_NAMES = ("localhost", "127.0.0.1", "::1")


def finite(value: Any) -> bool:
    """Whether all numbers in it are, whatever else is there."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, (tuple, list)):
        return all(finite(entry) for entry in value)
    return True


def is_vector(value: Any, length: int) -> bool:
    """Whether it is so many finite numbers."""
    return (
        isinstance(value, tuple)
        and len(value) == length
        and all(isinstance(entry, (int, float)) and not isinstance(entry, bool) for entry in value)
        and all(abs(entry) <= FARTHEST for entry in value)
    )


def camera_fault(message: messages.ViewerCameraMessage) -> str:
    """What makes a camera impossible to render."""
    vectors = (message.position, message.look_at, message.up_direction)
    if not is_vector(message.wxyz, 4) or not all(is_vector(vector, 3) for vector in vectors):
        return "a camera without a place or a direction"
    if abs(math.hypot(*message.wxyz) - 1.0) > UNIT_TOLERANCE:
        return "a camera whose rotation is none"
    if not FOVS[0] <= message.fov <= FOVS[1]:
        return f"a camera with a field of view of {message.fov:.3g} radians"
    if not ASPECTS[0] <= message.aspect <= ASPECTS[1]:
        return f"a camera for a window of aspect {message.aspect:.3g}"
    ahead = np.subtract(message.look_at, message.position)
    if np.linalg.norm(np.cross(ahead, message.up_direction)) < SMALLEST_LENGTH:
        return "a camera that looks nowhere, or straight along its own up direction"
    return ""


def number_fault(value: Any, low: int | float | None, high: int | float | None) -> str:
    """What makes a value unfit for a slider or a field of numbers."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not abs(value) <= LARGEST_INTEGER:
        return "no number"
    # A browser rounds to the steps of the slider.
    slack = 1e-6 * (abs(low or 0.0) + abs(high or 0.0))
    if (low is not None and value < low - slack) or (high is not None and value > high + slack):
        return f"a number outside of its range, {value:.6g}"
    return ""


def control_fault(handle: _GuiInputHandle[Any], added: Message | None, updates: Any) -> str:
    """What makes an update unfit for a control.

    Args:
        handle: the control.
        added: the message that has put it into the panel, which knows the range of numbers.
        updates: what a browser says of it, by name.
    """
    if not isinstance(updates, dict) or set(updates) != {"value"}:
        return "more than a control's value"
    value, present = updates["value"], handle.value
    name = repr(handle._impl.label)
    options = getattr(handle, "_impl_options", None)
    if isinstance(present, bool):
        return "" if isinstance(value, bool) else f"no switch's value for {name}"
    if isinstance(present, str):
        if not isinstance(value, str) or len(value) > LONGEST_TEXT:
            return f"no short text for {name}"
        return "" if options is None or value in options else f"none of the choices of {name}"
    low, high = getattr(added, "min", None), getattr(added, "max", None)
    if isinstance(present, (int, float)):
        fault = number_fault(value, low, high)
    elif isinstance(present, tuple):
        if not isinstance(value, tuple) or len(value) != len(present):
            return f"another number of values for {name}"
        lows, highs = ([end] * len(present) if not isinstance(end, tuple) else end for end in (low, high))
        fault = next(filter(None, map(number_fault, value, lows, highs)), "")
    else:
        fault = "a value"
    return f"{fault} for {name}" if fault else ""


def upload_fault(handle: Any, message: messages.FileTransferStart) -> str:
    """What makes a file unwelcome that a browser announces for a control."""
    if not isinstance(handle, GuiUploadButtonHandle):
        return "a file for something that takes none"
    if not 0 < message.size_bytes <= LARGEST_UPLOAD or not 0 < message.part_count <= MOST_PARTS:
        return f"a file of {message.size_bytes:,} bytes in {message.part_count:,} parts"
    return ""


def part_fault(message: messages.FileTransferPart, upload: Any, control: str) -> str:
    """What makes a part unfit for the file that was announced for a control; parts come in any order, also at once."""
    if message.source_component_id != control or not isinstance(message.content, bytes):
        return "a part of a file for something else"
    if message.part in upload["parts"] or not 0 <= message.part < upload["part_count"]:
        return "a part of a file that was not announced"
    if upload["transferred_bytes"] + len(message.content) > upload["total_bytes"]:
        return "a file that is longer than announced"
    return ""


def leads_outside(path: str, root: Path) -> bool:
    """Whether the path of an HTTP request is anything but a file below ``root``, which holds the viewer's page."""
    relative = path.partition("?")[0]
    if relative == "/":
        return False
    parts = re.split(r"[/\\]", relative)
    if not relative.startswith("/") or "" in parts[1:] or ".." in parts or ":" in relative or "\0" in relative:
        return True
    try:
        return (root / relative[1:]).is_dir()
    except OSError:
        return True  # a name too long for any file


def is_foreign(origins: Iterable[str]) -> bool:
    """Whether a request comes from a page of another site: browsers say so, and let every page talk to this machine."""
    try:
        return any(urlsplit(origin).hostname not in OWN_NAMES for origin in origins)
    except ValueError:
        return True
