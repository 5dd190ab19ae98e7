"""Which objects of which run: the part of the command line that all exporters and pictures share."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, Optional, Tuple

from gan3d_ns.errors import UserError, printable

if TYPE_CHECKING:
    from gan3d_ns.engine.trainer_config import GanTrainerConfig
    from gan3d_ns.model_components.latents import LatentSelection
    from gan3d_ns.models.gan_model import GanModel
    from gan3d_ns.pipelines.gan_pipeline import GanPipeline


@dataclass(frozen=True)
class NamedObject:
    """One object that was asked for."""

    name: str
    """For its files: seed0003, or the name of its latent's file."""
    selection: "LatentSelection"
    """What it is made of."""
    metadata: Dict[str, str]
    """Where it comes from, see `GanModel.provenance`."""


@dataclass(frozen=True)
class OpenedRun:
    """A run with its weights, and the objects that were asked for."""

    config: "GanTrainerConfig"
    pipeline: "GanPipeline"
    step: int
    """Of the checkpoint."""
    folder: Path
    """The run's folder, for what is made of it."""
    objects: List[NamedObject]

    @property
    def model(self) -> "GanModel":
        """The run's model, in evaluation mode."""
        return self.pipeline.model


@dataclass
class ChosenObjects:
    """Objects of a run, by their seeds or from latents that were saved in the viewer."""

    load_config: Path
    """The run's config.yml."""
    seeds: Optional[Tuple[int, ...]] = None
    """Which objects; without seeds and latents the first one."""
    latents: Tuple[Path, ...] = ()
    """Objects that were saved in the viewer: their .safetensors files."""
    truncation: float = 0.7
    """How far the objects of seeds may lie from the average one: 0 is the average, 1 the full variety."""
    load_step: Optional[int] = None
    """Which checkpoint; without it the newest."""

    def open(self) -> OpenedRun:
        """The run and its objects, those of seeds first.

        Raises:
            UserError: the run or a latent cannot be opened, or a latent does not belong to the run's method.
        """
        return open_objects(self, default_seeds=(0,))


def open_objects(chosen: ChosenObjects, default_seeds: Tuple[int, ...]) -> OpenedRun:
    """The run and the objects that were chosen; the default seeds where none were.

    Raises:
        UserError: as `ChosenObjects.open`.
    """
    from nerfstudio.utils.rich_utils import CONSOLE

    from gan3d_ns.model_components.latents import LatentSelection, read_latent
    from gan3d_ns.scripts.runs import config_of, load_run

    saved = [read_latent(path) for path in chosen.latents]
    seeds = chosen.seeds if chosen.seeds is not None else () if saved else default_seeds
    if not seeds and not saved:
        raise UserError("there is no object to write: give --seeds or --latents.")
    config, pipeline, step = load_run(chosen.load_config, chosen.load_step)
    model = pipeline.model
    for latent in saved:
        remark = model.accept(latent)  # refuses those of other methods before any work
        if remark:
            CONSOLE.print(
                printable(f"The latent {latent.name}: {remark}"), style="bold yellow", soft_wrap=True, markup=False
            )
    selections = [LatentSelection(seed=seed, truncation=chosen.truncation) for seed in seeds]
    selections += [LatentSelection(saved=latent) for latent in saved]
    names = unique_names([selection.name for selection in selections])
    objects = [
        NamedObject(name, selection, model.provenance(selection))
        for name, selection in zip(names, selections, strict=True)
    ]
    return OpenedRun(config, pipeline, step, config_of(chosen.load_config).parent, objects)


def unique_names(names: List[str]) -> List[str]:
    """The names, numbered where one comes again, so that no object's files replace another's."""
    unique: Dict[str, None] = {}
    for name in names:
        number, free = 1, name
        while free in unique:
            number += 1
            free = f"{name}-{number}"
        unique[free] = None
    return list(unique)
