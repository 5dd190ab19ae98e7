"""One training in several processes, on one machine or several: what they tell each other through torch.distributed.

Every process holds all weights, computes its share of the batch, and adds its gradients to those of the others before
each step of an optimizer, so that all take the same steps. Only the first process measures, shows and writes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from nerfstudio.utils import comms
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor, nn
from torch.nn import Parameter

from gan3d_ns.engine.schedules import CurriculumStage
from gan3d_ns.errors import UserError

if TYPE_CHECKING:
    from nerfstudio.engine.trainer import TrainerConfig

PATIENCE = timedelta(days=7)
"""How long a process waits for the others: one may be measuring, or be paused from the viewer."""
BUCKET_ELEMENTS = 2**22
"""Numbers that are sent at once."""
FIRST_NAP, LONGEST_NAP = 5e-5, 5e-3
"""Seconds between two looks whether an exchange on the CPU is over."""
LAST_WORDS_SECONDS = 3.0
"""A process that has lost another one lets that one's message be the first that is heard."""


class Processes:
    """The processes of this training. Alone, nothing is sent and everything is as it is.

    Args:
        count: how many there are.
        device: of this one's tensors.

    Raises:
        UserError: there should be several, but they were not started together; or, later on, another one is lost.
    """

    def __init__(self, count: int = 1, device: str = "cpu") -> None:
        self.count, self.rank, self.device = count, 0, torch.device(device)
        self.group: Any = None
        if count == 1:
            return
        if not dist.is_initialized() or dist.get_world_size() != count:
            raise UserError(
                f"the trainer is one of {count} processes that do not know of each other; start them with ns-train."
            )
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        self.rank = dist.get_rank()
        # Those of nerfstudio stop waiting after half an hour.
        self.group = dist.new_group(timeout=PATIENCE)

    @property
    def first(self) -> bool:
        """Whether this is the process that measures, shows and writes."""
        return self.rank == 0

    def total(self, numbers: Tensor) -> Tensor:
        """The sum over all processes, without gradient; the same bits in each."""
        numbers = numbers.detach()
        if self.count == 1:
            return numbers
        numbers = numbers.to(self.device, copy=True)
        self.finish(dist.all_reduce(numbers, group=self.group, async_op=True))
        return numbers

    def any(self, flag: bool) -> bool:
        """Whether any process says so."""
        return flag if self.count == 1 else bool(self.total(torch.tensor(float(flag))) > 0)

    def first_says(self, flag: bool) -> bool:
        """What the first process says."""
        return self.any(flag and self.first)

    def go_on_from(self, step: int | None) -> None:
        """Makes sure that all processes have read the same step's checkpoint.

        Args:
            step: what this one has read; None: it could not.

        Raises:
            UserError: others have read another, or none.
        """
        mine = torch.zeros(self.count)
        mine[self.rank] = -2.0 if step is None else float(step)
        steps = [int(found) for found in self.total(mine)]
        if step is not None and set(steps) != {step}:
            found = ", ".join("none" if each == -2 else str(each) for each in steps)
            raise UserError(
                f"the {self.count} processes of this training would go on from different steps ({found}); keep the "
                "checkpoints where all machines see the same files."
            )

    def add_gradients(self, parameters: Iterable[Parameter]) -> None:
        """Replaces gradients by their sums over all processes; None stays where no process has any.

        Sums, not means: each process has weighted its loss by its share of the batch.
        """
        if self.count == 1:
            return
        for bucket in buckets(parameters):
            has = [float(entry.grad is not None) for entry in bucket]
            gradients = [torch.zeros_like(entry) if entry.grad is None else entry.grad for entry in bucket]
            flat = torch.cat(
                [torch.tensor(has, device=self.device), *(entry.reshape(-1).float() for entry in gradients)]
            )
            sums = self.total(flat).split([len(bucket), *(entry.numel() for entry in bucket)])
            for present, entry, gradient, found in zip(sums[0].tolist(), bucket, gradients, sums[1:], strict=True):
                if present > 0:
                    entry.grad = gradient.copy_(found.view_as(entry))

    @torch.no_grad()
    def share(self, module: nn.Module | None) -> None:
        """Gives every process the first one's weights and buffers."""
        if self.count == 1 or module is None:
            return
        kinds: dict[torch.dtype, list[Tensor]] = {}
        for entry in module.state_dict().values():
            kinds.setdefault(entry.dtype, []).append(entry)
        for entries in kinds.values():
            flat = torch.cat([entry.reshape(-1).to(self.device) for entry in entries])
            sent = flat.view(torch.uint8)  # a bool is sent as a byte, as anything else
            self.finish(dist.broadcast(sent, src=0, group=self.group, async_op=True))
            for entry, found in zip(entries, flat.split([entry.numel() for entry in entries]), strict=True):
                entry.copy_(found.view_as(entry))

    def wait(self) -> None:
        """Until all processes have come here. Ctrl-C is for the first one to hear: the others stay for it."""
        if self.count == 1:
            return
        work = dist.all_reduce(torch.zeros((), device=self.device), group=self.group, async_op=True)
        while True:
            try:
                return self.finish(work, awake=True)
            except KeyboardInterrupt:
                if self.first:
                    raise

    def finish(self, work: dist.Work | None, awake: bool = False) -> None:
        """Waits for an exchange.

        Args:
            work: the exchange.
            awake: hear signals meanwhile on a GPU too, where that costs time; on a CPU they are always heard.

        Raises:
            UserError: another process is gone.
        """
        assert work is not None
        try:
            nap = FIRST_NAP
            while (awake or self.device.type == "cpu") and not work.is_completed():
                time.sleep(nap)
                nap = min(2 * nap, LONGEST_NAP)
            work.wait()
        except RuntimeError as error:
            time.sleep(LAST_WORDS_SECONDS)
            raise UserError(
                f"process {self.rank} of {self.count} has lost another one, whose own message says why; resume from "
                "the last checkpoint."
            ) from error


