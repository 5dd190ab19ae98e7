"""Records for tensorboard and its like are worth less than the training: where they cannot be written, it goes on."""

from __future__ import annotations

from typing import Any, Callable

from nerfstudio.utils import writer
from nerfstudio.utils.rich_utils import CONSOLE


class ExpendableWriter:
    """Passes everything on to one of nerfstudio's event writers, until the system refuses to write."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.given_up = False

    def __getattr__(self, name: str) -> Callable[..., None]:
        write = getattr(self.inner, name)

        def written(*arguments: Any, **settings: Any) -> None:
            if self.given_up:
                return
            try:
                write(*arguments, **settings)
            except OSError as error:
                self.given_up = True
                CONSOLE.print(
                    f"Nothing more is recorded by {type(self.inner).__name__} ({error.strerror or error}); training "
                    "goes on.",
                    style="bold red",
                    markup=False,
                    soft_wrap=True,
                )

        return written


def make_expendable() -> None:
    """Lets the event writers fail that nerfstudio has set up; its terminal table it knows by its class."""
    writer.EVENT_WRITERS[:] = [
        entry if isinstance(entry, (writer.LocalWriter, ExpendableWriter)) else ExpendableWriter(entry)
        for entry in writer.EVENT_WRITERS
    ]
