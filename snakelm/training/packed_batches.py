"""Packs of conversations as a stream of rows, and the loss on the answers of held-out ones.

An epoch is a permutation of the packs, drawn from (seed, epoch); epochs follow each other without a
gap. Step s takes the s-th `batch_rows` packs of that, the last step those that are left: so a
conversation is seen sft.epochs times, and nothing has to be saved to resume. A pack is a row; none
is cut.

Legend: B rows, T positions.
"""

from collections.abc import Callable

import numpy as np
import torch

from ..data.packs import Packs
from ..model import Decoder
from .batches import Rows

__all__ = ["PackStream", "PackedBatches", "answer_loss", "answer_losses", "spread_packs"]

ROWS_AT_ONCE = 8


class PackStream:
    """An order of packs: ``epochs`` times all of them, ``batch_rows`` a step.

    ``lengths``: tokens of each pack, int64 [packs]; ``targets``: what of each its loss counts.
    """

    def __init__(
        self, lengths: np.ndarray, targets: np.ndarray, batch_rows: int, epochs: float, seed: int
    ) -> None:
        self.lengths, self.answers = lengths, targets
        self.batch_rows, self.seed = batch_rows, seed
        self.count = lengths.size
        self.total = max(1, round(epochs * self.count))  # rows of the run
        self.steps = -(-self.total // batch_rows)
        self._orders: dict[int, np.ndarray] = {}

    def chosen(self, step: int) -> np.ndarray:
        """Numbers of the packs of ``step``, in order: int64."""
        positions = range(step * self.batch_rows, self._position(step + 1))
        packs = [self._order(p // self.count)[p % self.count] for p in positions]
        return np.array(packs, np.int64)

    def targets(self, step: int) -> int:
        """What the loss of ``step`` counts: at least 1, to be divided by."""
        return max(1, int(self.answers[self.chosen(step)].sum()))

    def tokens(self, step: int) -> int:
        """Tokens seen before ``step``, padding left out."""
        epoch, local = divmod(self._position(step), self.count)
        return int(epoch * self.lengths.sum() + self.lengths[self._order(epoch)[:local]].sum())

    def epoch(self, step: int) -> float:
        """Epochs seen before ``step``."""
        return self._position(step) / self.count

    def _position(self, step: int) -> int:
        """Rows taken before ``step``."""
        return min(step * self.batch_rows, self.total)

    def _order(self, epoch: int) -> np.ndarray:
        if epoch not in self._orders:
            generator = np.random.Generator(np.random.PCG64([self.seed, epoch]))
            self._orders = {k: v for k, v in self._orders.items() if k == epoch - 1}
            self._orders[epoch] = generator.permutation(self.count)
        return self._orders[epoch]


class PackedBatches(PackStream):
    """The training stream of one packed file; its loss counts the tokens of answers."""

    def __init__(self, packs: Packs, batch_rows: int, epochs: float, seed: int) -> None:
        self.packs = packs
        bounds = packs.document_offsets[packs.pack_offsets]  # of packs, in tokens
        answers = np.add.reduceat(packs.mask, bounds[:-1], dtype=np.int64)
        super().__init__(np.diff(bounds), answers, batch_rows, epochs, seed)

    def rows(self, step: int, rank: int = 0, world: int = 1) -> Rows:
        """The packs of ``step`` (from 0) that fall to ``rank`` of ``world`` processes; may be
        none.
        """
        chosen = self.chosen(step)
        first, last = rank * len(chosen) // world, (rank + 1) * len(chosen) // world
        return Rows(*self.packs.rows(chosen[first:last]))


def spread_packs(packs: Packs, most_tokens: int | None) -> np.ndarray:
    """Numbers of packs at even distances that hold about ``most_tokens`` together; all for None."""
    tokens = packs.meta.tokens
    if most_tokens is None or tokens <= most_tokens:
        return np.arange(len(packs))
    count = max(1, len(packs) * most_tokens // tokens)
    return np.unique(np.linspace(0, len(packs) - 1, count).astype(np.int64))


@torch.no_grad()
def answer_loss(
    model: Decoder,
    packs: Packs,
    chosen: np.ndarray,
    rank: int = 0,
    world: int = 1,
    stop: Callable[[], bool] = lambda: False,
) -> np.ndarray | None:
    """[summed cross-entropy in nats, tokens it is of], float64, of this rank's share of the packs
    ``chosen``; None when ``stop()`` was true before the end.
    """
    device, sums = model.embedding.device, np.zeros(2)
    for first in range(rank * ROWS_AT_ONCE, len(chosen), world * ROWS_AT_ONCE):
        if stop():
            return None
        rows = Rows(*packs.rows(chosen[first : first + ROWS_AT_ONCE]))
        sums += model(*rows.to(device)).item(), (rows.targets >= 0).sum()
    return sums


@torch.no_grad()
def answer_losses(model: Decoder, packs: Packs) -> tuple[np.ndarray, np.ndarray]:
    """Of each pack: summed cross-entropy of its answers in nats, float64 [packs], and the tokens it
    is of, int64.
    """
    device, nll = model.embedding.device, np.zeros(len(packs))
    counts = np.zeros(len(packs), np.int64)
    for pack in range(len(packs)):
        rows = Rows(*packs.rows(np.array([pack])))
        nll[pack], counts[pack] = model(*rows.to(device)).item(), (rows.targets >= 0).sum()
    return nll, counts
