"""Word shingles as 64-bit hashes, for whole batches at a time, in numpy.

A word is a run of ASCII letters, digits and bytes above 127, lower-cased (ASCII); a character from U+3000 up begins a
word of its own, because Chinese, Japanese and Korean are written without spaces. A shingle is ``length`` words in a
row. Hashes are polynomials over bytes (and over words) modulo 2**64 with an odd base, from prefix sums: no Python
loop, and no string is ever cut out. That is what takes deduplication past 10,000 documents a second and core.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from .documents import text_sizes

__all__ = ["LARGE", "large_shingle_hashes", "shingle_hashes"]

BASE = 0x9E3779B97F4A7C15  # odd, so it has an inverse modulo 2**64
INVERSE = pow(BASE, -1, 2**64)
BLOCK = 1 << 17  # bytes hashed at a time: 8-byte prefix sums of it stay in the cache
LARGE = 4 << 20  # bytes from which on a text should go through `large_shingle_hashes`
FIRST_OWN, LAST_OWN = 0xE3, 0xEE  # first bytes of U+3000 to U+EFFF in UTF-8


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
    hashes, counts = [np.zeros(0, np.uint64)], [np.zeros(1, np.int64)]
    first, ends = 0, np.cumsum(sizes)
    while first < len(texts):
        before = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + BLOCK, "right")))
        words, word_counts = _words(texts.slice(first, last - first), sizes[first:last])
        some, some_counts = _shingles(words, word_counts, length)
        hashes.append(some)
        counts.append(some_counts)
        first = last
    return np.concatenate(hashes), np.cumsum(np.concatenate(counts))


def large_shingle_hashes(text: memoryview, length: int) -> Iterator[np.ndarray]:
    """The same hashes for one text of any size, a stretch of it at a time: memory is that of a stretch.

    Stretches end where a word ends; a word longer than a stretch is cut there.
    """
    raw, first, carried, few = np.frombuffer(text, np.uint8), 0, np.zeros(0, np.uint64), True
    while first < raw.size:
        last = _cut(raw, first)
        words, _ = _raw_words(raw[first:last], np.array([last - first]))
        words = np.concatenate([carried, words])
        if words.size >= length:
            few = False
            yield _shingles(words, np.array([words.size]), length)[0]
        carried, first = words[max(0, words.size - length + 1) :], last
    if few and carried.size:
        yield _shingles(carried, np.array([carried.size]), length)[0]


def _cut(raw: np.ndarray, first: int) -> int:
    """Where the stretch that begins at ``first`` ends: after the last byte of its second half that is no word."""
    last = min(raw.size, first + BLOCK)
    if last == raw.size:
        return last
    middle = first + BLOCK // 2
    gaps = np.flatnonzero(CLASSES[raw[middle:last]] == 0)
    return middle + int(gaps[-1]) + 1 if gaps.size else last


def _words(texts: pa.Array, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(hash of each word, words of each text)."""
    total = int(sizes.sum())
    if not total:
        return np.zeros(0, np.uint64), np.zeros(sizes.size, np.int64)
    start = int(np.frombuffer(texts.buffers()[1], np.int64, 1, 8 * texts.offset)[0])
    return _raw_words(np.frombuffer(texts.buffers()[2], np.uint8, total, start), sizes)


def _raw_words(raw: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`_words` of texts end to end as bytes."""
    total = raw.size
    inside = CLASSES[raw]
    is_word = np.zeros(total + 1, bool)  # one more, no word, to end the last
    is_word[:-1] = inside != 0
    begins = is_word.copy()
    begins[1:] &= ~is_word[:-1]
    text_starts = np.cumsum(sizes) - sizes
    begins[text_starts] = is_word[text_starts]
    if raw.max() >= FIRST_OWN:
        begins[:-1] |= (raw >= FIRST_OWN) & (raw <= LAST_OWN)
    starts = np.flatnonzero(begins)
    ends = np.flatnonzero(is_word[:-1] & (begins[1:] | ~is_word[1:])) + 1  # as many, each after its start
    prefix = np.zeros(total + 1, np.uint64)
    np.cumsum(inside * _table(BASE, total), out=prefix[1:])
    hashes = (prefix[ends] - prefix[starts]) * _table(INVERSE, total)[starts]
    before = np.searchsorted(starts, np.append(text_starts, total))
    return _mixed(hashes), np.diff(before)


def _shingles(words: np.ndarray, counts: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """(hashes, shingles of each text) from the words' hashes, texts end to end."""
    shingles = np.maximum(counts - length + 1, 0)
    hashes = np.zeros(max(0, words.size - length + 1), np.uint64)
    for k in range(length):
        hashes = hashes * np.uint64(BASE) + words[k : k + hashes.size]
    word_ends = np.cumsum(counts)
    crossing = np.zeros(hashes.size, bool)  # shingles that begin in one text and end in another
    for k in range(1, length):
        last = word_ends - k
        crossing[last[(last >= word_ends - counts) & (last >= 0) & (last < hashes.size)]] = True
    hashes = hashes[~crossing]
    short = np.flatnonzero((counts > 0) & (counts < length))
    if short.size:
        whole = [_whole(words[word_ends[i] - counts[i] : word_ends[i]]) for i in short.tolist()]
        hashes = np.insert(hashes, (np.cumsum(shingles) - shingles)[short], np.array(whole, np.uint64))
        shingles[short] = 1
    return _mixed(hashes), shingles


def _whole(words: np.ndarray) -> int:
    value = 0
    for word in words.tolist():
        value = (value * BASE + word) % 2**64
    return value


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
