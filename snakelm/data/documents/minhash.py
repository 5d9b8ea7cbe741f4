"""Near duplicates among any number of documents: MinHash with banding, all per-document data on
disk.

The idea. The Jaccard similarity of two documents is the share of shingles they have in common. Hash
every shingle with a random function and keep the smallest hash: two documents have the same minimum
with a probability of exactly their Jaccard similarity (Broder 1997), so a signature of many such
minima ("permutations") estimates it by the share of places that agree. Comparing all pairs would be
quadratic; instead the signature is cut into bands of r places, and only documents that agree in all
places of a band (share a bucket) are compared. A pair of similarity s is a candidate with
probability 1 - (1 - s^r)^bands, a steep S-curve around the threshold (Leskovec, Rajaraman, Ullman:
Mining of Massive Datasets, 3.4).

Which documents go. They are considered in a given order, and one is dropped when its signature puts
its similarity to an earlier, kept one from one of its buckets at or above the threshold. Only kept
documents are compared with, so no chain of small differences carries a document away from all that
is kept, and the outcome doesn't depend on the order of buckets or bands.

Memory. Two things are kept of a document, in unnamed files (`files.Scratch`): the low halves of its
signature, 2 bytes a permutation, and a 32-bit key a band. Band by band the keys are replaced by
links, from a document to the one before it in the same bucket; those are what the core walks. While
a band is sorted, about 40 bytes a document are in memory. Short keys and halves make more
accidents: a place agrees by mistake with probability 2**-16, and keys that collide only cost a
comparison.
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from ... import _dedup
from ...config import Deduplicate
from ...errors import UserError
from ...files import Scratch
from .shingles import NO_WORDS, signatures

__all__ = ["NearDuplicates", "band_keys", "bands"]

RECALL = 0.97  # the probability with which a pair just at the threshold must become a candidate
FULLEST_BUCKET = 1000  # kept documents of one bucket that a new one is compared with: a worst case
SLAB = 1 << 13  # documents decided on, or written, before memory is given back
MOST = 2**32 - 2  # documents: row numbers have 32 bits
NO_LINK = np.uint32(0xFFFFFFFF)
DROPPED = np.uint32(0xFFFFFFFF)


def bands(permutations: int, threshold: float) -> tuple[int, int]:
    """(bands, rows in each): the most rows with which a pair at ``threshold`` still becomes a
    candidate in 97 of 100 cases.
    """
    rows = [
        r
        for r in range(1, permutations + 1)
        if 1 - (1 - threshold**r) ** (permutations // r) >= RECALL
    ]
    most = max(rows, default=1)
    return permutations // most, most


class NearDuplicates:
    """Takes the texts of ``documents`` documents in order of rows, then says which are dropped.

    Scratch files are made in ``folder``.
    """

    def __init__(self, folder: Path, documents: int, rules: Deduplicate) -> None:
        if documents > MOST:
            raise UserError(
                f"{documents:,} documents; at most {MOST:,} are compared at once; split the sources"
            )
        self.documents, self.rules = documents, rules
        self.bands, self.band_rows = bands(rules.permutations, rules.threshold)

        permutations = rules.permutations
        self._files = [
            Scratch(folder, documents * permutations * 2),
            Scratch(folder, self.bands * documents * 4),
        ]
        halves, keys = (file.buffer for file in self._files)
        self._halves = np.frombuffer(halves, np.uint16, documents * permutations).reshape(
            documents, permutations
        )
        self._keys = np.frombuffer(keys, np.uint32, self.bands * documents).reshape(
            self.bands, documents
        )
        self._has_words = np.zeros(documents, bool)
        self._filled = self._last_forget = 0

    def add(self, texts: pa.Array, threads: int = 1) -> None:
        """The next rows' texts (a string array without nulls)."""
        self.add_signatures(signatures(texts, self.rules.shingle, self.rules.permutations, threads))

    def add_signatures(self, made: np.ndarray) -> None:
        """The next rows' signatures (uint32 [n, permutations])."""
        here = slice(self._filled, self._filled + len(made))
        self._halves[here] = made.astype(np.uint16)
        self._has_words[here] = (made != NO_WORDS).any(axis=1)

        for band in range(self.bands):
            first = band * self.band_rows
            self._keys[band, here] = band_keys(made[:, first : first + self.band_rows])

        self._filled = here.stop
        if self._filled - self._last_forget > SLAB:
            self._forget()
            self._last_forget = self._filled

    def near(
        self,
        order: np.ndarray,
        out: np.ndarray,
        on_progress: Callable[[float], None] = lambda share: None,
    ) -> np.ndarray:
        """Which rows are dropped: bool [documents]. May be called once.

        ``order`` (uint32 [documents]): the rows as they are considered; ``out`` (bool): those
        dropped already, compared with nothing. ``on_progress`` is called with the share done.
        """
        assert self._filled == self.documents == order.size == out.size

        # Keys to links, in the order of consideration, in place: from here on a column of the keys
        # is a document's place in that order, not its row.
        considered = (self._has_words & ~out)[order]
        for band in range(self.bands):
            self._keys[band] = _links(self._keys[band][order], considered)
            self._forget()
            on_progress((band + 1) / (self.bands + 1))
        del considered

        # 0.55 × 100 is 55.00…01, hence the epsilon.
        least = math.ceil(self.rules.threshold * self.rules.permutations - 1e-9)
        state = np.zeros(self.documents, np.uint32)
        for first in range(0, self.documents, SLAB):
            last = min(self.documents, first + SLAB)
            _dedup.drop_near_duplicates(
                self._keys, self._halves, order, state, first, last, least, FULLEST_BUCKET
            )
            self._forget()

        dropped = np.zeros(self.documents, bool)
        dropped[order[state == DROPPED]] = True
        return dropped

    def _forget(self) -> None:
        for file in self._files:
            file.forget()


def band_keys(columns: np.ndarray) -> np.ndarray:
    """One number for a band of each signature (uint32 [n, rows]): uint32 [n]."""
    keys = np.zeros(len(columns), np.uint64)
    for column in columns.T:
        keys = (keys ^ column) * np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio, odd
        keys ^= keys >> np.uint64(32)
    return keys.astype(np.uint32)


def _links(keys: np.ndarray, considered: np.ndarray) -> np.ndarray:
    """For each place the one before it with the same key (both ``considered``), or NO_LINK: uint32
    [n].

    Key and place in one number: a single in-place sort then groups the buckets, places ascending.
    """
    places = np.flatnonzero(considered)
    pairs = keys[places].astype(np.uint64) << np.uint64(32)
    pairs |= places.astype(np.uint64)
    del places
    pairs.sort()

    ordered = pairs.astype(np.uint32)  # the places: the low halves
    pairs >>= np.uint64(32)  # the keys
    again = np.flatnonzero(pairs[1:] == pairs[:-1]) + 1
    links = np.full(keys.size, NO_LINK, np.uint32)
    links[ordered[again]] = ordered[again - 1]
    return links
