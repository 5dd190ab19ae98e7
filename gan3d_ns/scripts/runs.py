"""Opening a trained run: its config, its pipeline with the weights in it, and one sentence on whatever is wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from gan3d_ns.errors import UserError

if TYPE_CHECKING:
    from gan3d_ns.engine.trainer_config import GanTrainerConfig
    from gan3d_ns.pipelines.gan_pipeline import GanPipeline

RUN_TAG = "tag:yaml.org,2002:python/object:gan3d_ns.engine.trainer_config.GanTrainerConfig"
KNOWN_TAGS = re.compile(
    r"tag:yaml\.org,2002:python/(tuple|(object|name):(gan3d_ns|nerfstudio|torch\.optim)\.[\w.]+"
    r"|object/apply:(pathlib\.\w*Path|nerfstudio\.utils\.writer\.EventName))"
)


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
    pipeline: GanPipeline = config.pipeline.setup(device=device, test_mode="inference")
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

    nerfstudio's config.yml is YAML that names Python objects: reading it imports modules and calls constructors, as a
    pickle does. The names in it are therefore looked at first, and anything that our runs do not contain is refused.

    Raises:
        UserError: there is no such file, or it is not the config of a run of this package.
    """
    import yaml

    config_path = config_of(config_path)
    if not config_path.is_file():
        raise UserError(
            f"there is no run at {config_path}; give the config.yml that ns-train wrote into the run's folder."
        )
    try:
        text = config_path.read_text(encoding="utf-8")
        tags = [event.tag for event in yaml.parse(text, Loader=yaml.SafeLoader) if getattr(event, "tag", None)]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{config_path} is not a config.yml of nerfstudio: it cannot be read as YAML.") from error
    if not tags or tags[0] != RUN_TAG:
        method = re.search(r"^method_name: (\S+)$", text, re.MULTILINE)
        found = f"its method is {method[1]}" if method else "it names no method"
        raise UserError(f"{config_path} is not a run of gan3d_ns ({found}); ns-viewer and ns-export open other runs.")
    strange = sorted({tag for tag in tags if not KNOWN_TAGS.fullmatch(tag)})
    if strange:
        raise UserError(
            f"{config_path} names {strange[0].rpartition('/')[2]}, which no run of gan3d_ns contains; reading it could "
            "run code. Take the config.yml that the training wrote."
        )
    # All methods first: nerfstudio's circular imports work in this order.
    import nerfstudio.configs.method_configs  # noqa: F401

    return yaml.load(text, Loader=yaml.Loader)
