"""Batches as a pure function of (seed, step): nothing to save, nothing to lose, the same for any
number of processes.

An epoch is a permutation of the documents, drawn from (seed, epoch), laid end to end; epochs follow
each other without a gap. That stream is cut into rows of `context` tokens, the target of a token is
the one after it, and step s takes the s-th run of batch_tokens. So no token is lost or seen twice
in an epoch, however often a run stops and resumes.

A row may hold several documents and parts of documents: row_start says where each position's
document begins in its row, and attention looks back no further. Rejected: best-fit packing, which
crops or reorders text for rows that the mask makes equal anyway.

Legend: R or B rows, T positions.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch

from ..data.bins import TokenBin
from ..errors import UserError
from .dropout import RowDropout, row_dropout
from .sampled_softmax import SoftmaxSample, SoftmaxSampler

__all__ = ["BatchStream", "Batches", "Rows", "lay_out"]


@dataclass(frozen=True)
class Rows:
    """Rows [R, T]: tokens and targets int64, row_start int32. ``sample``: what the softmax of the
    step goes over; None for the whole vocabulary. ``dropout``: what is dropped; None for nothing.
    """

    tokens: np.ndarray
    targets: np.ndarray
    row_start: np.ndarray
    sample: SoftmaxSample | None = None
    dropout: RowDropout | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def part(self, first: int, last: int) -> "Rows":
        """Rows first … last - 1, as views."""
        own = slice(first, last)
        dropout = self.dropout.part(first, last) if self.dropout else None
        return Rows(self.tokens[own], self.targets[own], self.row_start[own], self.sample, dropout)

    def to(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The model's arguments on ``device``: x_BT, start_BT, y_BT."""
        x_BT, start_BT, y_BT = (
            torch.from_numpy(array).to(device)
            for array in (self.tokens, self.row_start, self.targets)
        )
        return x_BT, start_BT, y_BT

    def sample_to(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor] | None:
        """The sample as the model takes it: tokens int64 [S], corrections float32 [S]."""
        if self.sample is None:
            return None
        tokens, correction = self.sample.tokens, self.sample.correction
        return torch.from_numpy(tokens).to(device), torch.from_numpy(correction).to(device)

    def losses(
        self, forward: Callable[..., torch.Tensor], device: torch.device
    ) -> Callable[[int, int], torch.Tensor]:
        """A function (first, last) that gives the loss summed over rows first … last - 1, by the
        model's ``forward``.
        """
        sample = self.sample_to(device)

        def loss(first: int, last: int) -> torch.Tensor:
            part = self.part(first, last)
            dropout = part.dropout.to(device) if part.dropout else None
            return forward(*part.to(device), sample, dropout)

        return loss


class BatchStream(Protocol):
    """What a run steps through: every method a pure function, so that nothing of it has to be
    saved.
    """

    def rows(self, step: int, rank: int, world: int) -> Rows:
        """The rows of ``step`` (from 0) that fall to ``rank`` of ``world`` processes."""

    def targets(self, step: int) -> int:
        """Tokens to predict in all of the step, over all processes: what its loss is divided by."""

    def tokens(self, step: int) -> int:
        """Tokens seen before ``step``."""

    def epoch(self, step: int) -> float:
        """Epochs seen before ``step``: 1.5 is once and a half."""


