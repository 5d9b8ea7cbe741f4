"""Where a model's loss comes from: each document, how much of it the model could see, how common
each token is.

One pass over the held-out text. What is kept is a number for each document and a few dozen bins, so
any amount of text fits in memory.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..data.bins import TokenBin
from ..model import Decoder
from ..training.validation import row_losses

__all__ = ["Bins", "Breakdown", "breakdown", "frequency_edges", "visible_edges"]


@dataclass
class Bins:
    """Sums over target tokens, by a quantity cut at ``edges`` (ascending; bin i holds edges[i] up
    to edges[i+1] - 1).
    """

    edges: np.ndarray  # int64 [bins + 1]
    targets: np.ndarray  # int64 [bins]
    nll: np.ndarray  # float64 [bins], nats
    bytes: np.ndarray  # int64 [bins]

    @classmethod
    def empty(cls, edges: np.ndarray) -> "Bins":
        """Nothing counted yet."""
        count = edges.size - 1
        return cls(edges, np.zeros(count, np.int64), np.zeros(count), np.zeros(count, np.int64))

    def add(self, quantity: np.ndarray, nll: np.ndarray, sizes: np.ndarray) -> None:
        """Counts target tokens, each array [n]; ``sizes``: their bytes."""
        bins = np.searchsorted(self.edges, quantity, "right") - 1
        count = self.targets.size
        self.targets += np.bincount(bins, minlength=count)
        self.nll += np.bincount(bins, nll, minlength=count)
        self.bytes += np.bincount(bins, sizes, minlength=count).astype(np.int64)

    def is_like(self, other: "Bins") -> bool:
        """Whether both have the same bins with the same targets in them."""
        same_edges = np.array_equal(self.edges, other.edges)
        return same_edges and np.array_equal(self.targets, other.targets)

    def mean(self) -> list[float | None]:
        """Nats per token of each bin; None for an empty one."""
        return [
            round(nll / targets, 5) if targets else None
            for nll, targets in zip(self.nll.tolist(), self.targets.tolist(), strict=True)
        ]


@dataclass
class Breakdown:
    """A model's loss on held-out text."""

    nll: np.ndarray  # float64 [documents], nats
    visible: Bins  # by tokens of the document before the target that the model could see
    frequency: Bins  # by occurrences of the target in the training text


def breakdown(
    model: Decoder,
    val: TokenBin,
    documents: np.ndarray,
    counts: np.ndarray,
    token_bytes: np.ndarray,
    on_progress: Callable[[int], None] | None = None,
) -> Breakdown:
    """The loss on ``documents`` (numbers, int64 [n]) of ``val``.

    ``counts``, ``token_bytes``: each token's occurrences in the training text and its bytes, int64
    [V]. ``on_progress`` gets the target tokens done.
    """
    result = Breakdown(
        np.zeros(len(documents)),
        Bins.empty(visible_edges(model.shape.context)),
        Bins.empty(frequency_edges(counts)),
    )
    done = 0

    for rows in row_losses(model, val, documents):
        assert rows is not None, "nothing stops it early"
        is_target = rows.targets >= 0
        # Sums in float64: in float32 millions of tokens would round the last ones away.
        tokens, nll = rows.targets[is_target], rows.nll[is_target].astype(np.float64)

        result.nll += np.bincount(rows.owner[is_target], nll, minlength=len(documents))
        result.visible.add(rows.visible[is_target], nll, token_bytes[tokens])
        result.frequency.add(counts[tokens], nll, token_bytes[tokens])

        done += tokens.size
        if on_progress:
            on_progress(done)
    return result


def visible_edges(context: int) -> np.ndarray:
    """1, 2, 3, … growing by about a fifth, up to and with the context."""
    return np.unique(np.round(np.geomspace(1, context + 1, 33)).astype(np.int64))


def frequency_edges(counts: np.ndarray) -> np.ndarray:
    """0, 1, 3, 10, 32, 100, …: two bins for each power of ten, beyond the commonest token."""
    most, edges = int(counts.max(initial=0)), [0, 1]
    while edges[-1] <= most:
        edges.append(round(10 ** ((len(edges) - 1) / 2)))
    return np.array(edges, np.int64)
