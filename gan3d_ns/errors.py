"""Errors that a user can cause, shown as one sentence instead of a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType

explainers: list[Callable[[BaseException], str | None]] = []
"""Functions that know a sentence for errors of other packages which users cause, or None; modules add theirs."""


class UserError(Exception):
    """A mistake outside the code: the message names the value seen and what to do next."""


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
            print(f"error: {sentence}", file=sys.stderr)

    excepthook.shows_user_errors = True  # pyright: ignore[reportFunctionMemberAccess]
    sys.excepthook = excepthook


install_excepthook()
