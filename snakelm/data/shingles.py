"""Word shingles as 64-bit hashes, for whole batches at a time, in numpy.

A word is a run of ASCII letters, digits and bytes above 127, lower-cased (ASCII); a character from U+3000 up begins a
word of its own, because Chinese, Japanese and Korean are written without spaces. A shingle is ``length`` words in a
row. Hashes are polynomials over bytes (and over words) modulo 2**64 with an odd base, from prefix sums: no Python
loop, and no string is ever cut out. That is what takes deduplication past 10,000 documents a second and core.
"""

import numpy as np
import pyarrow as pa

from .documents import text_sizes

__all__ = ["shingle_hashes"]

BASE = 0x9E3779B97F4A7C15  # odd, so it has an inverse modulo 2**64
INVERSE = pow(BASE, -1, 2**64)
BLOCK = 1 << 20  # bytes hashed at a time: 8-byte prefix sums of it stay in the cache's reach


def _classes() -> np.ndarray:
    """Byte → lower-cased byte, 0 where it is no part of a word: uint8 [256]."""
    table = np.zeros(256, np.uint8)
    table[128:] = np.arange(128, 256)
    for first, last in (b"09", b"az"):
        table[first : last + 1] = np.arange(first, last + 1)
    table[ord("A") : ord("Z") + 1] = np.arange(ord("a"), ord("z") + 1)
    return table


def _powers(base: int, count: int) -> np.ndarray:
    """base**0 … base**(count-1) modulo 2**64: uint64 [count]."""
    powers = np.full(count, base, np.uint64)
    powers[:1] = 1
    return np.multiply.accumulate(powers, out=powers)


CLASSES = _classes()


def shingle_hashes(texts: pa.Array, length: int) -> tuple[np.ndarray, np.ndarray]:
    """(hashes uint64 [m], row offsets int64 [n+1]) of the shingles of each text of a large_string array without nulls.

    A text with fewer words than ``length`` is one shingle of all it has; one without words has none.
    """
    sizes = text_sizes(texts)
    words, counts = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    first, ends = 0, np.cumsum(sizes)
    while first < len(texts):
        before = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + BLOCK, "right")))
        some, some_counts = _words(texts.slice(first, last - first), sizes[first:last])
        words.append(some)
        counts.append(some_counts)
        first = last
    return _shingles(np.concatenate(words), np.concatenate(counts), length)


def _words(texts: pa.Array, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(hash of each word, words of each text)."""
    total = int(sizes.sum())
    if not total:
        return np.zeros(0, np.uint64), np.zeros(sizes.size, np.int64)
    start = int(np.frombuffer(texts.buffers()[1], np.int64, 1, 8 * texts.offset)[0])
    raw = np.frombuffer(texts.buffers()[2], np.uint8, total, start)
    inside = CLASSES[raw]
    is_word = np.zeros(total + 2, bool)  # one byte that is no word on either side
    is_word[1:-1] = inside != 0
    begins = is_word[1:-1] & ~is_word[:-2]
    own = (raw >= 0xE3) & (raw <= 0xEE) if raw.max() >= 0xE3 else None
    text_starts = np.cumsum(sizes) - sizes
    borders = text_starts[text_starts < total]
    begins[borders] |= is_word[1:-1][borders]
    if own is not None:
        begins |= own
    starts = np.flatnonzero(begins)
    stops = ~is_word[1:-1]  # a word ends where a byte is no word, or where the next begins
    ends = _ends(starts, stops, total)
    prefix = np.zeros(total + 1, np.uint64)
    np.cumsum(inside * _byte_powers(total), out=prefix[1:])
    hashes = (prefix[ends] - prefix[starts]) * _inverse_powers(total)[starts]
    counts = np.searchsorted(starts, text_starts + sizes) - np.searchsorted(starts, text_starts)
    return _mixed(hashes), counts


def _ends(starts: np.ndarray, stops: np.ndarray, total: int) -> np.ndarray:
    """The first stop or next start after each start."""
    gaps = np.append(np.flatnonzero(stops), total)
    following = np.append(starts[1:], total)
    return np.minimum(gaps[np.searchsorted(gaps, starts)], following)


def _shingles(words: np.ndarray, counts: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    shingles = np.where(counts >= length, counts - length + 1, np.minimum(counts, 1))
    offsets = np.concatenate([[0], np.cumsum(shingles)])
    word_offsets = np.cumsum(counts) - counts
    at = np.arange(offsets[-1]) + np.repeat(word_offsets - offsets[:-1], shingles)  # first word of each shingle
    padded = np.concatenate([words, np.zeros(length, np.uint64)])
    left = np.repeat(np.minimum(counts, length), shingles)  # words in the shingle
    whole = bool((counts[counts > 0] >= length).all())
    hashes = np.zeros(at.size, np.uint64)
    for k in range(length):
        word = padded[at + k]
        hashes = hashes * np.uint64(BASE) + (word if whole else np.where(left > k, word, np.uint64(0)))
    return _mixed(hashes), offsets


def _mixed(values: np.ndarray) -> np.ndarray:
    """murmur3's finaliser: a polynomial's low bits alone are no good hash."""
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> np.uint64(33))


_tables = {BASE: _powers(BASE, 2), INVERSE: _powers(INVERSE, 2)}


def _table(base: int, count: int) -> np.ndarray:
    if _tables[base].size < count:
        _tables[base] = _powers(base, max(count, BLOCK))
    return _tables[base][:count]


def _byte_powers(count: int) -> np.ndarray:
    return _table(BASE, count)


def _inverse_powers(count: int) -> np.ndarray:
    return _table(INVERSE, count)
