"""`gan3d import volumegan`: the published weights of VolumeGAN as a run that every command opens."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Mapping, Optional

import tyro
from typing_extensions import Annotated

from gan3d_ns.scripts.import_weights import ImportWeights, PublishedWeights

if TYPE_CHECKING:
    from gan3d_ns.engine.trainer_config import GanTrainerConfig
    from gan3d_ns.models.generator import Generator
    from gan3d_ns.scripts.weight_files import Release


@dataclass(kw_only=True)
class ImportVolumegan(ImportWeights):
    """Turn a checkpoint of the VolumeGAN release into a run that ns-viewer, ns-export and gan3d open.

    The file holds the moving averages as well, which the release renders; a lone state dict of the generator will do.
    """

    generator: Annotated[Path, tyro.conf.Positional]
    """The release's volumegan_ffhq256.pth, or a state dict of its generator."""
    ema: Optional[Path] = None
    """Another checkpoint or state dict, to be shown in place of the file's own moving averages."""
    preset: Literal["ffhq"] = "ffhq"
    """Which collection the weights were trained on: it sets the cameras."""

    METHOD: ClassVar[str] = "volumegan-paper"

    def release(self) -> "Release":
        from gan3d_ns.scripts.volumegan_weights import VOLUMEGAN_RELEASE

        return VOLUMEGAN_RELEASE

    def read(self) -> PublishedWeights:
        from gan3d_ns.scripts.volumegan_weights import AVERAGE_ENTRY, volumegan_states

        plain, average = volumegan_states(self.generator)
        if self.ema is not None:
            plain_of_average, other = volumegan_states(self.ema)
            return PublishedWeights(plain, other or plain_of_average, str(self.ema))
        if average is None:
            return PublishedWeights(plain, plain)
        return PublishedWeights(plain, average, f"moving averages from its entry {AVERAGE_ENTRY}")

    def configure(self, config: "GanTrainerConfig", sizes: Any) -> None:
        model = config.pipeline.model
        sizes.feature_volume.num_truncated_layers = model.feature_volume.num_truncated_layers
        model.feature_volume, model.neural_renderer = sizes.feature_volume, sizes.neural_renderer
        config.pipeline.discriminator.resolution = sizes.neural_renderer.resolution

    def load(self, generator: "Generator", state: Mapping[str, Any]) -> None:
        super().load(generator, state)
        renderer: Any = generator.neural_renderer
        renderer.load_authors_weights(dict(state))

    def centre(self, state: Mapping[str, Any]) -> Optional[Any]:
        """The average code that the release has tracked while training."""
        return state.get("w_avg")
