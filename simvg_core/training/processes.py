"""One process or several, one per device: what differs between them.

Several are started by `accelerate launch --multi_gpu --num_processes 2 -m simvg_core.training.cli train CONFIG`, on
CPUs too, or by `torchrun --standalone --nproc-per-node 2 -m simvg_core.training.cli train CONFIG`; `accelerate launch
--cpu` starts one process, unless it runs under MPI. What several learn is what one learns from their batches joined,
but for batch norm, whose statistics are each process's own.
"""

from __future__ import annotations

import gc
import os
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor

from simvg_core.errors import ConfigurationError

T = TypeVar("T")

# What launchers call the number of processes: torchrun and accelerate, then MPI's, in the order accelerate reads them.
_COUNTS = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")

# The others wait so long for the first one's evaluation.
PATIENCE = timedelta(hours=2)


class Processes:
    """A single process."""

    index = 0
    count = 1

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @property
    def first(self) -> bool:
        """Whether this one writes the files."""
        return self.index == 0

    def wrap(self, model: torch.nn.Module) -> torch.nn.Module:
        """The model as it is called in training; its gradients are means over the processes."""
        return model

    def alone(self, model: torch.nn.Module) -> AbstractContextManager[None]:
        """Gradients made inside stay in this process until a backward outside."""
        return nullcontext()

    def mean(self, values: Tensor) -> Tensor:
        """Elementwise mean over the processes, the same in each."""
        return values

    def agree(self, value: T) -> T:
        """The first one's value, in every process."""
        return value

    def collect(self, value: T) -> list[T]:
        """The value of every process, in each of them."""
        return [value]

    def wait(self) -> None:
        """Until every process is here."""

    def close(self) -> None:
        """Takes leave of the others, when no model is wrapped any more; no run can follow in this process."""


class SeveralProcesses(Processes):
    """One of several, by accelerate.

    Args:
        cpu: on CPUs, whatever else the machine has.
        count: how many the launcher was asked for.

    Raises:
        ConfigurationError: accelerate is missing, or joined another number of processes.
    """

    def __init__(self, *, cpu: bool, count: int) -> None:
        try:
            from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
        except ImportError as error:
            raise ConfigurationError(
                "several processes need accelerate, which is not installed; pip install accelerate, or start one."
            ) from error
        # A branch without a loss (the token branch in stage 1) gets no gradient.
        handlers = [
            DistributedDataParallelKwargs(find_unused_parameters=True),
            InitProcessGroupKwargs(timeout=PATIENCE),
        ]
        # The run's own `precision` decides, whatever accelerate's configuration on this machine says.
        self.accelerator = Accelerator(cpu=cpu, mixed_precision="no", kwargs_handlers=handlers)
        if self.accelerator.num_processes != count:
            raise ConfigurationError(
                f"the launcher was asked for {count} processes, {self.accelerator.num_processes} found each other; "
                "start them with accelerate launch --multi_gpu, or with torchrun."
            )
        # accelerate numbers CPUs, and torch.load knows no such device
        super().__init__(torch.device("cpu") if cpu else self.accelerator.device)
        self.index, self.count = self.accelerator.process_index, self.accelerator.num_processes

    def wrap(self, model: torch.nn.Module) -> torch.nn.Module:
        wrapped: torch.nn.Module = self.accelerator.prepare_model(model)
        return wrapped

    def alone(self, model: torch.nn.Module) -> AbstractContextManager[None]:
        context: AbstractContextManager[None] = self.accelerator.no_sync(model)
        return context

    def mean(self, values: Tensor) -> Tensor:
        reduced: Any = self.accelerator.reduce(values, reduction="mean")
        return reduced  # type: ignore[no-any-return]

    def agree(self, value: T) -> T:
        from accelerate.utils import broadcast_object_list

        values: list[Any] = [value]
        broadcast_object_list(values)
        return values[0]  # type: ignore[no-any-return]

    def collect(self, value: T) -> list[T]:
        from accelerate.utils import gather_object

        gathered: list[T] = gather_object([value])
        return gathered

    def wait(self) -> None:
        self.accelerator.wait_for_everyone()

    def close(self) -> None:
        # A wrapped model holds the process group, and the group's threads would then outlive the interpreter: one that
        # lets go of its last tensors so late ends in an abort, and with it the launcher and the other processes.
        self.accelerator.free_memory()
        torch.distributed.destroy_process_group()
        gc.collect()


def make_processes(device_name: str) -> Processes:
    """As many as the launcher started; one where none did.

    Raises:
        ConfigurationError: no such device, accelerate is missing, or there are fewer processes than were asked for.
    """
    if device_name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigurationError(f"device={device_name!r} but torch sees no GPU; use device: cpu.")
    if device_name == "auto":
        device_name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(device_name)
    count = _asked_for()
    if count == 1:
        return Processes(device)
    if ":" in device_name:
        raise ConfigurationError(
            f"device={device_name!r} is one for {count} processes; use device: {device.type}, and each takes its own."
        )
    return SeveralProcesses(cpu=device.type == "cpu", count=count)


def _asked_for() -> int:
    """How many processes the launcher says there are; 1 without a launcher."""
    named = [os.environ[name] for name in _COUNTS if name in os.environ]
    if named:
        return int(named[0])
    if "MASTER_PORT" in os.environ:
        raise ConfigurationError(
            f"MASTER_PORT={os.environ['MASTER_PORT']} announces several processes, but the launcher started this one "
            "alone, as accelerate launch --cpu does; start them with accelerate launch --multi_gpu (on CPUs too) or "
            "torchrun --standalone --nproc-per-node N, or unset MASTER_ADDR and MASTER_PORT for a single process."
        )
    return 1
