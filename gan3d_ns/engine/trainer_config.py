"""The settings of a training: nerfstudio's own, and the schedules of a generative method."""

import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Dict, List, Literal, Optional, Tuple, Type

import torch
import tyro
import yaml
from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.engine.optimizers import OptimizerConfig
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.utils import comms
from nerfstudio.utils.rich_utils import CONSOLE
from typing_extensions import Annotated

from gan3d_ns.data.built_in import BUILT_IN_PRESETS
from gan3d_ns.engine.keep_best import KeepBestConfig, refuse_best
from gan3d_ns.engine.presets import apply_preset
from gan3d_ns.engine.processes import refuse_machine
from gan3d_ns.engine.saved_settings import complete
from gan3d_ns.engine.schedules import (
    CurriculumStage,
    DensityNoiseConfig,
    OpacityWeightConfig,
    PatchScheduleConfig,
    TopKConfig,
    WindowScheduleConfig,
    validate_stages,
)
from gan3d_ns.errors import UserError
from gan3d_ns.exporter.writers import write_atomically
from gan3d_ns.pipelines.gan_pipeline import GanPipelineConfig


def _trainer() -> Type:
    from gan3d_ns.engine.gan_trainer import GanTrainer

    return GanTrainer


@dataclass
class GanAdamConfig(OptimizerConfig):
    """Adam with the betas of a GAN."""

    _target: Type = torch.optim.Adam
    """target class to instantiate"""
    betas: Tuple[float, float] = (0.0, 0.99)
    """Decay rates of the running moments; a first one of 0 keeps the opponents from chasing old gradients."""


@dataclass
class GanRMSpropConfig(OptimizerConfig):
    """RMSprop, as GRAF trains."""

    _target: Type = torch.optim.RMSprop
    """target class to instantiate"""
    alpha: float = 0.99
    """Decay rate of the running mean square."""


