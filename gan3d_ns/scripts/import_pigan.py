"""`gan3d import pigan`: the published weights of pi-GAN as a run that every command opens."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import tyro
from typing_extensions import Annotated

from gan3d_ns.scripts.import_weights import ImportWeights

if TYPE_CHECKING:
    from gan3d_ns.engine.trainer_config import GanTrainerConfig
    from gan3d_ns.scripts.weight_files import Release


@dataclass(kw_only=True)
class ImportPigan(ImportWeights):
    """Turn a generator.pth of the pi-GAN release into a run that ns-viewer, ns-export and gan3d open.

    The release renders the moving averages of the weights: the ema.pth beside the generator.pth is read as well.
    """

    generator: Annotated[Path, tyro.conf.Positional]
    """The release's generator.pth, or a state dict of its network."""
    preset: Literal["celeba", "carla", "cats"]
    """Which collection the weights were trained on: it sets cameras, samples and the scale of coordinates."""

    METHOD: ClassVar[str] = "pi-gan-paper"

    def release(self) -> "Release":
        from gan3d_ns.scripts.pigan_weights import PIGAN_RELEASE

        return PIGAN_RELEASE

    def configure(self, config: "GanTrainerConfig", sizes: Any) -> None:
        model = config.pipeline.model
        # Whether there is a box is not in the tensors.
        model.film_siren = replace(sizes, box_side=model.film_siren.box_side)
        config.pipeline.discriminator.latent_dim = sizes.latent_dim  # pyright: ignore[reportAttributeAccessIssue]

    def experiment_name(self) -> str:
        return f"pigan-{self.preset}"
