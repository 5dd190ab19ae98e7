"""Errors that a user can cause, shown as one sentence instead of a traceback."""

from __future__ import annotations

import errno
import re
import sys
import traceback
from collections.abc import Callable
from types import TracebackType

explainers: list[Callable[[BaseException], str | None]] = []
"""Functions that know a sentence for errors of other packages which users cause, or None; modules add theirs."""


class UserError(Exception):
    """A mistake outside the code: the message names the value seen and what to do next."""


PATH_ERRORS = {
    getattr(errno, name)
    for name in ("EACCES", "EPERM", "EROFS", "ENOSPC", "EDQUOT", "ENAMETOOLONG", "ELOOP", "ENOTDIR", "EISDIR", "EFBIG")
    if hasattr(errno, name)
}
LONGEST_PATH = 200
CPU_ALLOCATOR = "DefaultCPUAllocator"
"""What torch's messages name where a CPU has no memory left; it has no exception of its own for that."""


def printable(text: str) -> str:
    """The text with everything escaped that would move a terminal's cursor, colour it or end a line.

    Names of files may hold any byte but / and zero; those that are not UTF-8 could not be printed at all.
    """
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def shown_path(path: object) -> str:
    """A path for messages: printable, and not longer than a few lines."""
    text = printable(str(path))
    return text if len(text) <= LONGEST_PATH else f"{text[:LONGEST_PATH]}... ({len(text)} letters)"


def modules_of(error: BaseException, start: str) -> list[str]:
    """The modules that an error has come through whose names start so."""
    names = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return [name for name in names if name.startswith(start)]


def explain_path(error: BaseException) -> str | None:
    """A sentence on a file or folder that cannot be used, where this package tried to."""
    if not isinstance(error, OSError) or error.errno not in PATH_ERRORS or error.filename is None:
        return None
    if not modules_of(error, "gan3d_ns."):
        return None
    return f"cannot use {shown_path(error.filename)}: {error.strerror}; choose another path."


explainers.append(explain_path)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a GPU's, the CPU's or Python's memory ran out; torch's class is known by its name."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and CPU_ALLOCATOR in str(error)


def asked_memory(error: BaseException) -> str:
    """How much was asked for when the memory ran out, as a part of a sentence; empty where the error does not say."""
    wanted = re.search(r"[Tt]ried to allocate ([\d.]+ ?\w+)", str(error))
    return f", {wanted[1]} more were asked for" if wanted else ""


def explain_memory(error: BaseException) -> str | None:
    """A sentence on too little memory in this package; steps of trainings know a better one."""
    if not is_out_of_memory(error) or not modules_of(error, "gan3d_ns."):
        return None
    flag = "a smaller --resolution, or fewer objects" if modules_of(error, "gan3d_ns.scripts.") else "smaller pictures"
    return f"the memory is too small for this{asked_memory(error)}; choose {flag}."


explainers.append(explain_memory)


def user_sentence(error: BaseException) -> str | None:
    """Return the message of a UserError, also of one raised in a worker of `torch.multiprocessing`, else None.

    The `explainers` are asked about other errors.

    Training on several GPUs runs in such workers; what arrives here then is a ProcessRaisedException whose text ends
    with the worker's traceback. It is known by its name, because importing torch for it would make every import heavy.
    """
    if isinstance(error, UserError):
        return str(error)
    if type(error).__name__ == "ProcessRaisedException":
        _, found, sentence = str(error).rpartition(f"\n{UserError.__module__}.{UserError.__qualname__}: ")
        if found:
            return sentence.strip()
    return next(filter(None, (explain(error) for explain in explainers)), None)


def install_excepthook() -> None:
    """Let an uncaught UserError end as `error: <sentence>` on stderr; Python still exits with status 1.

    Every other exception goes to the hook that stood before. A second call changes nothing.
    """
    previous = sys.excepthook
    if getattr(previous, "shows_user_errors", False):
        return

    def excepthook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        sentence = user_sentence(error)
        if sentence is None:
            previous(kind, error, traceback)
        else:
            print("error: " + "\n".join(map(printable, sentence.split("\n"))), file=sys.stderr)

    excepthook.shows_user_errors = True  # pyright: ignore[reportFunctionMemberAccess]
    sys.excepthook = excepthook


install_excepthook()