@dataclass
class GanTrainerConfig(TrainerConfig):
    """nerfstudio's trainer with the schedules of a generative method."""

    _target: Type = field(default_factory=_trainer)
    """target class to instantiate"""
    pipeline: GanPipelineConfig = field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default_factory=GanPipelineConfig
    )
    """Generator, discriminator, losses and data."""
    preset: str = "auto"
    """Numbers that belong to a collection (cameras, background, published schedules), see the README. auto: those of
    the built-in collection without --data, else the method's own. Flags that differ from the method's defaults win."""
    presets: Annotated[Dict[str, Dict[str, Any]], tyro.conf.Suppress] = field(default_factory=dict)
    """The method's presets; "default" is what its config holds."""
    base_preset: Annotated[str, tyro.conf.Suppress] = "default"
    """The preset that the config's numbers are now."""
    curriculum: Tuple[CurriculumStage, ...] = (CurriculumStage(),)
    """Resolution, batch and learning rates from a step on."""
    fade_steps: int = 0
    """Steps over which the discriminator takes in a new resolution."""
    fade_first_resolution: bool = True
    """Fade in the first resolution too, against pictures of half its side, as published."""
    window: WindowScheduleConfig = field(default_factory=WindowScheduleConfig)
    """How the sampled window around the surface shrinks."""
    opacity: OpacityWeightConfig = field(default_factory=OpacityWeightConfig)
    """How the weight of the opacity prior grows."""
    density_noise: DensityNoiseConfig = field(default_factory=DensityNoiseConfig)
    """How the noise on densities vanishes; occupancies have none."""
    patches: PatchScheduleConfig = field(default_factory=PatchScheduleConfig)
    """Show patches in place of whole pictures: `--patches.size 32` where these do not fit in memory."""
    geometry_release_steps: int = 0
    """Steps over which geometry is set free from the field's start shape; colour learns on that shape meanwhile."""
    camera_release_step: int = 500
    """Step from which learned cameras may leave their prior, as published (CAMPARI)."""
    top_k: TopKConfig = field(default_factory=TopKConfig)
    """How many of the generated pictures train the generator."""
    mapping_lr_factor: float = 1.0
    """Learning rate of the mapping network over the generator's; GOF means .05, its release applies 1 by a slip."""
    ema_decay: float = 0.999
    """Decay of the moving average that is shown, saved and exported."""
    steps_per_panel: int = 500
    """Steps between sample panels (samples.png in the run's folder, the viewer's health, tensorboard); the first comes
    after 100 steps."""
    panel_objects: int = 6
    """Objects in the panel."""
    hollow_check_step: int = 1000
    """Steps after a start when to check that surfaces face outwards; 0 never."""
    hollow_reseeds: int = 0
    """How often to start over with other weights when that check fails; each start is checked again."""
    keep_best: KeepBestConfig = field(default_factory=KeepBestConfig)
    """The best checkpoint so far is kept in best_models, beside the latest in nerfstudio_models; best.yml opens it."""
    half_precision: Literal["float16", "bfloat16"] = "float16"
    """Type of --mixed-precision. float16 as published, on GPUs only. bfloat16 cannot overflow and also works on CPUs,
    where sine layers train 1.5 times as fast on one with matrix units (AMX), with logits off by some percent. Rays,
    frequencies and penalties stay in float32."""
    steps_per_eval_batch: int = 0
    """Steps between evaluations of a batch; 0 never, as there is no true picture to compare with."""
    steps_per_eval_image: int = 0
    """Steps between evaluations of a picture; 0 never."""
    steps_per_eval_all_images: int = 0
    """Steps between evaluations of all pictures; 0 never."""
    viewer: ViewerConfig = field(default_factory=lambda: ViewerConfig(websocket_host="127.0.0.1"))
    """Viewer configuration. It listens to this machine alone; nerfstudio's own default is everybody (0.0.0.0)."""
    vis: Literal[  # pyright: ignore[reportIncompatibleVariableOverride]
        "viewer", "wandb", "tensorboard", "comet", "viewer+wandb", "viewer+tensorboard", "viewer+comet", "viewer_legacy"
    ] = "viewer+tensorboard"
    """Which visualizer to use."""

    def __setstate__(self, state: Dict[str, Any]) -> None:
        """Reads a saved config: settings that are newer than it keep their defaults, those of its parts too."""
        vars(self).update(state)
        complete(self)
        self.pipeline.model.method_name = self.method_name or ""
        self.note_pictures()

    def __post_init__(self) -> None:
        # Presets must not share objects with the settings, or changing a setting would change its preset.
        self.presets = copy.deepcopy(self.presets)
        # For the same reason: methods may share the rest of their settings, but each model knows its method.
        model = replace(self.pipeline.model, method_name=self.method_name or "")
        self.pipeline = replace(self.pipeline, model=model)  # pyright: ignore[reportIncompatibleVariableOverride]

    def note_pictures(self) -> None:
        """Tells the pipeline about the training's pictures, for those who open the run without a trainer."""
        self.pipeline.knows_pictures = self.pictures is not None or self.base_preset == self.built_in_preset
        self.pipeline.resolutions = tuple((stage.start_step, stage.resolution) for stage in self.curriculum)

    def set_experiment_name(self) -> None:
        """nerfstudio names runs after the data folder; without one it is the built-in collection."""
        if self.experiment_name is None and self.pictures is None:
            self.experiment_name = self.pipeline.datamanager.built_in
        super().set_experiment_name()

    def save_config(self) -> None:
        """Writes config.yml into the run's folder, whole or not at all; of several machines the first one does.

        Raises:
            UserError: it would open the best checkpoint in place of the latest, or cannot be written; or ns-train,
                which calls this first, cannot start so many processes.
        """
        refuse_best(self)
        refuse_machine(self)
        self.note_pictures()
        if self.machine.machine_rank > 0 or not comms.is_main_process():
            return
        path = self.get_base_dir() / "config.yml"
        CONSOLE.log(f"Saving config to: {path}")
        write_atomically(path, yaml.dump(self).encode("utf-8"))

    def resolve_preset(self) -> List[str]:
        """Fills in the chosen preset, once; returns the settings that changed.

        Raises:
            UserError: no such preset, none for the built-in pictures, or an impossible curriculum.
        """
        chosen = self.preset
        if chosen == "auto":
            built_in = self.pictures is None and self.built_in_preset in self.presets
            chosen = self.built_in_preset if built_in else self.base_preset
            if self.pictures is None and not built_in and self.pipeline.datamanager.built_in != "toy-cars":
                raise UserError(
                    f"this method has no preset for the built-in {self.pipeline.datamanager.built_in}; choose a method "
                    "that has (giraffe-tiny), or give --data FOLDER of pictures and a --preset."
                )
        changed = [] if chosen == self.base_preset else apply_preset(self, self.presets, chosen, self.base_preset)
        self.base_preset = chosen
        validate_stages(self.curriculum)
        self.note_pictures()
        return changed

    @property
    def pictures(self) -> Optional[Path]:
        """The folder of pictures, whichever flag gave it; None means the built-in collection."""
        datamanager = self.pipeline.datamanager
        return self.data or datamanager.data or datamanager.dataparser.data

    @property
    def built_in_preset(self) -> str:
        """The preset of the built-in collection that the method learns without pictures."""
        return BUILT_IN_PRESETS[self.pipeline.datamanager.built_in]

    @property
    def largest_resolution(self) -> int:
        """Side of the largest pictures of the curriculum, in pixels."""
        return max(stage.resolution for stage in self.curriculum)

    def validate_shown_sides(self) -> None:
        """Checks that the discriminator takes what the curriculum, or patches of it, will show.

        Raises:
            UserError: pictures beyond the discriminator, or that a neural renderer cannot make, patches beyond the
                pictures or where a neural renderer makes them whole, or patches for a discriminator that grows with
                the pictures.
        """
        discriminator, size = self.pipeline.discriminator, self.patches.size
        self.validate_finished_sides()
        if size is None:
            if discriminator.resolution < self.largest_resolution:
                raise UserError(
                    f"the curriculum goes up to {self.largest_resolution} pixels but the discriminator only to "
                    f"{discriminator.resolution}; set --pipeline.discriminator.resolution {self.largest_resolution}."
                )
            return
        smallest = min(stage.resolution for stage in self.curriculum)
        if size > smallest:
            raise UserError(
                f"patches of {size} pixels are larger than the curriculum's pictures of {smallest}; lower "
                f"--patches.size to {smallest} or raise the resolution of that stage."
            )
        if discriminator.grows:
            raise UserError(
                f"patches always have {size} pixels, but {type(discriminator).__name__.removesuffix('Config')} grows "
                "with the resolution of the pictures; choose a method with another discriminator (gof-gan, graf), or "
                "leave out --patches.size."
            )
        if discriminator.resolution < size:
            raise UserError(
                f"patches have {size} pixels but the discriminator takes {discriminator.resolution} at most; set "
                f"--pipeline.discriminator.resolution {size}."
            )

    def validate_finished_sides(self) -> None:
        """Checks that a neural renderer, where there is one, makes what the curriculum will show: whole pictures.

        Raises:
            UserError: it does not.
        """
        renderer = self.pipeline.model.finisher
        if renderer is None or not renderer.picture_sides:
            return
        if self.patches.size is not None:
            raise UserError(
                f"patches of {self.patches.size} pixels cannot be shown where a neural renderer makes whole pictures; "
                "leave out --patches.size."
            )
        impossible = [stage.resolution for stage in self.curriculum if stage.resolution not in renderer.picture_sides]
        if impossible:
            raise UserError(
                f"the curriculum has pictures of {impossible[0]} pixels, but the neural renderer makes those of "
                f"{', '.join(map(str, renderer.picture_sides))}; change the curriculum, or --pipeline.model."
                "neural-renderer.ray-side and .resolution."
            )