def buckets(parameters: Iterable[Parameter]) -> Iterator[list[Parameter]]:
    """The parameters in groups that are sent at once."""
    bucket: list[Parameter] = []
    for entry in parameters:
        bucket.append(entry)
        if sum(held.numel() for held in bucket) >= BUCKET_ELEMENTS:
            yield bucket
            bucket = []
    if bucket:
        yield bucket


def quiet_others() -> None:
    """Leaves the console to the first process."""
    if not comms.is_main_process():
        CONSOLE.quiet = True


def only_compute(config: TrainerConfig) -> None:
    """Switches the viewer and nerfstudio's evaluation off, for all processes but the first."""
    config.vis = "none"  # pyright: ignore[reportAttributeAccessIssue]


def refuse_shares(curriculum: Sequence[CurriculumStage], count: int) -> None:
    """Refuses more processes than pictures.

    Raises:
        UserError: says how many there may be.
    """
    smallest = min(stage.batch_size for stage in curriculum)
    if smallest < count:
        raise UserError(
            f"{count} processes cannot share a batch of {smallest} pictures; take {smallest} processes at most "
            "(--machine.num-devices), or raise the batch_size of every stage of the curriculum."
        )


def refuse_machine(config: TrainerConfig) -> None:
    """Refuses what ns-train cannot start.

    Raises:
        UserError: says what it can.
    """
    machine = config.machine
    devices, machines = machine.num_devices, machine.num_machines
    if devices < 1 or machines < 1 or not 0 <= machine.machine_rank < max(1, machines):
        raise UserError(
            f"{machines} machines with {devices} devices each, of which this is number {machine.machine_rank}: set "
            "--machine.num-machines and --machine.num-devices to 1 or more, and --machine.machine-rank to a number "
            "from 0 on that is below the number of machines."
        )
    if devices * machines == 1:
        return
    present = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if machine.device_type != "cuda" or present < devices:
        raise UserError(
            f"ns-train starts several processes on CUDA devices only, one on each: {devices} on each machine are asked "
            f"for with --machine.device-type {machine.device_type}, and this one has {present}; set "
            f"--machine.num-devices {max(1, present)}" + ("." if machines == 1 else ", on one machine.")
        )
    if machines > 1 and machine.dist_url == "auto":
        raise UserError(
            f"{machines} machines have to know where to meet; give all of them --machine.dist-url tcp://HOST:PORT with "
            "the address of machine 0 and a port that is free there."
        )
