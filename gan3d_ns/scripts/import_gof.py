"""`gan3d import gof`: the published weights of GOF as a run that every command opens."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Optional

import tyro
from typing_extensions import Annotated

from gan3d_ns.errors import UserError

if TYPE_CHECKING:
    from gan3d_ns.engine.trainer_config import GanTrainerConfig

METHOD = "gof-gan-paper"
RUN_NAME = "imported"
NUM_MEAN_LATENTS = 10_000
"""Latents behind the centre of truncation (GOF, released code)."""


@dataclass
class ImportGof:
    """Turn a generator.pth of the GOF release into a run that ns-viewer, ns-export and gan3d open.

    The release renders the moving averages of the weights: the ema.pth beside the generator.pth is read as well.
    """

    generator: Annotated[Path, tyro.conf.Positional]
    """The release's generator.pth, a state dict."""
    preset: Literal["celeba", "bfm", "cats"]
    """Which collection the weights were trained on: it sets cameras, samples and schedules."""
    output: Path
    """Folder in which the run is made."""
    ema: Optional[Path] = None
    """The release's moving averages; without it the ...ema.pth beside ...generator.pth, where there is one."""
    step: Optional[int] = None
    """Steps that the weights were trained for; without it the length of the published training."""

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
        from gan3d_ns.scripts.gof_weights import averaged_state, field_sizes, gof_state

        state = gof_state(self.generator)
        average_path = self.average_path()
        average = state if average_path is None else averaged_state(state, average_path)
        config = copy.deepcopy(all_methods[METHOD])
        self.configure(config, field_sizes(state))
        run = config.get_base_dir()
        if run.exists():
            raise UserError(f"{run} is there already and is not overwritten; give another --output.")

        torch.manual_seed(config.machine.seed)
        pipeline: Any = config.pipeline.setup(device="cpu", test_mode="inference")
        model, step = pipeline.model, config.max_num_iterations if self.step is None else self.step
        model.generator.field.load_authors_weights(state)
        model.generator_ema.field.load_authors_weights(average)
        pipeline.set_window(config.window.value(step))
        model.generator_ema.update_mean_code(torch.Generator().manual_seed(config.machine.seed), NUM_MEAN_LATENTS)
        model.generator.mean_code.copy_(model.generator_ema.mean_code)

        optimizers = Optimizers(config.optimizers.copy(), pipeline.get_param_groups())
        checkpoint = checkpoint_state(step, pipeline, optimizers, GradScaler(device="cpu"))
        try:
            run.mkdir(parents=True)
            save_atomically(checkpoint, config.get_checkpoint_dir() / f"step-{step:09d}.ckpt", run / PARTIAL_NAME)
            config.save_config()
        except OSError as error:
            raise UserError(f"cannot write {run} ({error}); give another --output.") from error
        averages = "no moving averages found, the plain weights are shown" if average_path is None else average_path
        CONSOLE.print(
            f"{run / 'config.yml'}: {sum(value.numel() for value in state.values())} numbers, step {step}; {averages}\n"
            f"View it:     ns-viewer --load-config {run / 'config.yml'}\n"
            f"Take a mesh: gan3d export mesh --load-config {run / 'config.yml'}",
            soft_wrap=True,
        )

    def average_path(self) -> Optional[Path]:
        """The file of moving averages that is asked for, or that lies beside the generator under the release's name."""
        from gan3d_ns.scripts.gof_weights import EMA_SUFFIX, GENERATOR_SUFFIX

        if self.ema is not None or not self.generator.name.endswith(GENERATOR_SUFFIX):
            return self.ema
        beside = self.generator.with_name(self.generator.name.removesuffix(GENERATOR_SUFFIX) + EMA_SUFFIX)
        return beside if beside.is_file() else None

    def configure(self, config: "GanTrainerConfig", sizes: Any) -> None:
        """Sets preset, sizes and place of the run."""
        config.preset = self.preset
        config.resolve_preset()
        config.pipeline.model.film_siren = sizes
        # The release draws its pictures with the last sample as background (eval_last_back), but trains without.
        config.pipeline.model.background = "last-sample"
        config.pipeline.discriminator.latent_dim = sizes.latent_dim  # pyright: ignore[reportAttributeAccessIssue]
        # Absolute, so that the run opens from any folder.
        config.output_dir = self.output.resolve()
        config.experiment_name, config.timestamp = f"gof-{self.preset}", RUN_NAME
