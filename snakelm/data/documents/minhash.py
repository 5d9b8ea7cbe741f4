"""Near duplicates among any number of documents: MinHash bands, with all that is per document on
disk.

Documents that agree in a band of their signatures share a bucket. They are considered in a given
order, and one goes when the signatures put its Jaccard similarity to an earlier one that stays,
from one of its buckets, at the threshold or above. Compared is only with documents that stay, so no
chain of small differences carries a document away from all that is kept, and the outcome doesn't
depend on the order of buckets or bands.

Of a document two things are kept, in unnamed files (`files.Scratch`): the low halves of its
signature, 2 bytes a permutation, and a 32-bit key a band. A band at a time the keys give way to
links, from a document to the one before it in the same bucket; those are what is walked. In memory
are about 40 bytes a document while a band is sorted. Short keys and halves make more accidents:
2**-16 of a place's chance to agree by mistake, and keys that collide only cost a comparison.
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

__all__ = ["NearDuplicates", "bands"]

RECALL = 0.97  # wanted chance that a pair just at the threshold becomes a candidate
FULLEST_BUCKET = (
    1000  # documents one bucket may hold against which a new one is compared; bounds the worst case
)
SLAB = 1 << 13  # documents decided on, or written, between two moments of giving memory back
MOST = 2**32 - 2  # documents: places are 32-bit
NO_LINK = np.uint32(0xFFFFFFFF)
GONE = np.uint32(0xFFFFFFFF)


def bands(permutations: int, threshold: float) -> tuple[int, int]:
    """(bands, rows in each): the longest rows for which a pair at ``threshold`` is a candidate in
    97 of 100 cases.
    """
    rows = [
        r
        for r in range(1, permutations + 1)
        if 1 - (1 - threshold**r) ** (permutations // r) >= RECALL
    ]
    longest = max(rows, default=1)
    return permutations // longest, longest


class NearDuplicates:
    """Takes the texts of ``documents`` documents in order of rows, then says which go. Scratch
    files in ``folder``.
    """

    def __init__(self, folder: Path, documents: int, rules: Deduplicate) -> None:
        if documents > MOST:
            raise UserError(
                f"{documents:,} documents; at most {MOST:,} are compared at once; split the sources"
            )
        self.documents, self.rules = documents, rules
        self.bands, self.band_rows = bands(rules.permutations, rules.threshold)
        self._files = [
            Scratch(folder, documents * rules.permutations * 2),
            Scratch(folder, self.bands * documents * 4),
        ]
        halves, keys = (file.buffer for file in self._files)
        self._halves = np.frombuffer(halves, np.uint16, documents * rules.permutations).reshape(
            documents, rules.permutations
        )
        self._keys = np.frombuffer(keys, np.uint32, self.bands * documents).reshape(
            self.bands, documents
        )
        self._signed = np.zeros(documents, bool)
        self._filled = self._remembered = 0

    def add(self, texts: pa.Array, threads: int = 1) -> None:
        """The next rows' texts (a string array without nulls)."""
        self.add_signatures(signatures(texts, self.rules.shingle, self.rules.permutations, threads))

    def add_signatures(self, made: np.ndarray) -> None:
        """The next rows' signatures (uint32 [n, permutations])."""
        here = slice(self._filled, self._filled + len(made))
        self._halves[here] = made.astype(np.uint16)
        self._signed[here] = (made != NO_WORDS).any(axis=1)
        for band in range(self.bands):
            self._keys[band, here] = _keys(
                made[:, band * self.band_rows : (band + 1) * self.band_rows]
            )
        self._filled = here.stop
        if self._filled - self._remembered > SLAB:
            self._forget()
            self._remembered = self._filled

    def near(
        self,
        order: np.ndarray,
        out: np.ndarray,
        on_progress: Callable[[float], None] = lambda share: None,
    ) -> np.ndarray:
        """Which rows go: bool [documents]. May be called once.

        ``order`` (uint32 [documents]) has the rows as they are considered, ``out`` (bool) those
        that are out already and compared with nothing. ``on_progress`` hears the share that is
        done.
        """
        assert self._filled == self.documents == order.size == out.size
        considered = (self._signed & ~out)[order]
        for band in range(self.bands):
            self._keys[band] = _links(self._keys[band][order], considered)
            self._forget()
            on_progress((band + 1) / (self.bands + 1))
        del considered
        state = np.zeros(self.documents, np.uint32)
        least = math.ceil(
            self.rules.threshold * self.rules.permutations - 1e-9
        )  # 0.55 × 100 is 55.00…01
        for first in range(0, self.documents, SLAB):
            last = min(self.documents, first + SLAB)
            _dedup.drop_near_duplicates(
                self._keys, self._halves, order, state, first, last, least, FULLEST_BUCKET
            )
            self._forget()
        gone = np.zeros(self.documents, bool)
        gone[order[state == GONE]] = True
        return gone

    def _forget(self) -> None:
        for file in self._files:
            file.forget()


def _keys(columns: np.ndarray) -> np.ndarray:
    """One number for a band's places in each signature: uint32 [n]."""
    keys = np.zeros(len(columns), np.uint64)
    for column in columns.T:
        keys = (keys ^ column) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(32)
    return keys.astype(np.uint32)


def _links(keys: np.ndarray, considered: np.ndarray) -> np.ndarray:
    """For each place the one before it with the same key (both ``considered``), or NO_LINK: uint32
    [n].
    """
    places = np.flatnonzero(considered)
    pairs = keys[places].astype(np.uint64) << np.uint64(32)
    pairs |= places.astype(np.uint64)
    del places
    pairs.sort()
    ordered = pairs.astype(np.uint32)
    pairs >>= np.uint64(32)
    again = np.flatnonzero(pairs[1:] == pairs[:-1]) + 1
    links = np.full(keys.size, NO_LINK, np.uint32)
    links[ordered[again]] = ordered[again - 1]
    return links