class Batches:
    """The training stream of one token file."""

    def __init__(self, tokens: TokenBin, context: int, batch_tokens: int, seed: int) -> None:
        assert batch_tokens % context == 0, "config checks this"
        self.bin, self.context, self.batch_tokens, self.seed = tokens, context, batch_tokens, seed
        self.epoch_tokens = int(tokens.meta.tokens)
        if self.epoch_tokens < batch_tokens:
            raise UserError(
                f"{tokens.path}: {self.epoch_tokens:,} tokens, less than one batch "
                f"(train.batch_tokens {batch_tokens:,}); bring more text or lower "
                "train.batch_tokens"
            )
        self.sampler: SoftmaxSampler | None = None  # of the softmax; None: the whole vocabulary
        self.dropout = 0.0  # the share of values that a step drops
        self._epochs: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def targets(self, step: int) -> int:
        """Tokens to predict in ``step``: all of them."""
        return self.batch_tokens

    def tokens(self, step: int) -> int:
        """Tokens seen before ``step``."""
        return step * self.batch_tokens

    def epoch(self, step: int) -> float:
        """Epochs seen before ``step``."""
        return step * self.batch_tokens / self.epoch_tokens

    def seen(self, step: int) -> np.ndarray:
        """Numbers of the documents that were read to their end before ``step``: int64,
        ascending.
        """
        position = step * self.batch_tokens
        if position >= self.epoch_tokens:
            return np.arange(int(self.bin.meta.documents))
        order, bounds = self._epoch(0)
        return np.sort(order[: np.searchsorted(bounds[1:], position, "right")])

    def rows(self, step: int, rank: int = 0, world: int = 1) -> Rows:
        """The rows of ``step`` (from 0) that fall to ``rank`` of ``world`` processes, in the
        batch's order.
        """
        count = self.batch_tokens // self.context
        first, last = rank * count // world, (rank + 1) * count // world
        if self.sampler:
            batch = self._rows(step, 0, count)
            sample = self.sampler.draw(step, batch.targets)
            rows = replace(batch, sample=sample).part(first, last)
        else:
            rows = self._rows(step, first, last)
        return replace(rows, dropout=row_dropout(self.dropout, self.seed, step, first, last))

    def _rows(self, step: int, first: int, last: int) -> Rows:
        """Rows first … last - 1 of the step's batch."""
        position = step * self.batch_tokens + first * self.context
        tokens, starts = self._slice(position, (last - first) * self.context + 1)
        return lay_out(tokens, starts, self.context)

    def _slice(self, position: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokens [length] of the endless stream from ``position``, and where in them documents
        start.
        """
        tokens = np.empty(length, np.int64)
        starts: list[int] = []
        filled = 0
        while filled < length:
            epoch, local = divmod(position + filled, self.epoch_tokens)
            order, bounds = self._epoch(epoch)
            place = int(np.searchsorted(bounds, local, "right")) - 1
            skip = local - int(bounds[place])  # tokens of this document that came before

            document = self.bin.document(order[place])[skip : skip + length - filled]
            tokens[filled : filled + len(document)] = document
            if skip == 0:
                starts.append(filled)
            filled += len(document)
        return tokens, np.array(starts, np.int64)

    def _epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Document numbers [n] in the epoch's order, and where each starts in the epoch [n+1]."""
        if epoch not in self._epochs:
            generator = np.random.Generator(np.random.PCG64([self.seed, epoch]))
            order = generator.permutation(int(self.bin.meta.documents))
            lengths = np.diff(self.bin.document_offsets)[order]

            # A batch spans two epochs at most, so only the one before is kept.
            self._epochs = {k: v for k, v in self._epochs.items() if k == epoch - 1}
            self._epochs[epoch] = order, np.concatenate([[0], np.cumsum(lengths)])
        return self._epochs[epoch]


def lay_out(tokens: np.ndarray, starts: np.ndarray, context: int) -> Rows:
    """Rows from a run of tokens [rows · context + 1] whose documents begin at ``starts``; the last
    is a target only.
    """
    rows = (len(tokens) - 1) // context
    assert rows * context + 1 == len(tokens), "one token more than the rows hold"

    # A running maximum over the columns where documents begin: each position gets the latest.
    begins = np.zeros(rows * context, np.int64)
    begins[starts[starts < rows * context]] = 1
    column = np.arange(context, dtype=np.int32)
    row_start = np.maximum.accumulate(begins.reshape(rows, context) * column, axis=1)

    shape = (rows, context)
    return Rows(tokens[:-1].reshape(shape), tokens[1:].reshape(shape), row_start.astype(np.int32))
