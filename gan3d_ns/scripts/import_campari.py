"""`gan3d import campari`: the published weights of CAMPARI as a run that every command opens."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Mapping, Optional

import tyro
from typing_extensions import Annotated

from gan3d_ns.errors import UserError
from gan3d_ns.scripts.import_weights import ImportWeights, PublishedWeights

if TYPE_CHECKING:
    from gan3d_ns.engine.trainer_config import GanTrainerConfig
    from gan3d_ns.models.generator import Generator
    from gan3d_ns.scripts.weight_files import Release

CAMERAS = "latent_cameras."


@dataclass(kw_only=True)
class ImportCampari(ImportWeights):
    """Turn a model.pt of the CAMPARI release into a run that ns-viewer, ns-export and gan3d open.

    The file holds the moving averages as well, which the release renders; a lone state dict of the generator will do.
    The learned cameras come along: see `gan3d cameras`.
    """

    generator: Annotated[Path, tyro.conf.Positional]
    """The release's model.pt, or a state dict of its generator."""
    ema: Annotated[Optional[Path], tyro.conf.Suppress] = None
    """Unused: the release keeps its moving averages in the same file."""
    preset: Literal["celeba", "cats", "carla", "chairs"]
    """Which collection the weights were trained on: it sets the cameras' prior and ranges, and the background."""

    METHOD: ClassVar[str] = "campari-paper"

    def release(self) -> "Release":
        from gan3d_ns.scripts.campari_weights import CAMPARI_RELEASE

        return CAMPARI_RELEASE

    def read(self) -> PublishedWeights:
        from gan3d_ns.scripts.campari_weights import AVERAGE_PREFIX, campari_states

        plain, average = campari_states(self.generator)
        self._camera_sizes = plain.camera_sizes
        states = [
            {**parts.field, **{CAMERAS + name: value for name, value in parts.cameras.items()}}
            for parts in (plain, average or plain)
        ]
        source = None if average is None else f"moving averages from its entries {AVERAGE_PREFIX}*"
        return PublishedWeights(states[0], states[1], source)

    def configure(self, config: "GanTrainerConfig", sizes: Any) -> None:
        from gan3d_ns.cameras.camera_vectors import VECTOR_LENGTHS

        model, found = config.pipeline.model, self._camera_sizes
        cameras = model.camera_generator
        expected = {**VECTOR_LENGTHS}[cameras.parametrisation]  # type: ignore[index]
        if found.vector != expected:
            raise UserError(
                f"{self.generator} maps cameras of {found.vector} numbers and the preset {self.preset} has {expected}: "
                "5 are those of celeba and cats, 8 those of carla and chairs; give another --preset."
            )
        model.camera_generator = replace(cameras, hidden_dim=found.hidden, num_layers=found.layers)
        model.decomposed = replace(sizes, background_samples=model.decomposed.background_samples)

    def load(self, generator: "Generator", state: Mapping[str, Any]) -> None:
        moved = generator.camera_generator
        assert moved is not None
        field = {name: value for name, value in state.items() if not name.startswith(CAMERAS)}
        generator.field.load_authors_weights(field)
        cameras = {name.removeprefix(CAMERAS): value for name, value in state.items() if name.startswith(CAMERAS)}
        moved.load_authors_weights(cameras)
        moved.release()
