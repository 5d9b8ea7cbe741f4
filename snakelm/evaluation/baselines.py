"""baseline.json: the bits per byte that a model's are held against, from the same token files that
it learns from.

A model's bits per byte mean little by themselves. Text repeats itself, so a compressor that has
read the training text first is the honest floor: a model that doesn't beat it has learned to copy
at best. Three baselines, from weak to strong: unigram (each token by its frequency in the training
text, no context at all), xz (what repeats inside the held-out text) and PPMd primed with the
training text. All are given for all held-out text and for its clean documents: those with less than
`evaluate.clean_share` of their tokens in spans that the training text has too. Both texts are
capped at `evaluate.compressor_mb`, documents taken at even distances, so that no source is left
out.

PPMd (variant I, `pyppmd.Ppmd8Encoder`) predicts each byte from the up to 16 bytes before it; higher
orders change nothing in this coder, lower ones were worse on copied and on fresh text alike (order
6: +0.4 and +0.19 bits).

How priming is measured. One coder reads the training documents, then the held-out ones, in one
stream; what it puts out for the held-out part is its cost: size(train + held-out) − size(train),
for the price of one pass. Clean documents come before the others, so their cost is size(train +
clean) − size(train): no copied document helped. The coder goes on learning while it reads held-out
documents, which a model may not: the compressor is favoured. A zero byte ends each document; like
the model's end-of-text token it costs nothing here, because no byte of text pays for it. A range
coder puts out whole bytes and holds some back, as many before a part as after it: the error of each
size is a few bytes.
"""

import lzma
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyppmd

from ..data.bins import TokenBin, open_bin
from ..data.tokens.overlap import read_shares
from ..errors import UserError
from ..tokenizer import Tokenizer
from .records import (
    BaselineRecord,
    CompressorRates,
    MeasuredDocuments,
    MeasuredText,
    Rates,
)
from .tokenizer_statistics import token_counts

__all__ = [
    "baselines",
    "coder_memory",
    "ppmd_sizes",
    "spread",
    "summary",
    "unigram_bits",
    "xz_size",
]

ORDER = 16
# Ppmd8: a full memory drops rare contexts; 0 would forget everything at once, the priming too
CUT_OFF = 1
MEMORY_PER_BYTE = 32  # measured 22 bytes of model for a byte of English at order 16
MEMORY_MIN, MEMORY_MAX = 256 << 20, (4 << 30) - (1 << 20)
BLOCK = 1 << 22  # bytes handed over at once, so that the coder's output is never large
DOCUMENTS_AT_ONCE = 4096
END = b"\0"


@dataclass(frozen=True)
class _HeldOutSample:
    """The held-out documents that are measured."""

    indices: np.ndarray  # int64 [n], their numbers in val.bin
    texts: list[bytes]
    clean: np.ndarray  # bool [n]

    def split(self) -> tuple[list[bytes], list[bytes]]:
        """The clean texts, and the others."""
        pairs = list(zip(self.texts, self.clean.tolist(), strict=True))
        return [text for text, clean in pairs if clean], [
            text for text, clean in pairs if not clean
        ]


def baselines(
    processed: str | Path, tokenizer_folder: str | Path, compressor_mb: float, clean_share: float
) -> BaselineRecord:
    """The baselines of a folder of token files; at most ``compressor_mb`` of training text and of
    held-out text are read.
    """
    processed, tokenizer = Path(processed), Tokenizer.load(tokenizer_folder)
    train = open_bin(processed / "train.bin", tokenizer.sha256)
    val = open_bin(processed / "val.bin", tokenizer.sha256)
    shares = read_shares(processed / "val_overlap.npy", val)
    cap = int(compressor_mb * 1e6)

    chosen = spread(_document_bytes(val, tokenizer), cap)
    texts = list(_texts(val, tokenizer, chosen))
    held_out = _HeldOutSample(chosen, texts, shares[chosen] < clean_share)
    if not sum(map(len, texts)):
        raise UserError(
            f"{val.path}: no held-out text; raise prepare.val_fraction or bring more documents"
        )

    train_bytes = _document_bytes(train, tokenizer)
    primer = spread(train_bytes, cap)
    return _measure(train, val, tokenizer, held_out, primer, int(train_bytes[primer].sum()))


def _measure(
    train: TokenBin,
    val: TokenBin,
    tokenizer: Tokenizer,
    held_out: _HeldOutSample,
    primer: np.ndarray,
    primer_bytes: int,
) -> BaselineRecord:
    clean_texts, copied_texts = held_out.split()
    total, clean = sum(map(len, held_out.texts)), sum(map(len, clean_texts))

    # Clean documents first: see above.
    clean_size, copied_size = ppmd_sizes(
        _texts(train, tokenizer, primer),
        [clean_texts, copied_texts],
        coder_memory(primer_bytes + total),
    )
    unigram = _unigram(train, val, held_out)

    def bpb(bits: float) -> float:
        return round(float(bits) / total, 5)

    def bpb_clean(bits: float) -> float | None:
        return round(float(bits) / clean, 5) if clean else None

    return BaselineRecord(
        ppmd=CompressorRates(
            bpb=bpb(8 * (clean_size + copied_size)),
            bpb_clean=bpb_clean(8 * clean_size),
            primed_bytes=primer_bytes,
            primed_documents=int(primer.size),
            training_bytes=train.meta.text_bytes,
        ),
        xz=Rates(
            bpb=bpb(8 * xz_size(held_out.texts)), bpb_clean=bpb_clean(8 * xz_size(clean_texts))
        ),
        unigram=Rates(bpb=bpb(unigram.sum()), bpb_clean=bpb_clean(unigram[held_out.clean].sum())),
        bytes=MeasuredText(total=total, clean=clean),
        docs=MeasuredDocuments(
            total=int(held_out.clean.size),
            clean=int(held_out.clean.sum()),
            val=val.meta.documents,
        ),
    )


