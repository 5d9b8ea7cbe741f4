"""Whole matrices for those who update them, rows of all matrices for everybody: how a gradient that
is sharded by rows comes to where Muon orthogonalises it, and its weights go back.

Each matrix has an owner. One all-to-all brings every process's rows of it there, another one the
new rows back. A process sends what it holds once and receives as much: both ways together are 2/S
of the matrices' numbers, for S processes, where gathering them once for a forward pass is all of
them.

Legend: M × N a matrix, of which a process has ⌈M / S⌉ rows, the last ones fewer or none, as
torch.distributed.fsdp cuts them.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist

__all__ = ["RowExchange", "row_span"]


def row_span(rows: int, rank: int, size: int) -> slice:
    """The rows, of so many, that ``rank`` of ``size`` processes has."""
    per = -(-rows // size)
    return slice(min(rows, rank * per), min(rows, (rank + 1) * per))


class RowExchange:
    """For matrices of these ``shapes``, by name, and this ``rank`` of ``size`` processes.

    ``owner``: of each matrix. ``owned``: the names of those that this process owns.
    """

    def __init__(self, shapes: Mapping[str, Sequence[int]], rank: int, size: int) -> None:
        self.shapes, self.rank, self.size = dict(shapes), rank, size
        self.owner = self._balanced()
        self.owned = [name for name in shapes if self.owner[name] == rank]

        # Numbers that this process has of each matrix of each owner, and that each has of its own.
        self._here = [
            [self._numbers(name, rank) for name in shapes if self.owner[name] == other]
            for other in range(size)
        ]
        self._there = [[self._numbers(name, other) for name in self.owned] for other in range(size)]

    def to_owners(self, rows: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """From this process's rows of all matrices to the whole of those that it owns."""
        sent = [rows[name] for owner in range(self.size) for name in self._of(owner)]
        came = _exchange(sent, self._here, self._there)
        return {
            name: torch.cat([part[i] for part in came]).view(*self.shapes[name])
            for i, name in enumerate(self.owned)
        }

    def to_rows(self, wholes: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """From the whole of the matrices that this process owns to its rows of all."""
        sent = [
            wholes[name][row_span(self.shapes[name][0], rank, self.size)]
            for rank in range(self.size)
            for name in self.owned
        ]
        came = _exchange(sent, self._there, self._here)
        return {
            name: part.view(-1, self.shapes[name][1])
            for owner, parts in enumerate(came)
            for name, part in zip(self._of(owner), parts, strict=True)
        }

    def _balanced(self) -> dict[str, int]:
        """Each matrix in turn to whoever has the fewest numbers so far."""
        loads, owner = [0] * self.size, {}
        for name, (rows, columns) in self.shapes.items():
            owner[name] = loads.index(min(loads))
            loads[owner[name]] += rows * columns
        return owner

    def _of(self, owner: int) -> list[str]:
        return [name for name in self.shapes if self.owner[name] == owner]

    def _numbers(self, name: str, rank: int) -> int:
        rows, columns = self.shapes[name]
        span = row_span(rows, rank, self.size)
        return (span.stop - span.start) * columns


def _exchange(
    sent: Sequence[torch.Tensor], sizes: list[list[int]], coming: list[list[int]]
) -> list[tuple[torch.Tensor, ...]]:
    """Sends tensors of these ``sizes`` by process, and gives those that come, flat, by process."""
    flat = torch.cat([one.reshape(-1) for one in sent])
    came = flat.new_empty(sum(map(sum, coming)))
    counts = list(map(sum, coming))
    dist.all_to_all_single(came, flat, counts, list(map(sum, sizes)))
    return [part.split(lengths) for part, lengths in zip(came.split(counts), coming, strict=True)]
