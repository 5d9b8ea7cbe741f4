"""The sum of a batch's gradients in an order that doesn't depend on how many processes there are:
train.reproducible, for weights that are the same to the bit under any number of them.

Floating-point sums depend on their order, and an all-reduce chooses its own for each world size. So
the batch is cut into a fixed number of parts, whoever computes them, and the parts are added along
a fixed binary tree over their numbers. Each process has a run of neighbouring parts, so most of the
tree is local; where two processes meet, the right one sends its sum to the left one. The root is
rank 0, which sends the whole to all.

What it costs: a gradient of its own for each part, added in memory (a process holds as many sums as
its part of the tree is deep), and log2(processes) sends and a broadcast instead of an all-reduce,
which moves a few times the bytes (docs/EXPERIMENTS.md).
"""

from collections.abc import Callable

import torch
import torch.distributed as dist

__all__ = ["ordered_sum", "owner", "parts_of"]


def owner(part: int, parts: int, size: int) -> int:
    """The rank, of ``size``, that computes ``part`` of ``parts``: runs of equal length, but one."""
    return ((part + 1) * size - 1) // parts


def parts_of(rank: int, parts: int, size: int) -> list[int]:
    """The parts that ``rank`` of ``size`` computes."""
    return [part for part in range(parts) if owner(part, parts, size) == rank]


def ordered_sum(
    compute: Callable[[int], torch.Tensor], parts: int, rank: int = 0, size: int = 1
) -> torch.Tensor:
    """The sum over all parts, the same bits on every process and for every ``size`` up to
    ``parts``.

    ``compute``: a flat tensor that may be added to, of one of this process's own parts; called in
    the order of their numbers.
    """

    own: list[torch.Tensor] = []

    def node(first: int, last: int) -> torch.Tensor | None:
        """The sum of parts first … last - 1, on the process that has the first of them."""
        left_rank = owner(first, parts, size)
        if last - first == 1:
            own[:] = [compute(first)] if left_rank == rank else own
            return own[0] if left_rank == rank else None

        middle = first + (1 << ((last - first - 1).bit_length() - 1))
        left, right = node(first, middle), node(middle, last)
        right_rank = owner(middle, parts, size)
        if right_rank != left_rank and right is not None:
            dist.send(right, left_rank)
        if left is None:
            return None
        if right_rank != left_rank:
            right = torch.empty_like(left)
            dist.recv(right, right_rank)
        assert right is not None, "it is this process's own, or it has just come"
        return left.add_(right)

    root = node(0, parts)
    total = own[0] if root is None else root  # elsewhere a tensor that may be written over
    if size > 1:
        dist.broadcast(total, 0)
    return total