def spread(sizes: np.ndarray, cap: int) -> np.ndarray:
    """Numbers, int64 [m], of documents at even distances, whose ``sizes`` [n] in bytes sum to at
    most ``cap``.
    """
    if sizes.sum() <= cap:
        return np.arange(sizes.size)
    count = max(1, int(sizes.size * cap / sizes.sum()))
    taken = np.arange(count) * sizes.size // count
    return taken[np.cumsum(sizes[taken]) <= cap]


def coder_memory(text_bytes: int) -> int:
    """Bytes of model memory for that much text: by the text alone, so that results don't depend on
    the machine.
    """
    return min(MEMORY_MAX, max(MEMORY_MIN, MEMORY_PER_BYTE * text_bytes))


def ppmd_sizes(primer: Iterable[bytes], parts: Sequence[Sequence[bytes]], memory: int) -> list[int]:
    """Bytes that PPMd puts out for each of ``parts`` (lists of documents), in order, after it has
    read ``primer``.
    """
    try:
        coder = pyppmd.Ppmd8Encoder(ORDER, memory, CUT_OFF)
    except MemoryError:
        raise UserError(
            f"evaluate.compressor_mb: no {memory >> 20} MB of memory for the compressor; set a "
            "smaller number"
        ) from None

    for block in _blocks(primer):
        coder.encode(block)
    return [sum(_cost(coder, text) for text in part) for part in parts]


def _blocks(documents: Iterable[bytes]) -> Iterator[bytes]:
    """Documents with their ends, in blocks."""
    block = bytearray()
    for text in documents:
        block += text
        block += END
        if len(block) >= BLOCK:
            yield bytes(block)
            block.clear()
    yield bytes(block)


def _cost(coder: pyppmd.Ppmd8Encoder, text: bytes) -> int:
    """Bytes put out for a document; those for its end come after and aren't counted."""
    size = len(coder.encode(text))
    coder.encode(END)
    return size


def xz_size(documents: Iterable[bytes]) -> int:
    """Bytes of an .xz file (preset 9e) with the documents alone: what repeats within the held-out
    text.
    """
    return len(lzma.compress(b"".join(documents), preset=9 | lzma.PRESET_EXTREME))


def unigram_bits(counts: np.ndarray) -> np.ndarray:
    """Bits [symbols] that each symbol costs by its frequency, from ``counts`` [symbols]; one is
    added to each (Laplace).
    """
    smoothed = counts + 1.0
    return np.log2(smoothed.sum()) - np.log2(smoothed)


def _unigram(train: TokenBin, val: TokenBin, held_out: _HeldOutSample) -> np.ndarray:
    """Bits, float64 [n], that the text of each held-out document costs."""
    bits = unigram_bits(token_counts(train))
    return np.array([bits[val.document(int(i))[1:]].sum() for i in held_out.indices])


def _document_bytes(bin_: TokenBin, tokenizer: Tokenizer) -> np.ndarray:
    """Bytes of text, int64 [n], of each document; the end-of-text token has none."""
    lengths = np.asarray(tokenizer.token_lengths, np.int64)
    sizes = np.empty(bin_.meta.documents, np.int64)
    for first, last, tokens in _runs(bin_):
        starts = bin_.document_offsets[first:last] - bin_.document_offsets[first]
        sizes[first:last] = np.add.reduceat(lengths[tokens], starts)
    return sizes


def _runs(bin_: TokenBin) -> Iterator[tuple[int, int, np.ndarray]]:
    """Some documents at a time, as (first, last, their tokens), so that memory doesn't grow with
    the corpus.
    """
    for first in range(0, bin_.meta.documents, DOCUMENTS_AT_ONCE):
        last = min(first + DOCUMENTS_AT_ONCE, bin_.meta.documents)
        yield first, last, bin_.tokens[bin_.document_offsets[first] : bin_.document_offsets[last]]


def _texts(bin_: TokenBin, tokenizer: Tokenizer, indices: np.ndarray) -> Iterator[bytes]:
    """The text of each document, without the end-of-text token it begins with."""
    return (tokenizer.decode_bytes(bin_.document(int(i))[1:]) for i in indices)


def summary(baseline: BaselineRecord) -> str:
    """A line for the log."""
    return (
        f"{baseline.docs.total:,} held-out documents, {baseline.docs.clean:,} clean: primed PPMd "
        f"{_in_words(baseline.ppmd)}, xz {_in_words(baseline.xz)}, "
        f"unigram {_in_words(baseline.unigram)} (bits per byte)"
    )


def _in_words(rates: Rates) -> str:
    clean = rates.bpb_clean
    return f"{rates.bpb:.3f}" + (f" ({clean:.3f} on clean)" if clean is not None else "")
