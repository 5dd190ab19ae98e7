"""What docs/RELIABILITY.md measures, once more on your machine."""

from typing import Union

import tyro
from typing_extensions import Annotated

from benchmarks.reliability.inputs import Inputs
from benchmarks.reliability.kills import Kills
from benchmarks.reliability.processes import Processes
from benchmarks.reliability.soak import Soak

Command = Union[
    Annotated[Inputs, tyro.conf.subcommand("inputs")],
    Annotated[Kills, tyro.conf.subcommand("kills")],
    Annotated[Processes, tyro.conf.subcommand("processes")],
    Annotated[Soak, tyro.conf.subcommand("soak")],
]


def main() -> None:
    """Runs the chosen experiment."""
    tyro.cli(Command, prog="python -m benchmarks.reliability", description=__doc__).main()  # pyright: ignore


if __name__ == "__main__":
    main()
