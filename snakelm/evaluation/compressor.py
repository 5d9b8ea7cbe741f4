"""Compressors as language models: how many bits per byte the held-out documents cost without any
network.

A model's bits per byte mean little by themselves. Text repeats itself, so a compressor that has
read the training text first is the honest floor: a model that doesn't beat it has learned to copy
at best.

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

import numpy as np
import pyppmd

from ..errors import UserError

__all__ = ["coder_memory", "ppmd_sizes", "unigram_bits", "xz_size"]

ORDER = 16
# Ppmd8: a full memory drops rare contexts; 0 would forget everything at once, the priming too
CUT_OFF = 1
MEMORY_PER_BYTE = 32  # measured 22 bytes of model for a byte of English at order 16
MEMORY_MIN, MEMORY_MAX = 256 << 20, (4 << 30) - (1 << 20)
BLOCK = 1 << 22  # bytes handed over at once, so that the coder's output is never large
END = b"\0"


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
            f"evaluate.compressor_mb: no {memory >> 20} MB of memory for the compressor; set a smaller number"
        ) from None
    for block in _blocks(primer):
        coder.encode(block)
    return [sum(_cost(coder, text) for text in part) for part in parts]


def xz_size(documents: Iterable[bytes]) -> int:
    """Bytes of an .xz file (preset 9e) with the documents alone: what repeats within the held-out
    text.
    """
    return len(lzma.compress(b"".join(documents), preset=9 | lzma.PRESET_EXTREME))


def unigram_bits(counts: np.ndarray) -> np.ndarray:
    """Bits [symbols] that each symbol costs by how often it was seen, ``counts`` [symbols]; one is
    added to each.
    """
    smoothed = counts + 1.0
    return np.log2(smoothed.sum()) - np.log2(smoothed)


def _blocks(documents: Iterable[bytes]) -> Iterator[bytes]:
    """Documents with their ends, in blocks, so that a coder's output is never large."""
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
