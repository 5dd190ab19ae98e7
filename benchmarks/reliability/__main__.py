"""The command: `python -m benchmarks.reliability kills`."""

from typing import Union

import tyro
from typing_extensions import Annotated

from benchmarks.reliability.kills import Kills

Command = Union[Annotated[Kills, tyro.conf.subcommand("kills")]]


def main() -> None:
    """Runs the chosen experiment."""
    tyro.cli(Command, prog="python -m benchmarks.reliability", description=__doc__).main()  # pyright: ignore


if __name__ == "__main__":
    main()
