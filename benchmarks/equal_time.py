"""Trainings of equal cost: each method takes as many of its steps as a given CPU time allows.

Methods differ in the cost of a step, so that equal steps compare nothing. The run is an ordinary one, with the method's
own schedules: ns-viewer, gan3d and ns-export open it.
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Tuple, get_args, get_type_hints

from gan3d_ns.errors import UserError


@dataclass
class Train:
    """Train a method for a given CPU time on one thread; runs of the same time can be compared."""

    method: str
    """Registered name."""
    cpu_minutes: float = 15.0
    """CPU time of this process from the first step on, in minutes."""
    data: Optional[Path] = None
    """Folder of pictures; None: the collection that the method learns without one."""
    seed: int = 42
    """Of weights and data order."""
    output_dir: Path = Path("outputs/equal-time")
    """Where the runs go."""
    timestamp: str = "equal-time"
    """Name of the run below the method's."""
    checkpoints: int = 5
    """How many checkpoints to keep, at equal parts of the time; the last one is the end."""
    change: Tuple[str, ...] = ()
    """Settings that differ from the method's, as PATH=VALUE: pipeline.model.nerf.positional_encoding=false; null where
    a setting can be None."""

    def main(self) -> None:
        """Trains and saves.

        Raises:
            UserError: there is no such method or setting, the run exists, or a number makes no sense.
        """
        import torch
        from nerfstudio.configs.method_configs import all_methods

        from gan3d_ns.engine.trainer_config import GanTrainerConfig

        known = {name: config for name, config in all_methods.items() if isinstance(config, GanTrainerConfig)}
        if self.method not in known:
            raise UserError(f"there is no method {self.method}; choose among {', '.join(known)}.")
        if self.checkpoints < 1 or self.cpu_minutes <= 0:
            raise UserError("give at least one of --checkpoints, and more than 0 --cpu-minutes.")
        config = copy.deepcopy(known[self.method])
        for change in self.change:
            change_setting(config, change)
        config.data, config.output_dir, config.timestamp = self.data, self.output_dir, self.timestamp
        config.pipeline.datamanager.data = self.data
        config.vis, config.machine.seed, config.hollow_check_step = "tensorboard", self.seed, 0
        config.save_only_latest_checkpoint = False
        config.keep_best.metric = "none"  # measured afterwards, by `gan3d eval`
        config.set_experiment_name()
        if (config.get_base_dir() / "config.yml").exists():
            raise UserError(f"{config.get_base_dir()} exists already; choose another --timestamp.")
        torch.set_num_threads(1)
        torch.manual_seed(self.seed)
        config.save_config()
        run_for(config, 60.0 * self.cpu_minutes, self.checkpoints)


def change_setting(config: Any, change: str) -> None:
    """Sets one setting of a config, given as PATH=VALUE, where the value is of the type that stands there.

    Raises:
        UserError: there is no such setting, or the value is of another type.
    """
    import yaml

    path, equals, value = change.partition("=")
    *folders, name = path.replace("-", "_").split(".")
    try:
        for folder in folders:
            config = getattr(config, folder)
        before = getattr(config, name)
    except AttributeError as error:
        raise UserError(f"there is no setting {path}: {error}.") from error
    after = yaml.safe_load(value)
    if isinstance(before, float) and type(after) is int:
        after = float(after)
    may_be_none = type(None) in get_args(get_type_hints(type(config)).get(name))
    fits = may_be_none if after is None else before is None or type(after) is type(before)
    if not equals or not fits:
        raise UserError(f"{change} does not set {path}, which is {before!r}; give PATH=VALUE with a value like it.")
    setattr(config, name, after)


def run_for(config, seconds: float, checkpoints: int = 1) -> None:
    """Trains a config for ``seconds`` of CPU time in steps; prints its losses twenty times."""
    from gan3d_ns.engine.gan_trainer import GanTrainer

    trainer = GanTrainer(config)
    trainer.setup()
    trainer.pipeline.train()
    step, printed, saved, spent = 0, 0, 0, 0.0
    while spent < seconds:
        _, terms, measures = trainer.train_iteration(step)
        spent = trainer.cost.cpu_seconds
        step += 1
        if seconds > spent >= seconds * (saved + 1) / checkpoints:
            saved += 1
            trainer.save_checkpoint(step - 1)
        if spent * 20 >= seconds * (printed + 1):
            printed += 1
            numbers = " ".join(f"{name} {float(value):.3f}" for name, value in {**terms, **measures}.items())
            print(f"{spent:.0f} s, {step} steps: {numbers}", flush=True)
    trainer.save_checkpoint(step - 1)
    path, health = trainer.write_panel(step - 1)
    print(f"{config.method_name}: {step} steps in {spent:.0f} s of CPU time; {path}, {health}", flush=True)
    trainer.shutdown()
