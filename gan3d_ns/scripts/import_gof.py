"""`gan3d import gof`: the published weights of GOF as a run that every command opens."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from gan3d_ns.scripts.import_weights import ImportWeights

if TYPE_CHECKING:
    from gan3d_ns.engine.trainer_config import GanTrainerConfig
    from gan3d_ns.scripts.weight_files import Release


@dataclass(kw_only=True)
class ImportGof(ImportWeights):
    """Turn a generator.pth of the GOF release into a run that ns-viewer, ns-export and gan3d open.

    The release renders the moving averages of the weights: the ema.pth beside the generator.pth is read as well.
    """

    preset: Literal["celeba", "bfm", "cats"]
    """Which collection the weights were trained on: it sets cameras, samples and schedules."""

    METHOD: ClassVar[str] = "gof-gan-paper"

    def release(self) -> "Release":
        from gan3d_ns.scripts.gof_weights import GOF_RELEASE

        return GOF_RELEASE

    def configure(self, config: "GanTrainerConfig", sizes: Any) -> None:
        config.pipeline.model.film_siren = sizes
        # The release draws its pictures with the last sample as background (eval_last_back), but trains without.
        config.pipeline.model.background = "last-sample"
        config.pipeline.discriminator.latent_dim = sizes.latent_dim  # pyright: ignore[reportAttributeAccessIssue]

    def prepare(self, pipeline: Any, config: "GanTrainerConfig", step: int) -> None:
        pipeline.set_window(config.window.value(step))
