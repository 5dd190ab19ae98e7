"""Keeping the shown object in a file, and showing one that was kept."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Optional

import viser

from gan3d_ns.errors import UserError
from gan3d_ns.file_names import free_path
from gan3d_ns.model_components.latents import SUFFIX, LatentSelection, SavedLatent, decode_latent
from gan3d_ns.viewer.panel_text import as_text

if TYPE_CHECKING:
    from nerfstudio.viewer.viewer import Viewer

FOLDER_NAME = "latents"
"""Beside the run's checkpoints."""

Encode = Callable[[LatentSelection], bytes]
"""The content of a selection's file."""
Check = Callable[[SavedLatent], str]
"""What there is to say of a latent before it is shown; raises a UserError for those that the model cannot show."""


class LatentFiles:
    """Two buttons and a line that says what happened.

    Args:
        encode: makes a file's content.
        check: refuses what the model cannot show.
        current: the selection that is shown.
        show: shows a latent that was loaded.
    """

    def __init__(
        self,
        encode: Encode,
        check: Check,
        current: Callable[[], LatentSelection],
        show: Callable[[SavedLatent], None],
    ) -> None:
        self.encode, self.check, self.current, self.show = encode, check, current, show
        self.lock: contextlib.AbstractContextManager = contextlib.nullcontext()

    def install(self, viewer: Viewer) -> None:
        """Puts the buttons into the folder that is open in the panel."""
        gui = viewer.viser_server.gui
        self.folder = viewer.log_filename.parent / FOLDER_NAME
        if viewer.train_lock is not None:
            self.lock = viewer.train_lock
        save = gui.add_button(
            "Save latent",
            icon=viser.Icon.DEVICE_FLOPPY,
            hint="Into the run's folder, and as a download",
        )
        load = gui.add_upload_button(
            "Load latent", icon=viser.Icon.FOLDER_OPEN, mime_type=SUFFIX, hint="Show an object that was kept"
        )
        self.status = gui.add_markdown("", visible=False)

        @save.on_click
        def _(event: viser.GuiEvent) -> None:
            self.save(event.client)

        @load.on_upload
        def _(event: viser.GuiEvent) -> None:
            self.load(event.target.value.name, event.target.value.content)

    def say(self, text: str) -> None:
        """Puts a line below the buttons, an empty one takes it away."""
        if hasattr(self, "status"):
            self.status.content = as_text(text)
            self.status.visible = bool(text)

    def save(self, client: Optional[viser.ClientHandle] = None) -> Optional[Path]:
        """Writes the shown object and hands it to the browser that asked; returns the path, or None if it failed."""
        selection = self.current()
        try:
            with self.lock:
                content = self.encode(selection)
            self.folder.mkdir(parents=True, exist_ok=True)
            path = free_path(self.folder, selection.name, SUFFIX)
            with path.open("xb") as file:
                file.write(content)
        except (OSError, UserError) as error:
            self.say(f"Not saved: {error}")
            return None
        self.say(f"Saved {FOLDER_NAME}/{path.name}")
        if client is not None:
            client.send_file_download(path.name, content)
        return path

    def load(self, name: str, content: bytes) -> bool:
        """Shows the latent in a file's content; returns whether there was one that fits."""
        try:
            saved = decode_latent(content, name)
            with self.lock:
                remark = self.check(saved)
        except UserError as error:
            self.say(f"Not loaded: {error}")
            return False
        known = ", ".join(f"{key} {saved.metadata[key]}" for key in ("method", "step", "seed") if key in saved.metadata)
        self.say(f"Showing {saved.name} ({known or 'of unknown origin'}). {remark}".strip())
        self.show(saved)
        return True
