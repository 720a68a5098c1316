"""Several processes under torchrun: one GPU each, or CPU processes.

Gradients are averaged by hand after the backward pass. `DistributedDataParallel` reduces in hooks
of one backward pass over one forward pass; a constrained step has two forwards and a second
derivative.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed


@dataclass(frozen=True)
class Process:
    """One process among its peers."""

    rank: int = 0
    world: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Average the gradients over all processes, in one message."""
        if self.world == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients])
        distributed.all_reduce(flat)
        flat /= self.world
        start = 0
        for gradient in gradients:
            gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
            start += gradient.numel()

    def average(self, values: list[float]) -> list[float]:
        """Average numbers over all processes."""
        if self.world == 1:
            return values
        device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
        tensor = torch.tensor(values, dtype=torch.float64, device=device)
        distributed.all_reduce(tensor)
        return (tensor / self.world).tolist()

    def agree(self, flag: bool) -> bool:
        """True on all processes as soon as it is true on one."""
        return flag if self.world == 1 else self.average([float(flag)])[0] > 0

    def wait(self) -> None:
        """Wait for all processes."""
        if self.world > 1:
            distributed.barrier()


@contextmanager
def joined(device: torch.device) -> Iterator[Process]:
    """Join the processes that torchrun started; alone when it did not."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1 or distributed.is_initialized():
        yield Process()
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Process(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


def select_device(name: str) -> torch.device:
    """The device called "auto", "cpu", "cuda" or "cuda:N".

    Raises
    ------
    InputError
        If CUDA is asked for and absent.
    """
    from ..errors import InputError

    available = torch.cuda.is_available()
    if name == "auto":
        name = "cuda" if available else "cpu"
    if name == "cpu":
        return torch.device("cpu")
    if not name.startswith("cuda"):
        raise InputError(f"device {name!r}: auto, cpu or cuda was expected")
    if not available:
        raise InputError(
            "device cuda: no CUDA device is available to this build of PyTorch; use --device cpu"
        )
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(name)
    return torch.device(name)
