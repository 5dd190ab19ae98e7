"""Stands between the network and nerfstudio's viewer: no browser can end it for the others, or end a training.

What comes in is checked (`incoming`), who leaves is seen off whatever way they leave, and a fault while a picture is
made does not end the thread that makes them. All of it is done to the one server and its connections; viser's and
nerfstudio's classes stay as they are.
"""

from __future__ import annotations

import asyncio
import http
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import viser
from nerfstudio.utils.rich_utils import CONSOLE
from nerfstudio.viewer.viewer_elements import ViewerControl
from nerfstudio.viewer_legacy.server.viewer_utils import IOChangeException
from viser import _messages as messages
from viser.infra import ClientId, Message, WebsockClientConnection, WebsockMessageHandler

from gan3d_ns.viewer.incoming import (
    MOST_UPLOADS,
    OWN_NAMES,
    camera_fault,
    control_fault,
    finite,
    is_foreign,
    leads_outside,
    part_fault,
    upload_fault,
)

if TYPE_CHECKING:
    from nerfstudio.viewer.viewer import Viewer

MOST_CONNECTIONS = 64
"""At the same time; each browser holds one, and some more for a moment while it loads the page."""
LONGEST_HALT_S = 5.0
"""nerfstudio halts a training while somebody moves the camera: so long at most, however long the movement lasts."""
PAUSE_S = 0.5
"""Without a new camera for so long, a movement has ended."""
MOST_COMPLAINTS = 10
"""Different ones that are printed; after them it is silent."""


@contextmanager
def atomic(handler: WebsockMessageHandler) -> Iterator[None]:
    """viser's lock around messages that belong together, given back also after an error; viser itself keeps it then."""
    thread = threading.get_ident()
    if thread == handler._locked_thread_id:
        yield
        return
    with handler._atomic_lock:
        handler._locked_thread_id = thread
        try:
            yield
        finally:
            handler._locked_thread_id = -1


class NobodysThread:
    """Stands for the render thread of a browser that has just left: takes orders and does nothing."""

    running = False

    def action(self, action: Any) -> None:
        """Nothing."""


class RenderThreads(dict):
    """nerfstudio's render threads by client; asked for one that has left meanwhile it gives `NobodysThread`.

    nerfstudio asks from the training's own thread, which would end with a KeyError.
    """

    def __missing__(self, client_id: int) -> NobodysThread:
        return NobodysThread()

    def pop(self, client_id: int, *default: Any) -> Any:
        """The thread, which is forgotten."""
        return super().pop(client_id, *(default or (NobodysThread(),)))


def without_traceback(record: logging.LogRecord) -> bool:
    """Makes one line of what websockets reports of a broken connection."""
    if record.exc_info and record.exc_info[1] is not None:
        fault = record.exc_info[1]
        record.msg, record.args = f"viewer: {record.getMessage()}: {type(fault).__name__}: {fault}"[:300], ()
        record.exc_info = None
    return True


