"""A button that makes a file of the shown object, in a thread of its own while the viewer goes on."""

from __future__ import annotations

import contextlib
import io
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Optional

import viser
from nerfstudio.utils.rich_utils import CONSOLE

from gan3d_ns.errors import UserError
from gan3d_ns.viewer.panel_text import as_text

if TYPE_CHECKING:
    from nerfstudio.viewer.viewer import Viewer

Progress = Callable[[float, str], None]
"""Takes the share that is done, in [0, 1], and what is being done."""
Write = Callable[[Path, Progress], Path]
"""Makes a file below the run's folder and returns its path; raises UserErrors."""
Prepare = Callable[[str, int], Write]
"""Takes the kind of file and the number of cells on an axis, copies what is shown, and returns what remains to do."""


def send(client: viser.ClientHandle, path: Path) -> None:
    """Hands a file to a browser; one that came with others (.obj with .mtl and .png), as a .zip of all of them."""
    files = sorted(entry for entry in path.parent.iterdir() if entry.stem == path.stem) if path.suffix == ".obj" else []
    name, content = path.name, path.read_bytes()
    if len(files) > 1:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for entry in files:
                archive.write(entry, entry.name)
        name, content = f"{path.stem}.zip", stream.getvalue()
    # The browser may have left meanwhile: the file is in the run's folder all the same.
    with contextlib.suppress(Exception):
        client.send_file_download(name, content)


class ExportControls:
    """A choice of files, a button, a bar and a line that says what happened.

    Args:
        kinds: what can be written.
        prepare: called while training and rendering wait: copies the shown object, and returns the work on it.
        resolution: where the number of cells starts.
    """

    def __init__(self, kinds: tuple[str, ...], prepare: Prepare, resolution: int = 128) -> None:
        self.kinds, self.prepare, self.start_resolution = kinds, prepare, resolution
        self.worker: Optional[threading.Thread] = None

    def install(self, viewer: Viewer) -> None:
        """Puts the controls into the folder that is open in the panel."""
        gui = viewer.viser_server.gui
        self.folder = viewer.log_filename.parent
        self.lock = viewer.train_lock if viewer.train_lock is not None else contextlib.nullcontext()
        self.kind = gui.add_dropdown("File", self.kinds, hint="What to make of the object that is shown")
        self.resolution = gui.add_number(
            "Cells", self.start_resolution, min=8, max=1024, step=8, hint="Of a mesh, on each axis: time grows with it"
        )
        self.button = gui.add_button("Export this", icon=viser.Icon.PACKAGE_EXPORT)
        self.bar = gui.add_progress_bar(0.0, visible=False)
        self.status = gui.add_markdown("", visible=False)
        self.button.on_click(lambda event: self.start(event.client))

    def say(self, text: str) -> None:
        """Puts a line below the button."""
        self.status.content = as_text(text)
        self.status.visible = bool(text)

    def show_progress(self, share: float, doing: str) -> None:
        """Moves the bar."""
        self.bar.value = 100.0 * min(max(share, 0.0), 1.0)
        self.say(doing)

    def start(self, client: Optional[viser.ClientHandle] = None) -> None:
        """Begins, unless an export is under way."""
        if self.worker is not None and self.worker.is_alive():
            return
        self.button.disabled = True
        self.bar.value, self.bar.visible = 0.0, True
        self.worker = threading.Thread(target=self.run, args=(client,), daemon=True)
        self.worker.start()

    def run(self, client: Optional[viser.ClientHandle] = None) -> None:
        """The thread: writes the file and hands it to the browser that asked."""
        try:
            self.say("Copying the object")
            with self.lock:
                write = self.prepare(self.kind.value, int(self.resolution.value))
            path = write(self.folder, self.show_progress)
            self.say(f"Wrote {path.relative_to(self.folder)}")
            if client is not None:
                send(client, path)
        except UserError as error:
            self.say(f"Not exported: {error}")
        except Exception as fault:
            # This thread has nobody to raise to: the terminal gets all of it, the panel what it is.
            CONSOLE.print_exception()
            self.say(f"Not exported: {type(fault).__name__}: {fault}")
        finally:
            self.bar.visible = False
            self.button.disabled = False
