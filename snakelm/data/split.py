"""Which documents are taken, held out or repeated: every choice is a function of a document's own
text and the seed.

A document's id is the 64-bit BLAKE2b of its UTF-8 bytes. Mixed with the seed and with the purpose
of the choice (sampling must not decide what is held out), it is a uniform random number of the
document's own, and the choice is whether that number lies below a threshold: 5% of all numbers are
below 0.05 × 2**64. So a choice doesn't depend on the order of files, on the number of jobs or on
what else is in the data set, and the same text is never on both sides of the validation split.
"""

import hashlib
from collections.abc import Iterable

import numpy as np

__all__ = [
    "chosen",
    "document_id",
    "document_ids",
    "is_validation",
    "limit_threshold",
    "mixed",
    "repeats",
    "texts_digest",
    "validation_threshold",
]


def document_id(text: bytes) -> np.uint64:
    """BLAKE2b-64 (RFC 7693, 8-byte digest, little-endian) of a document's UTF-8 bytes."""
    return np.uint64(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little"))


def document_ids(texts: Iterable[bytes | memoryview]) -> np.ndarray:
    """`document_id` of each text: uint64 [n]."""
    blake = hashlib.blake2b
    joined = b"".join(blake(text, digest_size=8).digest() for text in texts)
    return np.frombuffer(joined, "<u8").astype(np.uint64)


def texts_digest(ids: np.ndarray) -> str | None:
    """16 hex digits for a set of texts, by their ids (uint64 [n]): the same in any order and with
    any tokenizer; None for no texts.
    """
    if not ids.size:
        return None
    return hashlib.sha256(np.sort(ids).astype("<u8").tobytes()).hexdigest()[:16]


def mixed(ids: np.ndarray, seed: int, purpose: str) -> np.ndarray:
    """The ids as independent uniform 64-bit numbers for one ``purpose``: uint64 [n].

    The finaliser of splitmix64 (Steele, Lea, Flood 2014) over id ^ key.
    """
    key = document_id(f"{purpose}:{seed}".encode())
    z = (np.asarray(ids, np.uint64) ^ key) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _threshold(fraction: float) -> int:
    """The number below which ``fraction`` of all 64-bit numbers lie; 2**64, which no uint64 holds,
    for all of them.
    """
    return min(2**64, max(0, int(fraction * 2**64)))


def _below(values: np.ndarray, threshold: int) -> np.ndarray:
    return np.ones(values.shape, bool) if threshold >= 2**64 else values < np.uint64(threshold)


def chosen(ids: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Which documents a source's ``fraction`` takes: bool [n]."""
    return _below(mixed(ids, seed, "sample"), _threshold(fraction))


def limit_threshold(values: np.ndarray, limit: int) -> tuple[int, int]:
    """The ``limit`` smallest of ``values`` (uint64 [n]) as (threshold, ties).

    Taken are those below the threshold and the first ``ties`` of those equal to it; (2**64, 0)
    takes all.
    """
    if values.size <= limit:
        return 2**64, 0

    last = int(np.partition(values, limit - 1)[limit - 1])
    return last, limit - int(np.count_nonzero(values < np.uint64(last)))


def is_validation(
    ids: np.ndarray, fraction: float, seed: int, threshold: int | None = None
) -> np.ndarray:
    """Which documents are held out: bool [n]. ``threshold``: that of `validation_threshold`,
    instead of the plain share's.
    """
    limit = _threshold(fraction) if threshold is None else threshold
    return _below(mixed(ids, seed, "validation"), limit)


def validation_threshold(ids: np.ndarray, fraction: float, seed: int) -> int:
    """The threshold for `is_validation` that leaves neither side empty, given the ids of all
    documents.

    Nearly always the plain share of 2**64. In a small data set where that holds out nothing, the
    one document with the smallest number is held out; where it holds out everything, the one with
    the largest is left for training. Raises ValueError for fewer than two different documents: no
    split has both sides then.
    """
    values = mixed(ids, seed, "validation")
    if not values.size or values.min() == values.max():
        raise ValueError("fewer than two different documents")

    return min(max(_threshold(fraction), int(values.min()) + 1), int(values.max()))


def repeats(ids: np.ndarray, weight: float, seed: int, purpose: str = "weight") -> np.ndarray:
    """How often each training document occurs in train.bin for a source's ``weight``: int64 [n].

    2.25 is twice, and three times for a quarter of the documents.
    """
    always = int(weight)
    if weight == always:
        return np.full(ids.shape, always, np.int64)
    extra = _below(mixed(ids, seed, purpose), _threshold(weight - always))
    return always + extra.astype(np.int64)
