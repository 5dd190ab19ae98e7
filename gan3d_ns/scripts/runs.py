"""Opening a trained run: its config, its pipeline with the weights in it, and one sentence on whatever is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gan3d_ns.errors import UserError, is_out_of_memory

if TYPE_CHECKING:
    from gan3d_ns.engine.trainer_config import GanTrainerConfig
    from gan3d_ns.pipelines.gan_pipeline import GanPipeline


def load_run(config_path: Path, step: int | None = None) -> tuple[GanTrainerConfig, GanPipeline, int]:
    """The config, the pipeline in evaluation mode and the step of a run; of its newest checkpoint without a step.

    The training pictures are not needed. The checkpoint beside the config is preferred over the path in it, so that a
    run may have been moved.

    Raises:
        UserError: no such run, not a run of this package, or its checkpoint is missing, cut off or of other sizes.
    """
    config_path = config_of(config_path)
    config = read_run_config(config_path)

    import torch

    from gan3d_ns.engine.checkpoint_files import checkpoint_in, read_checkpoint

    config.load_dir = checkpoint_folder(config_path, config)
    state = read_checkpoint(checkpoint_in(config.load_dir, step))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        pipeline: GanPipeline = config.pipeline.setup(device=device, test_mode="inference")
    except (TypeError, ValueError, RuntimeError, ArithmeticError, LookupError, AttributeError, AssertionError) as error:
        if is_out_of_memory(error) or "CUDA" in str(error):
            raise
        reason = (str(error).splitlines() or [""])[0][:200]
        raise UserError(
            f"the settings in {config_path} make no model ({type(error).__name__}: {reason}); take the config.yml that "
            "the training wrote."
        ) from error
    pipeline.load_pipeline(state["pipeline"], state["step"])
    pipeline.eval()
    return config, pipeline, state["step"]


def checkpoint_folder(config_path: Path, config: GanTrainerConfig) -> Path:
    """Where a run's checkpoints lie: beside its config, so that a run may have been moved, or where the config says."""
    beside = config_of(config_path).parent / config.relative_model_dir
    return beside if beside.is_dir() else config.get_checkpoint_dir()


def config_of(path: Path) -> Path:
    """The config.yml of a run's folder; any other path as it is."""
    return path / "config.yml" if (path / "config.yml").is_file() else path


def read_run_config(config_path: Path) -> GanTrainerConfig:
    """The config of a run.

    Nothing that it names is called, see `run_config`.

    Raises:
        UserError: there is no such file, or it is not the config of a run of this package.
    """
    config_path = config_of(config_path)
    if not config_path.is_file():
        raise UserError(
            f"there is no run at {config_path}; give the config.yml that ns-train wrote into the run's folder."
        )
    # All methods first: nerfstudio's circular imports work in this order.
    import nerfstudio.configs.method_configs  # noqa: F401

    from gan3d_ns.scripts.run_config import read

    config = read(config_path)
    config.__setstate__({})  # what the config tells its parts
    return config
