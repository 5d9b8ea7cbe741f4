"""Data parallelism by hand: every process has the whole model, takes its rows of each batch, and
sums gradients.

Sums, not means: the loss is a sum over tokens, and the sum over all processes is divided once by
the batch's tokens, so unequal shares weigh what they should. Gradients travel as one flat tensor,
together with the loss and the wish to stop, so that all processes decide alike and a step costs one
collective.

Started by `torchrun`, or by snakelm/training/launch.py when train.processes > 1.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist

from .launch import under_torchrun

__all__ = ["World"]


@dataclass(frozen=True)
class World:
    """This process among ``size``; rank 0 writes."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @classmethod
    def join(cls, device: str) -> "World":
        """The world that torchrun's environment describes; alone when there is none. ``device``:
        train.device.
        """
        if not under_torchrun():
            return cls()
        cuda = device in ("auto", "cuda") and torch.cuda.is_available()
        local_rank = int(os.environ.get("LOCAL_RANK", 0))
        if cuda:
            torch.cuda.set_device(local_rank)
        dist.init_process_group("nccl" if cuda else "gloo")
        return cls(dist.get_rank(), dist.get_world_size(), local_rank)

    @property
    def writes(self) -> bool:
        """Whether this is the process that writes files and lines."""
        return self.rank == 0

    def leave(self) -> None:
        """Ends the group, if there is one."""
        if self.size > 1 or dist.is_initialized():
            dist.destroy_process_group()

    def sum_gradients(
        self, parameters: Sequence[torch.nn.Parameter], extras: list[float]
    ) -> list[float]:
        """Sums every .grad over the processes, in place, and ``extras``, which are returned."""
        if self.size == 1:
            return extras
        device = parameters[0].device
        flat = torch.cat(
            [p.grad.flatten() for p in parameters] + [torch.tensor(extras, device=device)]
        )
        dist.all_reduce(flat)
        sizes = [p.numel() for p in parameters]
        for p, part in zip(parameters, flat[: sum(sizes)].split(sizes), strict=True):
            p.grad.copy_(part.view_as(p))
        return flat[sum(sizes) :].tolist()

    def sum_losses(self, own: np.ndarray | None, length: int) -> np.ndarray | None:
        """Losses float64 [length] summed over the processes' shares; None when any was stopped in
        its share.
        """
        if self.size == 1:
            return own
        told = torch.zeros(length + 1, dtype=torch.float64)
        if own is None:
            told[-1] = 1
        else:
            told[:-1] = torch.from_numpy(own)
        told = told.cuda() if dist.get_backend() == "nccl" else told
        dist.all_reduce(told)
        return None if told[-1] > 0 else told[:-1].cpu().numpy()

    def share(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Gives every process rank 0's weights: all compute the same ones, but not on every machine
        to the last bit.
        """
        for p in parameters if self.size > 1 else ():
            moved = p.data.cuda() if dist.get_backend() == "nccl" else p.data
            dist.broadcast(moved, 0)
            p.data.copy_(moved)

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            dist.barrier()
