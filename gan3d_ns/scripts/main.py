"""`gan3d`: meshes, pictures, films, imports and collections from the command line."""

import io
import sys
import warnings
from dataclasses import dataclass
from typing import Optional, Sequence, Union

import tyro
from typing_extensions import Annotated

from gan3d_ns.scripts.cameras import Cameras
from gan3d_ns.scripts.collection import Models, Scenes, ToyCars
from gan3d_ns.scripts.evaluate import Evaluate
from gan3d_ns.scripts.export_mesh import ExportMesh
from gan3d_ns.scripts.export_pointcloud import ExportPointcloud
from gan3d_ns.scripts.export_splats import ExportSplats
from gan3d_ns.scripts.import_campari import ImportCampari
from gan3d_ns.scripts.import_giraffe import ImportGiraffe
from gan3d_ns.scripts.import_gof import ImportGof
from gan3d_ns.scripts.import_graf import ImportGraf
from gan3d_ns.scripts.import_pigan import ImportPigan
from gan3d_ns.scripts.import_volumegan import ImportVolumegan
from gan3d_ns.scripts.sample import Sample
from gan3d_ns.scripts.video import Video

Product = Union[
    Annotated[ExportMesh, tyro.conf.subcommand("mesh")],
    Annotated[ExportSplats, tyro.conf.subcommand("splats")],
    Annotated[ExportPointcloud, tyro.conf.subcommand("pointcloud")],
]
Release = Union[
    Annotated[ImportGof, tyro.conf.subcommand("gof")],
    Annotated[ImportPigan, tyro.conf.subcommand("pigan")],
    Annotated[ImportGraf, tyro.conf.subcommand("graf")],
    Annotated[ImportGiraffe, tyro.conf.subcommand("giraffe")],
    Annotated[ImportCampari, tyro.conf.subcommand("campari")],
    Annotated[ImportVolumegan, tyro.conf.subcommand("volumegan")],
]

Pictured = Union[
    Annotated[ToyCars, tyro.conf.subcommand("toy-cars")],
    Annotated[Scenes, tyro.conf.subcommand("scenes")],
    Annotated[Models, tyro.conf.subcommand("models")],
]


@dataclass
class Export:
    """Turn objects of a run into files."""

    what: tyro.conf.OmitSubcommandPrefixes[Product]

    def main(self) -> None:
        """Runs the chosen exporter."""
        self.what.main()


@dataclass
class Import:
    """Turn weights of a published release into a run."""

    what: tyro.conf.OmitSubcommandPrefixes[Release]

    def main(self) -> None:
        """Runs the chosen importer."""
        self.what.main()


@dataclass
class Collection:
    """Make a folder of pictures whose cameras and shapes are known."""

    of: tyro.conf.OmitSubcommandPrefixes[Pictured]

    def main(self) -> None:
        """Makes the chosen collection."""
        self.of.main()


Command = Union[
    Annotated[Export, tyro.conf.subcommand("export")],
    Annotated[Evaluate, tyro.conf.subcommand("eval")],
    Annotated[Sample, tyro.conf.subcommand("sample")],
    Annotated[Video, tyro.conf.subcommand("video")],
    Annotated[Cameras, tyro.conf.subcommand("cameras")],
    Annotated[Import, tyro.conf.subcommand("import")],
    Annotated[Collection, tyro.conf.subcommand("collection")],
]


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """The console script; without arguments those of the process."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be text
    # What torch announces to the authors of nerfstudio says nothing to the user of a command.
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", message="Using a non-tuple sequence")
    tyro.cli(
        Command,
        prog="gan3d",
        description="Meshes, pictures, films, imports and collections for gan3d_ns: see each command's --help.",
        args=arguments,
    ).main()  # pyright: ignore


if __name__ == "__main__":
    sys.exit(main())