class Doorman(ViewerControl):
    """Goes with a model into every viewer that is opened on it."""

    def __init__(self) -> None:
        self.complaints: set[str] = set()
        self.moving_since = self.last_camera = -1e9

    def _setup(self, viewer: Viewer) -> None:
        super()._setup(viewer)
        server = self.viser_server._websock_server
        self.uploads: dict[str, str] = {}
        viewer.render_statemachines = RenderThreads(viewer.render_statemachines)
        self.watch(server)
        server.on_client_connect(self.receive)
        self.viser_server.on_client_connect(self.keep_rendering)
        sockets = server._ws_server
        assert sockets is not None
        self.register, self.sockets = sockets.register, sockets
        sockets.register = self.admit
        sockets.logger.addFilter(without_traceback)
        # Browsers that were faster than this have passed no check: they come again by themselves.
        for early in list(sockets.websockets):
            server._broadcast_buffer.event_loop.call_soon_threadsafe(early.transport.close)
        self.say_where()

    # What a person is told

    def say_where(self) -> None:
        """Corrects the address that nerfstudio prints where viser took another port, and says who can open it."""
        viewer, host = self.viewer, self.viser_server.get_host()
        port = self.viser_server.get_port()
        shown = "localhost" if host == "0.0.0.0" else host
        viewer.viewer_info = [
            line if f":{port}" in line else f"Viewer running locally at: http://{shown}:{port}"
            for line in viewer.viewer_info
        ]
        if host in OWN_NAMES:
            CONSOLE.print(
                f"The viewer listens to this machine alone. From another: ssh -L {port}:127.0.0.1:{port} THIS_MACHINE, "
                f"and there open http://localhost:{port}"
            )
        else:
            CONSOLE.print(
                f"The viewer listens on {host}: everybody who reaches this machine can look, steer and save files. "
                "--viewer.websocket-host 127.0.0.1 keeps it to this machine."
            )

    def complain(self, what: str) -> None:
        """Prints a sentence, each once."""
        if what not in self.complaints and len(self.complaints) < MOST_COMPLAINTS:
            self.complaints.add(what)
            CONSOLE.print(f"Viewer: {what}.", markup=False)

    # Connections

    def admit(self, protocol: Any) -> None:
        """Takes a connection, before it has said anything, unless there are too many."""
        self.register(protocol)
        protocol._process_request = self.checked_request(protocol._process_request)
        if len(self.sockets.websockets) > MOST_CONNECTIONS:
            self.complain(f"there are {MOST_CONNECTIONS} connections, and no place for more")
            protocol.transport.abort()

    def checked_request(self, answer: Callable[..., Any]) -> Callable[..., Any]:
        """viser's answer to an HTTP request, but for files outside of its page and for pages of other sites."""
        root = Path(viser.__file__).absolute().parent / "client" / "build"
        private = self.viser_server.get_host() in OWN_NAMES and not self.viewer.config.make_share_url

        async def checked(path: str, headers: Any) -> Any:
            if private and is_foreign(headers.get_all("Origin")):
                self.complain(
                    "refused a page of another site; from another machine, open it through ssh -L at localhost"
                )
                return http.HTTPStatus.FORBIDDEN, {}, b"403"
            if headers.get_all("Upgrade") != ["websocket"] and leads_outside(path, root):
                return http.HTTPStatus.NOT_FOUND, {}, b"404"
            return await answer(path, headers)

        return checked

    def receive(self, connection: WebsockClientConnection) -> None:
        """Watches a new connection; called in the task that serves it."""
        self.watch(connection)
        task = asyncio.current_task()
        assert task is not None
        task.add_done_callback(lambda _: self.see_off(connection))

    def see_off(self, connection: WebsockClientConnection) -> None:
        """Ends what belongs to a connection. viser itself does so only for those that end as they should."""
        server = self.viser_server._websock_server
        connection._state.message_buffer.set_done()
        server._client_state_from_id.pop(connection.client_id, None)
        try:
            server._thread_executor.submit(self.forget, connection)
        except RuntimeError:
            return  # the viewer is closed
        # Wakes the tasks that viser has left waiting for the next flush, which would be kept for ever.
        server.flush()

    def forget(self, connection: WebsockClientConnection) -> None:
        """Calls viser's own callbacks, which do nothing where they have been called before."""
        for callback in self.viser_server._websock_server._client_disconnect_cb:
            callback(connection)

    # Messages

    def watch(self, handler: WebsockMessageHandler) -> None:
        """Puts the checks before everything that the server or one connection does with a message."""
        handle = handler._handle_incoming_message

        def checked(client_id: ClientId, message: Message) -> None:
            if isinstance(handler, WebsockClientConnection):
                gone = handler._state.message_buffer.done
            else:
                gone = client_id not in self.viser_server._connected_clients
            fault = "" if gone else self.fault(message, handler)
            if fault:
                self.complain(f"ignored {fault}")
            elif not gone:
                handle(client_id, message)
                self.after(message, handler)

        handler._handle_incoming_message = checked
        handler.atomic = lambda: atomic(handler)

    def fault(self, message: Message, handler: WebsockMessageHandler) -> str:
        """What is wrong with a message, empty where nothing is."""
        if not all(finite(value) for value in vars(message).values()):
            return f"a {type(message).__name__} with numbers that are none"
        if isinstance(message, messages.ViewerCameraMessage):
            return camera_fault(message)
        if isinstance(handler, WebsockClientConnection):
            return ""  # the panel belongs to the server
        gui = self.viser_server.gui
        if isinstance(message, messages.GuiUpdateMessage):
            handle = gui._gui_input_handle_from_id.get(message.id) if isinstance(message.id, str) else None
            return "" if handle is None else control_fault(handle, self.added(message.id), message.updates)
        if isinstance(message, (messages.FileTransferStart, messages.FileTransferPart)):
            return self.file_fault(message)
        shares = (messages.ShareUrlRequest, messages.ShareUrlDisconnect)
        if isinstance(message, shares) and not self.viewer.config.make_share_url:
            return "the wish to share it with the world, for which there is --viewer.make-share-url True"
        return ""

    def file_fault(self, message: messages.FileTransferStart | messages.FileTransferPart) -> str:
        """What is wrong with a file that a browser hands over, or with a part of it."""
        gui, name = self.viser_server.gui, message.transfer_uuid
        uploads: dict[str, Any] = gui._current_file_upload_states  # pyright: ignore
        if isinstance(message, messages.FileTransferStart):
            control = message.source_component_id or ""
            fault = upload_fault(gui._gui_input_handle_from_id.get(control), message)
            if not fault:
                for oldest in list(uploads)[: max(0, len(uploads) + 1 - MOST_UPLOADS)]:
                    uploads.pop(oldest, None)
                self.uploads = {known: self.uploads[known] for known in uploads if known in self.uploads}
                self.uploads[name] = control
            return fault
        upload = uploads.get(name)
        fault = "" if upload is None else part_fault(message, upload, self.uploads.get(name, ""))
        if fault:
            uploads.pop(name, None)
        return fault

    def after(self, message: Message, handler: WebsockMessageHandler) -> None:
        """What a message that was handled leaves to do."""
        if isinstance(handler, WebsockClientConnection) and isinstance(message, messages.ViewerCameraMessage):
            if handler._state.message_buffer.done:
                self.forget(handler)  # it left while its first camera was on the way, and has just been taken in
            now = time.monotonic()
            if now - self.last_camera > PAUSE_S:
                self.moving_since = now
            self.last_camera = now
            if now - self.moving_since > LONGEST_HALT_S:
                self.viewer.last_move_time = 0

    def added(self, control: str) -> Message | None:
        """The message that has put a control into the panel."""
        kept = self.viser_server._websock_server._broadcast_buffer
        with kept.buffer_lock:
            entries = list(kept.message_from_id.values())
        return next((m for m in entries if getattr(m, "id", None) == control and hasattr(m, "min")), None)

    # Pictures

    def keep_rendering(self, client: viser.ClientHandle) -> None:
        """Lets a browser's render thread outlive faults around the model, whose own ones its guard shows."""
        from nerfstudio.viewer.render_state_machine import RenderStateMachine

        machine = self.viewer.render_statemachines[client.client_id]
        if isinstance(machine, RenderStateMachine):
            machine._render_img = self.surviving(machine._render_img)
            machine._send_output_to_viewer = self.surviving(machine._send_output_to_viewer)

    def surviving(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """``work``, after whose faults nerfstudio goes on as after an interruption."""

        def done(*arguments: Any, **named: Any) -> Any:
            try:
                return work(*arguments, **named)
            except IOChangeException:
                raise
            except Exception as fault:
                self.complain(f"a picture failed with {type(fault).__name__}: {fault}")
                if getattr(work, "__name__", "") == "_render_img":
                    raise IOChangeException from fault

        return done
