"""How much of the held-out text occurs in the training text too: exact spans of tokens, by rolling
hash.

A held-out token counts as copied when it lies in a span of ``span`` tokens (of one document, the
end-of-text token left out) that also occurs in train.bin. Memory is that of the held-out tokens;
train.bin streams past once.

The hash of a span is that of Karp and Rabin (1987): a polynomial over a random number per token,
here modulo 2**64. The held-out text's are doubled, since numpy can't roll token by token: from the
hashes of all spans of n tokens those of 2n (and 2n + 1) tokens follow by one array operation, so
``span`` takes log2(span) passes. The training text's are rolled in the core, to the same numbers.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from snakelm import _text

from ...errors import UserError
from ..bins import TokenBin

__all__ = ["copied_share", "read_shares", "rolling_hashes"]

BLOCK = 1 << 20  # training tokens read at a time
BASE = np.uint64(0xD6E8FEB86659FD93)  # odd, so that powers of it lose no bits

Progress = Callable[[int], None]


def copied_share(
    val: TokenBin, train: TokenBin, span: int, on_progress: Progress | None = None
) -> tuple[np.ndarray, float]:
    """(share of copied tokens of each held-out document, float32 [documents]; the share over all of
    them).
    """
    table = _token_hashes(max(val.meta.vocab_size, train.meta.vocab_size))
    hashes = rolling_hashes(np.asarray(val.tokens), span, table)
    starts = _span_starts(val.document_offsets, span)
    known, index = np.unique(hashes[starts], return_inverse=True)

    in_training = _occurring(known, train, span, table, on_progress)
    copied = _covered(starts[in_training[index]], val.meta.tokens, span)

    lengths = np.diff(val.document_offsets) - 1  # without the end-of-text token
    per_document = (
        np.add.reduceat(copied, val.document_offsets[:-1]) if lengths.size else np.zeros(0)
    )
    shares = per_document / np.maximum(lengths, 1)
    return shares.astype(np.float32), float(copied.sum() / max(1, lengths.sum()))


def read_shares(path: Path, val: TokenBin) -> np.ndarray:
    """val_overlap.npy: of each held-out document the share of its tokens that training text holds
    too, floats [documents]; UserError for anything else.
    """
    again = "run prepare_data again"
    try:
        # Mapped: what a damaged head says of the size is compared with the file, not allocated.
        shares = np.lib.format.open_memmap(path, mode="r")
        sound = np.issubdtype(shares.dtype, np.floating)
    except FileNotFoundError:
        raise UserError(f"{path}: missing; {again}") from None
    except Exception as error:  # numpy raises anything for a damaged head, a pickle or a zip
        raise UserError(
            f"{path}: no array ({' '.join(str(error).split())[:120]}); {again}"
        ) from None

    if not sound or shares.shape != (val.meta.documents,):
        raise UserError(
            f"{path}: found {shares.dtype} {shares.shape}, expected numbers "
            f"({val.meta.documents},), one share for each held-out document; {again}"
        )
    return np.array(shares)


def rolling_hashes(tokens: np.ndarray, span: int, table: np.ndarray) -> np.ndarray:
    """Hash of tokens[i : i + span] for each i that has as many: uint64 [max(0, n - span + 1)].

    ``table``: a random number per token id, uint64 [vocabulary].
    """
    if tokens.size < span:
        return np.zeros(0, np.uint64)

    single = table[tokens]
    hashes, length, power = single, 1, BASE
    # numpy warns of overflow in scalars, such as the power; arrays wrap silently.
    with np.errstate(over="ignore"):
        for bit in bin(span)[3:]:  # the binary digits after the leading 1
            hashes = hashes[:-length] * power + hashes[length:]
            length, power = 2 * length, power * power
            if bit == "1":
                hashes = hashes[:-1] * BASE + single[length:]
                length, power = length + 1, power * BASE
    return hashes


def _token_hashes(vocab_size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2**64, vocab_size, np.uint64)


def _span_starts(offsets: np.ndarray, span: int) -> np.ndarray:
    """Positions from which a span lies within one document's text, ascending."""
    # A document of an end-of-text token and m others has m - span + 1 spans.
    counts = np.maximum(np.diff(offsets) - span, 0)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(offsets[:-1] + 1, counts) + within


def _occurring(
    known: np.ndarray,
    train: TokenBin,
    span: int,
    table: np.ndarray,
    on_progress: Progress | None,
) -> np.ndarray:
    """Which of the ``known`` hashes (each once) a span of train.bin has: bool [known]."""
    if not known.size:
        return np.zeros(0, bool)

    spans = _text.Spans(known, span, table, int(BASE))
    for first in range(0, train.meta.tokens, BLOCK):
        spans.look(train.read(first, first + BLOCK + span - 1))
        if on_progress:
            on_progress(min(first + BLOCK, train.meta.tokens))
    return spans.occurred()


def _covered(starts: np.ndarray, total: int, span: int) -> np.ndarray:
    """Which of ``total`` positions lie in a span from one of ``starts`` (each once): bool [total].

    Spans opened so far minus spans closed: a running sum of +1 at each start and -1 after each end.
    """
    change = np.zeros(total + 1, np.int8)
    change[starts] += 1
    change[starts + span] -= 1
    return np.cumsum(change[:-1], dtype=np.int32) > 0
