"""Errors that a user can cause, shown as one sentence instead of a traceback."""

from __future__ import annotations

import sys
from types import TracebackType


class UserError(Exception):
    """A mistake outside the code: the message names the value seen and what to do next."""


def _install_excepthook() -> None:
    """Chain an exception hook that prints an uncaught UserError as `error: <sentence>` on stderr.

    Python still ends with exit status 1. Every other exception goes to the hook that stood before.
    """
    previous = sys.excepthook
    if getattr(previous, "shows_user_errors", False):
        return

    def excepthook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if isinstance(error, UserError):
            print(f"error: {error}", file=sys.stderr)
        else:
            previous(kind, error, traceback)

    excepthook.shows_user_errors = True  # pyright: ignore[reportFunctionMemberAccess]
    sys.excepthook = excepthook


_install_excepthook()
