"""`gan3d import graf`: the published weights of GRAF as a run that every command opens."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Optional

import tyro
from typing_extensions import Annotated

from gan3d_ns.scripts.import_weights import ImportWeights, PublishedWeights

if TYPE_CHECKING:
    from gan3d_ns.engine.trainer_config import GanTrainerConfig
    from gan3d_ns.scripts.weight_files import Release


@dataclass(kw_only=True)
class ImportGraf(ImportWeights):
    """Turn a model.pt of the GRAF release into a run that ns-viewer, ns-export and gan3d open.

    The file holds the moving averages as well, which the release renders; a lone state dict of the network will do.
    """

    generator: Annotated[Path, tyro.conf.Positional]
    """The release's model.pt, or a state dict of its network."""
    ema: Optional[Path] = None
    """Another state dict of the network, to be shown in place of the file's own moving averages."""
    preset: Literal["carla", "celeba", "cats", "cub"]
    """Which collection the weights were trained on: it sets cameras and background."""

    METHOD: ClassVar[str] = "graf-paper"

    def release(self) -> "Release":
        from gan3d_ns.scripts.graf_weights import GRAF_RELEASE

        return GRAF_RELEASE

    def read(self) -> PublishedWeights:
        from gan3d_ns.scripts.graf_weights import AVERAGE_ENTRY, GRAF_RELEASE, graf_states
        from gan3d_ns.scripts.weight_files import generator_state

        plain, average = graf_states(self.generator)
        if self.ema is not None:
            return PublishedWeights(plain, generator_state(self.ema, GRAF_RELEASE), str(self.ema))
        if average is None:
            return PublishedWeights(plain, plain)
        return PublishedWeights(plain, average, f"moving averages from its entry {AVERAGE_ENTRY}")

    def configure(self, config: "GanTrainerConfig", sizes: Any) -> None:
        sizes.front_azimuth_deg = config.pipeline.model.nerf.front_azimuth_deg
        config.pipeline.model.nerf = sizes
