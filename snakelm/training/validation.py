"""Bits per byte on held-out documents: on all of them, and on the clean ones, of which the training
text has no copies.

Documents in order, end to end, in rows of `context`; none sees another. Every text token counts
once; the end-of-text token that opens a document does not count as a target, because no byte of
text pays for it. Bits per byte compares across tokenizers, loss per token does not.

Legend: B (or R) rows, T positions, V vocabulary, N = B·T.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ..data.bins import TokenBin
from ..model import Decoder
from .batches import Rows, lay_out

__all__ = [
    "Evaluation",
    "RowLosses",
    "document_losses",
    "evaluate",
    "loss_piece",
    "row_losses",
    "spread_documents",
]

# Of float32 logits at a time. Half as many take 1.2 times as long, twice as many no less.
LOGIT_BYTES = 32 << 20
# Of which the loss takes so many at a time. Blocks as large as all of them seldom find a hole in
# the heap that steps have left, and grow it, evaluation after evaluation.
LOSS_BYTES = 8 << 20
IGNORE = -100


@dataclass(frozen=True)
class Evaluation:
    """What held-out documents cost a model, each array [documents]."""

    nll: np.ndarray  # float64, summed cross-entropy in nats
    text_bytes: np.ndarray  # int64
    text_tokens: np.ndarray  # int64
    clean: np.ndarray  # bool

    def bpb(self, clean_only: bool = False) -> float | None:
        """Bits per byte; None when there is no text in them."""
        chosen = self.clean if clean_only else np.ones_like(self.clean)
        size = float(self.text_bytes[chosen].sum())
        return float(self.nll[chosen].sum()) / math.log(2) / size if size else None

    @property
    def loss(self) -> float:
        """Nats per text token."""
        return float(self.nll.sum() / max(1, self.text_tokens.sum()))


def spread_documents(val: TokenBin, most_tokens: int | None) -> np.ndarray:
    """Numbers of documents at even distances that hold about ``most_tokens`` together; all for
    None.
    """
    documents = int(val.meta.documents)
    if most_tokens is None or val.meta.tokens <= most_tokens:
        return np.arange(documents)
    count = max(1, documents * most_tokens // int(val.meta.tokens))
    return np.unique(np.linspace(0, documents - 1, count).astype(np.int64))


def evaluate(
    model: Decoder,
    val: TokenBin,
    documents: np.ndarray,
    token_lengths: np.ndarray,
    clean: np.ndarray,
    rank: int = 0,
    world: int = 1,
    stop: Callable[[], bool] = lambda: False,
) -> Evaluation | None:
    """The evaluation of ``documents`` (numbers); with ``world`` > 1 only this rank's share of rows
    is in ``nll``. None when ``stop()`` was true before the end.

    ``token_lengths``: bytes of each token id. ``clean``: bool for every document of ``val``.
    """
    nll = document_losses(model, val, documents, rank=rank, world=world, stop=stop)
    if nll is None:
        return None
    texts = [val.document(i)[1:] for i in documents]
    text_bytes = np.array([int(token_lengths[text].sum()) for text in texts], np.int64)
    text_tokens = np.array([len(text) for text in texts], np.int64)
    return Evaluation(nll, text_bytes, text_tokens, clean[documents])


def document_losses(
    model: Decoder,
    val: TokenBin,
    documents: np.ndarray,
    *,
    rank: int = 0,
    world: int = 1,
    stop: Callable[[], bool] = lambda: False,
) -> np.ndarray | None:
    """Summed cross-entropy of each document's text, float64 [documents], in nats; None when
    stopped.
    """
    losses = np.zeros(len(documents))

    for part in row_losses(model, val, documents, rank=rank, world=world, stop=stop):
        if part is None:
            return None
        np.add.at(losses, part.owner.ravel(), part.nll.ravel().astype(np.float64))
    return losses


@dataclass(frozen=True)
class RowLosses:
    """Some rows of held-out text, each [R, T]."""

    nll: np.ndarray  # float32, cross-entropy of the target in nats; 0 where there is none
    targets: np.ndarray  # int64, IGNORE where there is none
    owner: np.ndarray  # int64, the document that the target belongs to, as its place in the list
    visible: np.ndarray  # int32, tokens of the document that the model saw before the target


@torch.no_grad()
def row_losses(
    model: Decoder,
    val: TokenBin,
    documents: np.ndarray,
    *,
    rank: int = 0,
    world: int = 1,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[RowLosses | None]:
    """The loss of every token of ``documents``, some rows at a time; None, and no more, once
    ``stop()`` is true.
    """
    rows, owner = _rows_of(val, documents, model.shape.context)
    at_once = max(1, LOGIT_BYTES // (4 * model.vocab_size * model.shape.context))

    for first in range(rank * at_once, len(rows), world * at_once):
        if stop():
            yield None
            return

        # The exact loss from float32 logits, not the training head's: nothing is approximated here.
        part = rows.part(first, first + at_once)
        x_BT, start_BT, y_BT = part.to(model.embedding.device)
        loss_N = _losses(model(x_BT, start_BT).flatten(0, 1), y_BT.flatten())

        visible = np.arange(1, part.tokens.shape[1] + 1, dtype=np.int32) - part.row_start
        yield RowLosses(
            loss_N.cpu().numpy().reshape(part.tokens.shape),
            part.targets,
            owner[first : first + at_once],
            visible,
        )


def _losses(logits_NV: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each target from float32 logits, 0 for IGNORE: float32 [N]."""
    count = loss_piece(logits_NV.shape[1])
    pieces = zip(logits_NV.split(count), targets_N.split(count), strict=True)
    return torch.cat(
        [
            F.cross_entropy(logits.float(), targets, ignore_index=IGNORE, reduction="none")
            for logits, targets in pieces
        ]
    )


def loss_piece(vocabulary: int) -> int:
    """Positions that the loss takes at a time."""
    return max(1, LOSS_BYTES // (4 * vocabulary))


def _rows_of(val: TokenBin, documents: np.ndarray, context: int) -> tuple[Rows, np.ndarray]:
    """The documents as rows, and for each target [R, T] the place in ``documents`` it belongs
    to.
    """
    pieces = [val.document(i) for i in documents]
    lengths = np.array([len(piece) for piece in pieces], np.int64)
    starts = np.cumsum(lengths) - lengths
    total = int(lengths.sum())

    # Pad to whole rows, plus the one token that is a target only.
    padding = np.zeros(-(total - 1) % context, np.int64)
    tokens = np.concatenate([*pieces, padding]).astype(np.int64)
    owner = np.concatenate([np.repeat(np.arange(len(pieces)), lengths), padding])[1:]
    rows = lay_out(tokens, starts, context)

    targets = tokens[1:].copy()
    targets[starts[1:] - 1] = IGNORE  # the next document's end-of-text token
    targets[total - 1 :] = IGNORE  # padding

    shape = rows.tokens.shape
    return Rows(rows.tokens, targets.reshape(shape), rows.row_start), owner.reshape(shape)
