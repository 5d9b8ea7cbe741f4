"""Where a model's loss comes from: each document, how much of it the model could see, how common
each token is.

One pass over the held-out text; what is kept is a number a document and a few dozen bins, so any
amount of text fits.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..data.bins import TokenBin
from ..model import Decoder
from ..training.validation import row_losses

__all__ = ["Bins", "Breakdown", "breakdown", "frequency_edges", "token_counts", "visible_edges"]

BLOCK = 1 << 22  # training tokens read at a time


@dataclass
class Bins:
    """Sums over targets, by a quantity cut at ``edges`` (ascending; bin i holds edges[i] up to
    edges[i+1] - 1).
    """

    edges: np.ndarray
    targets: np.ndarray  # int64 [bins]
    nll: np.ndarray  # float64 [bins], nats
    bytes: np.ndarray  # int64 [bins]

    @classmethod
    def empty(cls, edges: np.ndarray) -> "Bins":
        """Nothing counted yet."""
        return cls(
            edges, *(np.zeros(edges.size - 1, kind) for kind in (np.int64, np.float64, np.int64))
        )

    def add(self, quantity: np.ndarray, nll: np.ndarray, sizes: np.ndarray) -> None:
        """Counts targets, each array [n]."""
        places = np.searchsorted(self.edges, quantity, "right") - 1
        count = self.targets.size
        self.targets += np.bincount(places, minlength=count)
        self.nll += np.bincount(places, nll, minlength=count)
        self.bytes += np.bincount(places, sizes, minlength=count).astype(np.int64)

    def mean(self) -> list[float | None]:
        """Nats per token of each bin; None where there is none."""
        return [
            round(n / t, 5) if t else None
            for n, t in zip(self.nll.tolist(), self.targets.tolist(), strict=True)
        ]


@dataclass
class Breakdown:
    """``nll`` float64 [documents], in nats; ``visible``: by tokens seen before; ``frequency``: by
    those in training.
    """

    nll: np.ndarray
    visible: Bins
    frequency: Bins


def breakdown(
    model: Decoder,
    val: TokenBin,
    documents: np.ndarray,
    counts: np.ndarray,
    sizes: np.ndarray,
    on_progress: Callable[[int], None] | None = None,
) -> Breakdown:
    """Of the text of ``documents`` (numbers). ``counts``, ``sizes`` [V]: of each token in training,
    its bytes.
    """
    found = Breakdown(
        np.zeros(len(documents)),
        Bins.empty(visible_edges(model.shape.context)),
        Bins.empty(frequency_edges(counts)),
    )
    done = 0
    for part in row_losses(model, val, documents):
        there = part.targets >= 0
        tokens, nll = part.targets[there], part.nll[there].astype(np.float64)
        found.nll += np.bincount(part.owner[there], nll, minlength=len(documents))
        found.visible.add(part.visible[there], nll, sizes[tokens])
        found.frequency.add(counts[tokens], nll, sizes[tokens])
        done += tokens.size
        if on_progress:
            on_progress(done)
    return found


def token_counts(train: TokenBin) -> np.ndarray:
    """How often each token stands in the training text: int64 [V]."""
    counts = np.zeros(train.meta.vocab_size, np.int64)
    for first in range(0, train.meta.tokens, BLOCK):
        counts += np.bincount(train.read(first, first + BLOCK), minlength=counts.size)
    return counts


def visible_edges(context: int) -> np.ndarray:
    """1, 2, 3, … growing by about a fifth, up to and with the context."""
    return np.unique(np.round(np.geomspace(1, context + 1, 33)).astype(np.int64))


def frequency_edges(counts: np.ndarray) -> np.ndarray:
    """0, 1, 3, 10, 32, 100, …: two bins for each power of ten, beyond the commonest token."""
    most, edges = int(counts.max(initial=0)), [0, 1]
    while edges[-1] <= most:
        edges.append(round(10 ** ((len(edges) - 1) / 2)))
    return np.array(edges, np.int64)
