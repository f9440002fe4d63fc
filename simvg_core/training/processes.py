"""One process or several, one per device: what differs between them.

Several are started by `accelerate launch --multi_gpu -m simvg_core.training.cli train CONFIG`, or on CPUs by
`torchrun --nproc-per-node 2 -m simvg_core.training.cli train CONFIG`.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor

from simvg_core.errors import ConfigurationError

T = TypeVar("T")

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

    def wait(self) -> None:
        """Until every process is here."""


class SeveralProcesses(Processes):
    """One of several, by accelerate."""

    def __init__(self, device_name: str) -> None:
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
        self.accelerator = Accelerator(cpu=device_name == "cpu", kwargs_handlers=handlers)
        super().__init__(self.accelerator.device)
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

    def wait(self) -> None:
        self.accelerator.wait_for_everyone()


def make_processes(device_name: str) -> Processes:
    """As many as the launcher started; one where none did.

    Raises:
        ConfigurationError: no such device, or accelerate is missing.
    """
    if device_name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigurationError(f"device={device_name!r} but torch sees no GPU; use device: cpu.")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return SeveralProcesses(device_name)
    if device_name == "auto":
        return Processes(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    return Processes(torch.device(device_name))
