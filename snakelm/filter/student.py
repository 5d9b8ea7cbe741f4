"""The static student: one number for each word, so a document's score is a mean over its words.

It is distilled from the sentence model (as model2vec's static embeddings are): each word piece of
the vocabulary goes through the network by itself, the vectors that come out are cut to their
principal components, and a document's vector is the mean over its pieces; a ridge regression from
there to the sentence model's own logits is the head. All of this is linear, so vectors and head
fold into one number a piece, and, pieces never crossing words, into a sum and a count a word. What
is left of the work is to look words up. (Weights by rarity, SIF, were tried and agreed less:
docs/EXPERIMENTS.md.)
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .folder import LogisticHead, logistic, read_tensors

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Student", "fit_head", "principal"]

WORD = re.compile(r"\w+|[^\w\s]")
CHARACTERS_PER_WORD = 12
MOST_WORDS = 1 << 18  # words remembered; bounds the memory, not the result
WIDTH = 256  # principal components kept
ALPHAS = np.logspace(-6, 3, 19)


def words_of(text: str, most: int) -> list[str]:
    """The first words and signs of a text, at most ``most``."""
    return WORD.findall(text[: most * CHARACTERS_PER_WORD].lower())[:most]


class Student:
    """`score(texts)` → float32 [n]. ``pieces``: the number of each word piece, float32
    [vocabulary].
    """

    def __init__(
        self, tokenizer: "Tokenizer", pieces: np.ndarray, bias: float, most_words: int
    ) -> None:
        self.tokenizer, self.pieces = tokenizer, pieces
        self.bias, self.most_words = bias, most_words
        self._place: dict[str, int] = {}  # of each word remembered, in the two arrays below
        self._sums: np.ndarray = np.zeros(0)
        self._counts: np.ndarray = np.zeros(0, np.int64)

    @classmethod
    def load(cls, folder: str | Path, most_words: int) -> "Student":
        """The student of a filter's folder (checked before by `open_folder`)."""
        from tokenizers import Tokenizer

        tensors = read_tensors(Path(folder, "static.safetensors"))
        tokenizer = Tokenizer.from_file(str(Path(folder, "tokenizer.json")))
        pieces = tensors["vectors"].astype(np.float32) @ tensors["weight"]
        return cls(tokenizer, pieces, float(tensors["bias"][0]), most_words)

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """Its estimate of the sentence model's scores: float32 [n]."""
        words = [words_of(text, self.most_words) for text in texts]
        lengths = np.fromiter(map(len, words), np.int64, len(words))
        flat = [word for own in words for word in own]

        if len(self._place) > MOST_WORDS:
            self._forget()
        self._learn(set(flat) - self._place.keys())

        # The mean over a text's pieces, from the sums and counts of its words.
        places = np.fromiter(map(self._place.__getitem__, flat), np.int64, len(flat))
        owner = np.repeat(np.arange(len(words)), lengths)
        sums = np.bincount(owner, self._sums[places], len(words))
        counts = np.bincount(owner, self._counts[places], len(words))
        return logistic((self.bias + sums / np.maximum(counts, 1)).astype(np.float32))

    def _learn(self, unknown: set[str]) -> None:
        """Remembers the sum and the count of the pieces of words seen for the first time."""
        words = sorted(unknown)
        if not words:
            return
        pieces, counts = piece_counts(self.tokenizer, words)
        owner = np.repeat(np.arange(len(words)), counts)

        known = len(self._place)
        self._place.update(zip(words, range(known, known + len(words)), strict=True))
        self._sums = np.append(self._sums, np.bincount(owner, self.pieces[pieces], len(words)))
        self._counts = np.append(self._counts, counts)

    def _forget(self) -> None:
        self._place = {}
        self._sums, self._counts = np.zeros(0), np.zeros(0, np.int64)


def piece_counts(tokenizer: "Tokenizer", words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """(ids of the pieces of all words in a row, pieces of each word): int64 [p], int64 [n]."""
    tokenizer.no_padding()
    tokenizer.no_truncation()
    encodings = tokenizer.encode_batch_fast(list(words), add_special_tokens=False)
    ids = [encoding.ids for encoding in encodings]

    flat = [piece for own in ids for piece in own]
    return np.array(flat, np.int64), np.array([len(own) for own in ids], np.int64)


def principal(vectors: np.ndarray) -> np.ndarray:
    """The first principal components of ``vectors`` [pieces, width]: float16 [pieces, at most
    `WIDTH`].
    """
    centred = vectors - vectors.mean(0)
    _, directions = np.linalg.eigh(centred.T @ centred)  # ascending
    return (centred @ directions[:, ::-1][:, :WIDTH]).astype(np.float16)


def fit_head(
    vectors: np.ndarray,
    tokenizer: "Tokenizer",
    texts: Sequence[str],
    logits: np.ndarray,
    most_words: int,
) -> LogisticHead:
    """Ridge regression from mean ``vectors`` to the sentence model's ``logits`` [n]; its strength
    by leave-one-out.
    """
    from sklearn.linear_model import RidgeCV

    means = _mean_vectors(vectors.astype(np.float32), tokenizer, texts, most_words)
    fitted = RidgeCV(ALPHAS).fit(means, logits)
    return LogisticHead(fitted.coef_.astype(np.float32), float(fitted.intercept_))


def _mean_vectors(
    vectors: np.ndarray, tokenizer: "Tokenizer", texts: Sequence[str], most_words: int
) -> np.ndarray:
    """The mean over each text's pieces of ``vectors`` [vocabulary, width]: float32 [n, width]."""
    means = np.zeros((len(texts), vectors.shape[1]), np.float32)
    for i, text in enumerate(texts):
        pieces, _ = piece_counts(tokenizer, words_of(text, most_words))
        if pieces.size:
            means[i] = vectors[pieces].mean(0)
    return means
