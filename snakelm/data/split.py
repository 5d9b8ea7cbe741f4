"""Which documents are taken, held out or repeated: every choice is a function of a document's own
text and the seed.

So it doesn't depend on the order of files, on the number of jobs or on what else is in the data
set, and the same text never stands on both sides of the validation split. A document's id is the
64-bit BLAKE2b of its UTF-8 bytes; each choice mixes it with the seed and with its own purpose
(sampling must not decide what is held out).
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
    "validation_threshold",
]


def document_id(text: bytes) -> np.uint64:
    """BLAKE2b-64 (RFC 7693, 8-byte digest, little-endian) of a document's UTF-8 bytes."""
    return np.uint64(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little"))


def document_ids(texts: Iterable[bytes | memoryview]) -> np.ndarray:
    """`document_id` of each text: uint64 [n]."""
    digest = hashlib.blake2b
    return np.frombuffer(
        b"".join(digest(text, digest_size=8).digest() for text in texts), "<u8"
    ).astype(np.uint64)


def mixed(ids: np.ndarray, seed: int, purpose: str) -> np.ndarray:
    """The ids as independent uniform 64-bit numbers for one ``purpose``: splitmix64's finaliser
    over id ^ key.
    """
    key = int.from_bytes(
        hashlib.blake2b(f"{purpose}:{seed}".encode(), digest_size=8).digest(), "little"
    )
    z = (np.asarray(ids, np.uint64) ^ np.uint64(key)) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _threshold(fraction: float) -> int:
    """Numbers below it are ``fraction`` of all 64-bit numbers; 2**64 (which no uint64 holds) for
    all of them.
    """
    return min(2**64, max(0, int(fraction * 2**64)))


def _below(values: np.ndarray, threshold: int) -> np.ndarray:
    return np.ones(values.shape, bool) if threshold >= 2**64 else values < np.uint64(threshold)


def chosen(ids: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Which documents a source's ``fraction`` takes: bool [n]."""
    return _below(mixed(ids, seed, "sample"), _threshold(fraction))


def limit_threshold(values: np.ndarray, limit: int) -> tuple[int, int]:
    """The ``limit`` smallest of ``values`` (uint64 [n]) as (threshold, ties).

    Taken are those below the threshold, and the first ``ties`` of those equal to it. (2**64, 0)
    when all are taken.
    """
    if values.size <= limit:
        return 2**64, 0
    last = int(np.partition(values, limit - 1)[limit - 1])
    return last, limit - int(np.count_nonzero(values < np.uint64(last)))


def is_validation(
    ids: np.ndarray, fraction: float, seed: int, threshold: int | None = None
) -> np.ndarray:
    """Which documents are held out: bool [n]; ``threshold`` (of `validation_threshold`) instead of
    the plain share.
    """
    limit = _threshold(fraction) if threshold is None else threshold
    return _below(mixed(ids, seed, "validation"), limit)


def validation_threshold(ids: np.ndarray, fraction: float, seed: int) -> int:
    """The threshold for `is_validation` that leaves neither side empty, given the ids of all
    documents.

    The plain share of 2**64 nearly always. In a small data set where that holds out nothing, the
    one document with the smallest number is held out; where it holds out everything, the one with
    the largest is left for training. Raises ValueError when there are fewer than two different
    documents: no split has both sides then.
    """
    values = mixed(ids, seed, "validation")
    if not values.size or values.min() == values.max():
        raise ValueError("fewer than two different documents")
    return min(max(_threshold(fraction), int(values.min()) + 1), int(values.max()))


def repeats(ids: np.ndarray, weight: float, seed: int) -> np.ndarray:
    """How often each training document stands in train.bin for a source's ``weight``: int64 [n].

    2.25 is twice, and three times for a quarter of the documents.
    """
    whole = int(weight)
    extra = _below(mixed(ids, seed, "weight"), _threshold(weight - whole))
    return whole + extra.astype(np.int64)
