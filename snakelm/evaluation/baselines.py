"""The numbers a model's bits per byte are held against, from the same token files that it learns
from.

Three of them, from weak to strong: unigram (each token by its frequency in the training text, no
context at all), xz (what repeats inside the held-out text) and PPMd primed with the training text
(compressor.py says how it is measured). All are given for the whole held-out text and for its clean
documents: those with less than `evaluate.clean_share` of their tokens in spans that the training
text has too.

Both texts are capped at `evaluate.compressor_mb`, documents taken at even distances, so that no
source is left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data.bins import TokenBin, open_bin
from ..errors import UserError
from ..tokenizer import Tokenizer
from .compressor import coder_memory, ppmd_sizes, unigram_bits, xz_size

__all__ = ["HeldOut", "baselines", "spread"]


@dataclass(frozen=True)
class HeldOut:
    """Held-out documents: their places in val.bin, their tokens' texts, and which are clean."""

    indices: np.ndarray  # int64 [n]
    texts: list[bytes]
    clean: np.ndarray  # bool [n]

    def bytes_of(self, chosen: np.ndarray) -> int:
        """Bytes of text in the documents where ``chosen`` [n] is true."""
        return sum(len(text) for text, taken in zip(self.texts, chosen, strict=True) if taken)


def baselines(
    processed: str | Path, tokenizer_folder: str | Path, compressor_mb: float, clean_share: float
) -> dict:
    """What baseline.json holds: bits per byte of ppmd, xz and unigram, with the counts they are
    taken from.
    """
    processed, tokenizer = Path(processed), Tokenizer.load(tokenizer_folder)
    train = open_bin(processed / "train.bin", tokenizer.sha256)
    val = open_bin(processed / "val.bin", tokenizer.sha256)
    shares = _shares(processed / "val_overlap.npy", val)
    cap = int(compressor_mb * 1e6)
    chosen = spread(_document_bytes(val, tokenizer), cap)
    held = HeldOut(chosen, list(_texts(val, tokenizer, chosen)), shares[chosen] < clean_share)
    if not held.bytes_of(np.ones(chosen.size, bool)):
        raise UserError(
            f"{val.path}: no held-out text; raise prepare.val_fraction or bring more documents"
        )
    primer = spread(_document_bytes(train, tokenizer), cap)
    return _table(train, val, tokenizer, held, primer)


def _table(
    train: TokenBin, val: TokenBin, tokenizer: Tokenizer, held: HeldOut, primer: np.ndarray
) -> dict[str, Any]:
    everything = np.ones(held.clean.size, bool)
    whole, clean = held.bytes_of(everything), held.bytes_of(held.clean)
    clean_texts = [text for text, c in zip(held.texts, held.clean, strict=True) if c]
    copied_texts = [text for text, c in zip(held.texts, held.clean, strict=True) if not c]
    primer_bytes = int(_document_bytes(train, tokenizer)[primer].sum())
    memory = coder_memory(primer_bytes + whole)
    first, rest = ppmd_sizes(_texts(train, tokenizer, primer), [clean_texts, copied_texts], memory)
    bits = _unigram(train, val, tokenizer, held)
    return {
        "ppmd": {
            **_rates(8 * (first + rest), 8 * first, whole, clean),
            "primed_bytes": primer_bytes,
            "primed_documents": int(primer.size),
            "training_bytes": train.meta.text_bytes,
        },
        "xz": _rates(8 * xz_size(held.texts), 8 * xz_size(clean_texts), whole, clean),
        "unigram": _rates(bits.sum(), bits[held.clean].sum(), whole, clean),
        "bytes": {"whole": whole, "clean": clean},
        "docs": {
            "whole": int(held.clean.size),
            "clean": int(held.clean.sum()),
            "val": val.meta.documents,
        },
    }


def spread(sizes: np.ndarray, cap: int) -> np.ndarray:
    """Places [m] of documents, at even distances, whose ``sizes`` [n] in bytes sum to at most
    ``cap``.
    """
    if sizes.sum() <= cap:
        return np.arange(sizes.size)
    count = max(1, int(sizes.size * cap / sizes.sum()))
    taken = np.arange(count) * sizes.size // count
    return taken[np.cumsum(sizes[taken]) <= cap]


def _rates(bits: float, bits_clean: float, whole: int, clean: int) -> dict[str, float | None]:
    """Bits per byte, to five digits; none where there is no clean text."""
    return {
        "bpb": round(float(bits) / whole, 5),
        "bpb_clean": round(float(bits_clean) / clean, 5) if clean else None,
    }


def _shares(path: Path, val: TokenBin) -> np.ndarray:
    shares = np.load(path, allow_pickle=False)
    if shares.shape != (val.meta.documents,):
        raise UserError(
            f"{path}: shape {shares.shape}, expected ({val.meta.documents},), one share for each held-out document; "
            "run prepare_data again"
        )
    return shares


def _document_bytes(bin_: TokenBin, tokenizer: Tokenizer) -> np.ndarray:
    """Bytes of text [n] of each document; the end-of-text token has none."""
    lengths, sizes = (
        np.asarray(tokenizer.token_lengths, np.int64),
        np.empty(bin_.meta.documents, np.int64),
    )
    for first, last, tokens in _runs(bin_):
        starts = bin_.document_offsets[first:last] - bin_.document_offsets[first]
        sizes[first:last] = np.add.reduceat(lengths[tokens], starts)
    return sizes


def _runs(bin_: TokenBin, documents: int = 4096) -> Iterator[tuple[int, int, np.ndarray]]:
    """Some documents at a time, as (first, last, their tokens), so that memory doesn't grow with
    the corpus.
    """
    for first in range(0, bin_.meta.documents, documents):
        last = min(first + documents, bin_.meta.documents)
        yield first, last, bin_.tokens[bin_.document_offsets[first] : bin_.document_offsets[last]]


def _texts(bin_: TokenBin, tokenizer: Tokenizer, indices: np.ndarray) -> Iterator[bytes]:
    """The text of each document, without the end-of-text token it begins with."""
    return (tokenizer.decode_bytes(bin_.document(int(i))[1:]) for i in indices)


def _unigram(train: TokenBin, val: TokenBin, tokenizer: Tokenizer, held: HeldOut) -> np.ndarray:
    """Bits [n] that the text of each held-out document costs."""
    counts = np.zeros(tokenizer.vocab_size, np.int64)
    for _, _, tokens in _runs(train):
        counts += np.bincount(tokens, minlength=counts.size)
    bits = unigram_bits(counts)
    return np.array([bits[val.document(int(i))[1:]].sum() for i in held.indices])
