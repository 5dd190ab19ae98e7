"""What the importers of published weights share: from a file of weights to a run that every command opens."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Dict, Mapping, Optional

import tyro
from typing_extensions import Annotated

from gan3d_ns.errors import UserError

if TYPE_CHECKING:
    from gan3d_ns.engine.trainer_config import GanTrainerConfig
    from gan3d_ns.models.generator import Generator
    from gan3d_ns.scripts.weight_files import Release

RUN_NAME = "imported"
NUM_MEAN_LATENTS = 10_000
"""Latents behind the centre of truncation (GOF and pi-GAN, released code)."""
EMA_SUFFIX, GENERATOR_SUFFIX = "ema.pth", "generator.pth"
"""Ends of the names under which the releases of GOF and pi-GAN save their files side by side."""


@dataclass(frozen=True)
class PublishedWeights:
    """A generator's state dict, its moving average (the same where there is none), and where that came from."""

    plain: Mapping[str, Any]
    averaged: Mapping[str, Any]
    average_source: Optional[str] = None


@dataclass(kw_only=True)
class ImportWeights:
    """An importer: a subclass says which method and release it serves, and adds its ``preset``."""

    generator: Annotated[Path, tyro.conf.Positional]
    """The release's generator.pth, a state dict."""
    output: Path
    """Folder in which the run is made."""
    ema: Optional[Path] = None
    """The release's moving averages; without it the ...ema.pth beside ...generator.pth, where there is one."""
    step: Optional[int] = None
    """Steps that the weights were trained for; without it the length of the published training."""

    METHOD: ClassVar[str]
    """The registered method whose run is made."""

    def release(self) -> "Release":
        """The release whose files are read."""
        raise NotImplementedError

    def chosen_preset(self) -> str:
        """The method's preset."""
        return getattr(self, "preset")  # noqa: B009  (a field of the subclass, each with its own choices)

    def configure(self, config: "GanTrainerConfig", sizes: Any) -> None:
        """Puts the field's sizes, and what the release renders differently from training, into the config."""
        raise NotImplementedError

    def load(self, generator: "Generator", state: Mapping[str, Any]) -> None:
        """Puts a state dict of the release into a generator."""
        generator.field.load_authors_weights(dict(state))

    def centre(self, state: Mapping[str, Any]) -> Optional[Any]:
        """The centre of truncation where the release's state dict holds it; None: it is measured."""
        return None

    def prepare(self, pipeline: Any, config: "GanTrainerConfig", step: int) -> None:
        """Brings scheduled values of the pipeline to a step."""

    def read(self) -> PublishedWeights:
        """The weights in the given files: a state dict and torch_ema's averages.

        Raises:
            UserError: a file cannot be read or is no such file.
        """
        from gan3d_ns.scripts.weight_files import averaged_state, generator_state

        plain = generator_state(self.generator, self.release())
        path = self.average_path()
        if path is None:
            return PublishedWeights(plain, plain)
        return PublishedWeights(plain, averaged_state(plain, path, self.release()), str(path))

    def average_path(self) -> Optional[Path]:
        """The file of moving averages that is asked for, or that lies beside the generator under the release's name."""
        if self.ema is not None or not self.generator.name.endswith(GENERATOR_SUFFIX):
            return self.ema
        beside = self.generator.with_name(self.generator.name.removesuffix(GENERATOR_SUFFIX) + EMA_SUFFIX)
        return beside if beside.is_file() else None

    def main(self) -> None:
        """Writes config.yml and the checkpoint, and says how to go on.

        Raises:
            UserError: a file cannot be read or is no such file, or the run is there already.
        """
        import torch
        from nerfstudio.configs.method_configs import all_methods
        from nerfstudio.engine.optimizers import Optimizers
        from nerfstudio.utils.rich_utils import CONSOLE
        from torch.amp.grad_scaler import GradScaler

        from gan3d_ns.engine.checkpoint_files import PARTIAL_NAME, checkpoint_state, save_atomically

        weights = self.read()
        config: Any = copy.deepcopy(all_methods[self.METHOD])
        config.preset = self.chosen_preset()
        config.resolve_preset()
        self.configure(config, self.release().sizes(weights.plain))
        # Absolute, so that the run opens from any folder.
        config.output_dir = self.output.resolve()
        config.experiment_name, config.timestamp = self.experiment_name(), RUN_NAME
        run = config.get_base_dir()
        if run.exists():
            raise UserError(f"{run} is there already and is not overwritten; give another --output.")

        torch.manual_seed(config.machine.seed)
        pipeline: Any = config.pipeline.setup(device="cpu", test_mode="inference")
        model, step = pipeline.model, config.max_num_iterations if self.step is None else self.step
        self.load(model.generator, weights.plain)
        self.load(model.generator_ema, weights.averaged)
        self.prepare(pipeline, config, step)
        centre = self.centre(weights.averaged)
        if centre is None:
            model.generator_ema.update_mean_code(torch.Generator().manual_seed(config.machine.seed), NUM_MEAN_LATENTS)
            centre = model.generator_ema.mean_code
        for generator in (model.generator, model.generator_ema):
            generator.mean_code.copy_(centre)

        optimizers = Optimizers(config.optimizers.copy(), pipeline.get_param_groups())
        checkpoint: Dict[str, Any] = checkpoint_state(step, pipeline, optimizers, GradScaler(device="cpu"))
        try:
            run.mkdir(parents=True)
            save_atomically(checkpoint, config.get_checkpoint_dir() / f"step-{step:09d}.ckpt", run / PARTIAL_NAME)
            config.save_config()
        except OSError as error:
            raise UserError(f"cannot write {run} ({error}); give another --output.") from error
        averages = weights.average_source or "no moving averages found, the plain weights are shown"
        CONSOLE.print(
            f"{run / 'config.yml'}: {sum(value.numel() for value in weights.plain.values())} numbers, step {step}; "
            f"{averages}\n"
            f"View it:     ns-viewer --load-config {run / 'config.yml'} --viewer.websocket-host 127.0.0.1\n"
            f"Take a mesh: gan3d export mesh --load-config {run / 'config.yml'}",
            soft_wrap=True,
            markup=False,
        )

    def experiment_name(self) -> str:
        """Name of the run's folder: the release and the preset."""
        return f"{self.release().name.lower()}-{self.chosen_preset()}"
