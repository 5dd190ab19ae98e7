"""`gan3d import giraffe`: the published weights of GIRAFFE as a run that every command opens."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Mapping

import tyro
from typing_extensions import Annotated

from gan3d_ns.errors import UserError
from gan3d_ns.scripts.import_weights import ImportWeights, PublishedWeights

if TYPE_CHECKING:
    from gan3d_ns.engine.trainer_config import GanTrainerConfig
    from gan3d_ns.models.generator import Generator
    from gan3d_ns.scripts.weight_files import Release

RENDERER = "neural_renderer."


@dataclass(kw_only=True)
class ImportGiraffe(ImportWeights):
    """Turn a model.pt of the GIRAFFE release into a run that ns-viewer, ns-export and gan3d open.

    The file holds the moving averages as well, which the release renders; a lone state dict of the generator will do.
    """

    generator: Annotated[Path, tyro.conf.Positional]
    """The release's model.pt, or a state dict of its generator."""
    ema: tyro.conf.Suppress[None] = None  # pyright: ignore[reportIncompatibleVariableOverride]
    """Unused: the release keeps its moving averages in the same file."""
    preset: Literal[
        "cars", "cars256", "celeba", "celebahq", "ffhq", "cats", "church", "church256", "chairs", "clevr2", "clevr2345"
    ]
    """Which collection the weights were trained on: it sets cameras, places and the number of objects."""

    METHOD: ClassVar[str] = "giraffe-paper"

    def release(self) -> "Release":
        from gan3d_ns.scripts.giraffe_weights import GIRAFFE_RELEASE

        return GIRAFFE_RELEASE

    def read(self) -> PublishedWeights:
        from gan3d_ns.scripts.giraffe_weights import AVERAGE_PREFIX, giraffe_states

        plain, average = giraffe_states(self.generator)
        self._renderer_sizes = plain.renderer_sizes
        states = [
            {**parts.field, **{RENDERER + name: value for name, value in parts.renderer.items()}}
            for parts in (plain, average or plain)
        ]
        source = None if average is None else f"moving averages from its entries {AVERAGE_PREFIX}*"
        return PublishedWeights(states[0], states[1], source)

    def configure(self, config: "GanTrainerConfig", sizes: Any) -> None:
        model, renderer = config.pipeline.model, self._renderer_sizes
        if renderer.resolution != config.largest_resolution:
            raise UserError(
                f"{self.generator} makes pictures of {renderer.resolution} pixels and the preset {self.preset} of "
                f"{config.largest_resolution}; give another --preset."
            )
        model.neural_renderer = renderer
        model.composite = replace(
            model.composite, objects=sizes.objects, background=sizes.background, feature_dim=sizes.feature_dim
        )

    def load(self, generator: "Generator", state: Mapping[str, Any]) -> None:
        from gan3d_ns.model_components.giraffe_renderer import GiraffeRenderer, load_giraffe_renderer

        assert isinstance(generator.neural_renderer, GiraffeRenderer)
        field = {name: value for name, value in state.items() if not name.startswith(RENDERER)}
        generator.field.load_authors_weights(field)
        renderer = {name.removeprefix(RENDERER): value for name, value in state.items() if name.startswith(RENDERER)}
        load_giraffe_renderer(generator.neural_renderer, renderer)
