"""`python -m benchmarks.reliability processes`: several processes train as one, and what that costs."""

import copy
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Tuple

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from gan3d_ns.errors import UserError

if TYPE_CHECKING:
    from gan3d_ns.engine.gan_trainer import GanTrainer

TOLERANCE = 1e-5
"""Of a gradient, relative to the largest one of its network."""
BLOCK = 5
"""Steps in a row before the others have their turn."""
WARM_UP = 2
"""Steps before anything is timed."""

Job = Callable[[int, int, Path], None]
"""(rank, number of processes, folder)"""


def launch(job: Job, count: int, folder: Path) -> None:
    """Runs a function in so many new processes that know each other, as nerfstudio's launcher does, but on the CPU.

    Args:
        job: a function of a module.
        count: how many processes.
        folder: where they meet, and for what they leave.

    Raises:
        ProcessRaisedException: one of them has failed; the others are ended.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mp.spawn(_begin, args=(job, count, folder), nprocs=count)  # pyright: ignore[reportPrivateImportUsage]


def _begin(rank: int, job: Job, count: int, folder: Path) -> None:
    from nerfstudio.utils import comms

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=(folder / "meeting").as_uri(), world_size=count, rank=rank)
    comms.LOCAL_PROCESS_GROUP = dist.new_group(list(range(count)))  # pyright: ignore[reportAttributeAccessIssue]
    job(rank, count, folder)
    comms.synchronize()
    dist.destroy_process_group()


def trainer_of(config: Any, rank: int, count: int) -> "GanTrainer":
    """A trainer that is ready for its first step, of a copy of the config, as nerfstudio's `train_loop` makes it."""
    torch.manual_seed(config.machine.seed + rank)
    trainer = copy.deepcopy(config).setup(local_rank=rank, world_size=count)
    trainer.setup()
    trainer.pipeline.train()
    return trainer


def gradients(trainer: "GanTrainer") -> Dict[str, Dict[str, Tensor]]:
    """The gradients of the last step, by group of the optimizers and name."""
    names = {id(entry): name for name, entry in trainer.pipeline.named_parameters()}
    return {
        group: {names[id(entry)]: entry.grad.detach().clone() for entry in entries if entry.grad is not None}
        for group, entries in trainer.optimizers.parameters.items()
    }


def largest_differences(found: Dict[str, Dict[str, Tensor]], right: Dict[str, Dict[str, Tensor]]) -> Dict[str, float]:
    """How far gradients differ at most, over the largest of each group.

    Raises:
        ValueError: where one has gradients that the other has not.
    """
    differences = {}
    for group, entries in right.items():
        if found[group].keys() != entries.keys():
            raise ValueError(f"only one has gradients: {sorted(found[group].keys() ^ entries.keys())}")
        largest = max(float(entry.abs().max()) for entry in entries.values())
        difference = max(float((found[group][name] - entry).abs().max()) for name, entry in entries.items())
        differences[group] = difference / largest
    return differences


@dataclass
class Processes:
    """Train with several processes on this machine's CPU (gloo), one thread each, and with one process, in turns.

    Compares the gradients of the first step, all losses in it, and then the throughput.
    """

    method: str = "gof-gan-tiny"
    """Which method, as it is registered."""
    steps: int = 40
    """Timed steps of each kind."""
    processes: int = 2
    """How many processes share the batch."""

    def main(self) -> None:
        """Prints a report; exits with 1 where a gradient differs by more than 1e-5 of the largest.

        Raises:
            UserError: the method is unknown, or its batch too small.
        """
        from nerfstudio.configs.method_configs import all_methods

        from gan3d_ns.data.built_in import built_in_folder
        from gan3d_ns.engine.processes import refuse_shares
        from gan3d_ns.engine.trainer_config import GanTrainerConfig

        config = all_methods.get(self.method)
        if not isinstance(config, GanTrainerConfig):
            raise UserError(f"--method {self.method} is none of this package's; take gof-gan-tiny.")
        refuse_shares(config.curriculum, self.processes)
        built_in_folder(config.pipeline.datamanager.built_in)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            torch.save(vars(self), folder / "settings.pt")
            launch(compare, self.processes, folder)
            report = torch.load(folder / "report.pt", weights_only=True)
        differences: Dict[str, float] = report["differences"]
        batch: int = report["batch"]
        print(f"{self.method}: a batch of {batch} pictures, {', '.join(report['terms'])}")
        for group, difference in differences.items():
            print(f"  {group}: largest difference of a gradient {difference:.1e} of the largest gradient")
        for kind, seconds in report["seconds"].items():
            rate = batch / statistics.median(seconds)
            print(f"  {kind}: {rate:.1f} pictures/s, the median of {len(seconds)} turns of {BLOCK} steps")
        print(f"The processes share the {os.cpu_count()} cores of this machine, and whatever else runs on it.")
        if max(differences.values()) > TOLERANCE:
            sys.exit(1)


def compare(rank: int, count: int, folder: Path) -> None:
    """The work of one process: all train together, and the first one also alone while the others wait."""
    from nerfstudio.configs.method_configs import all_methods

    settings = Processes(**torch.load(folder / "settings.pt", weights_only=True))
    config: Any = copy.deepcopy(all_methods[settings.method])
    config.output_dir, config.vis, config.machine.device_type = folder, "tensorboard", "cpu"
    config.keep_best.metric, config.hollow_check_step, config.steps_per_panel = "none", 0, sys.maxsize
    config.pipeline.loss.penalty_interval = config.pipeline.loss.path_length_interval = 1
    config.set_timestamp()
    together = trainer_of(config, rank, count)
    alone = trainer_of(config, 0, 1) if rank == 0 else None

    terms = together.train_iteration(0)[1]
    found = gradients(together)
    report: Dict[str, Any] = {"terms": list(terms), "batch": together.plan(0).batch_size, "seconds": {}}
    if alone is not None:
        alone.train_iteration(0)
        report["differences"] = largest_differences(found, gradients(alone))

    def timed(trainer: "GanTrainer", first: int, steps: int) -> float:
        start = time.perf_counter()
        for step in range(first, first + steps):
            trainer.train_iteration(step)
        return (time.perf_counter() - start) / steps

    kinds: List[Tuple[str, Any, int]] = [
        ("1 process, 1 thread", alone, 1),
        (f"1 process, {count} threads", alone, count),
        (f"{count} processes, 1 thread each", together, 1),
    ]
    step = 1
    for turn in range(1 + -(-settings.steps // BLOCK)):
        for kind, trainer, threads in kinds:
            torch.set_num_threads(threads)
            together.processes.wait()
            if trainer is not None:
                seconds = timed(trainer, step, BLOCK if turn else WARM_UP)
                if turn:
                    report["seconds"].setdefault(kind, []).append(seconds)
            together.processes.wait()
        step += BLOCK
    if rank == 0:
        torch.save(report, folder / "report.pt")
