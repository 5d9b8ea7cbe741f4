"""Word shingles of texts as 64-bit hashes, and MinHash signatures over them: what texts are
compared by.

A word is a run of letters, digits and marks of any script, compared in a normal form of its own
that is never written to a document: Unicode's NFKC_Casefold, and i for both of Turkish's. So
capitals don't count, nor do composed and decomposed characters, ligatures and full-width letters,
soft hyphens and other invisible characters; and what separates words doesn't either, whichever
space, dash, quote or apostrophe it is. A character from U+3000 to U+EFFF begins a word of its own,
because Chinese, Japanese and Korean are written without spaces. A shingle is ``length`` consecutive
words; a text with fewer is one shingle of all it has, one without words has none.

The work is done in csrc/dedup in one pass over Arrow's own memory. rensa, which made the signatures
before, hashes as fast but returns them only as Python lists of numbers, which costs five times as
much as making them.
"""

import unicodedata

import numpy as np
import pyarrow as pa

from ... import _dedup
from ...arrow import arrow_chunks

__all__ = ["NO_WORDS", "comparable", "shingle_hashes", "signatures", "words"]

NO_WORDS = np.uint32(0xFFFFFFFF)  # in every place of the signature of a text without words


def shingle_hashes(texts: pa.Array, length: int, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """(hashes uint64 [m], row offsets int64 [n+1]) of the shingles of each text of a string array
    without nulls.
    """
    chunks, owners = arrow_chunks(texts)
    made = _dedup.shingles(chunks, length, threads)
    del owners  # the addresses in `chunks` belong to these arrays, so they had to live until here
    return made


def signatures(texts: pa.Array, length: int, permutations: int, threads: int = 1) -> np.ndarray:
    """uint32 [n, permutations]: a place of two texts' signatures agrees with a probability of their
    shingles' Jaccard similarity.
    """
    chunks, owners = arrow_chunks(texts)
    made = _dedup.signatures(chunks, length, permutations, threads)
    del owners
    return made


def words(text: str) -> list[str]:
    """The words of a text as shingles see them, composed (NFC) for people to read."""
    found = _dedup.words(text.encode("utf-8", "replace"))
    return [word if word.isascii() else unicodedata.normalize("NFC", word) for word in found]


def comparable(text: str) -> str:
    """Equal for texts that are compared as equal: the words; the text itself where it has none."""
    return " ".join(words(text)) or text.strip()
