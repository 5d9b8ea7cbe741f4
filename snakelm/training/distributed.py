"""Data parallelism by hand: every process has the whole model, takes its rows of each batch, and
sums gradients.

Sums, not means: the loss is a sum over tokens, and the sum over all processes is divided once by
the batch's tokens, so unequal shares weigh what they should. Gradients travel as one flat tensor,
together with the loss and the wish to stop, so that all processes decide alike and a step costs one
collective.

Started by `torchrun`, on one host or several, or by snakelm/training/launch.py when train.processes
or train.nodes > 1. Rank and size count processes of all hosts; local rank and local size those of
this host, which decide its GPU and its share of the cores. All hosts read the same results folder;
rank 0 writes.
Before they begin they settle what they go on from (agreement.py).
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from ..errors import UserError
from ..launched import is_launched, started_by_launcher
from .agreement import Agreement
from .launch import STORE

__all__ = ["World", "process_group"]


@contextmanager
def process_group(device: str) -> Iterator["World"]:
    """The world that torchrun's environment or our launcher's describes; one process alone when
    there is none.

    ``device``: train.device.
    """
    if not is_launched():
        yield World()
        return

    local_rank = int(os.environ["LOCAL_RANK"])
    cuda = device in ("auto", "cuda") and torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(local_rank)
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    with _losses_in_words():
        store = _meeting_place(size)
        agreement = Agreement(dist.PrefixStore("snakelm", store), rank, size)
        agreement.gather("whether it is there")
        backend = "nccl" if cuda else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size)
        try:
            with agreement.reporting():
                local_size = int(os.environ["LOCAL_WORLD_SIZE"])
                yield World(rank, size, local_rank, local_size, agreement)
        finally:
            dist.destroy_process_group()


def _meeting_place(size: int) -> dist.Store:
    """Where the processes find each other: the file of our launcher; across hosts, the first one's
    store, which torchrun or nodes.py named.
    """
    if started_by_launcher() and STORE in os.environ:
        return dist.FileStore(os.environ[STORE], size)
    store, _, _ = next(rendezvous("env://"))
    return cast(dist.Store, store)


@contextmanager
def _losses_in_words() -> Iterator[None]:
    """What a collective raises when another process has gone is for a person to hear of."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"lost another process of this training: it was killed, or its host or the network "
            f"failed ({reason}); the same command resumes from the last checkpoint"
        ) from None


@dataclass(frozen=True)
class World:
    """This process among ``size``, of which ``local_size`` run on this host; rank 0 writes."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    agreement: Agreement = field(default_factory=lambda: Agreement(None, 0, 1), compare=False)

    @property
    def writes(self) -> bool:
        """Whether this is the process that writes files and log lines."""
        return self.rank == 0

    def sum_gradients(
        self, parameters: Sequence[torch.nn.Parameter], extras: list[float]
    ) -> list[float]:
        """Sums every .grad over the processes, in place, and ``extras``, which are returned."""
        if self.size == 1:
            return extras

        gradients = [p.grad for p in parameters if p.grad is not None]
        assert len(gradients) == len(parameters), "processes would sum different parameters"
        more = torch.tensor(extras, device=parameters[0].device)
        flat = torch.cat([*(g.flatten() for g in gradients), more])
        dist.all_reduce(flat)

        sizes = [g.numel() for g in gradients]
        for g, summed in zip(gradients, flat[: sum(sizes)].split(sizes), strict=True):
            g.copy_(summed.view_as(g))
        return flat[sum(sizes) :].tolist()

    def sum_losses(self, own: np.ndarray | None, length: int) -> np.ndarray | None:
        """Losses float64 [length] summed over the processes' shares; None when any process was
        stopped in its share (``own`` is None there).
        """
        if self.size == 1:
            return own

        losses = torch.zeros(length + 1, dtype=torch.float64)  # the last one counts who stopped
        if own is None:
            losses[-1] = 1
        else:
            losses[:-1] = torch.from_numpy(own)
        losses = _for_backend(losses)
        dist.all_reduce(losses)
        return None if losses[-1] > 0 else losses[:-1].cpu().numpy()

    def most(self, count: int) -> int:
        """The largest ``count`` of any process."""
        if self.size == 1:
            return count
        counts = _for_backend(torch.tensor(count))
        dist.all_reduce(counts, dist.ReduceOp.MAX)
        return int(counts)

    def broadcast(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Gives every process rank 0's weights: all compute the same ones, but hosts may differ in
        the last bit.
        """
        if self.size == 1:
            return
        for p in parameters:
            weights = _for_backend(p.detach())
            dist.broadcast(weights, 0)
            with torch.no_grad():
                p.copy_(weights)  # counted by torch, which what is written by the network isn't

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            dist.barrier()


def _for_backend(tensor: torch.Tensor) -> torch.Tensor:
    """NCCL moves what is on the GPU only."""
    return tensor.cuda() if dist.get_backend() == "nccl" else tensor
