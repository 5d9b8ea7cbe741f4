"""Encoding and training where the pattern is an expression that the core has no scanner for: Python
splits, and the core takes each piece as a text. The classes have the methods of `_text.Encoder` and
`_text.Trainer` for lists of texts.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from snakelm import _text

from ..expressions import Expression

__all__ = ["SplitEncoder", "SplitTrainer"]

WHOLE = "whole"  # the core's pattern that leaves a text in one piece
Text = str | bytes


class SplitEncoder:
    """Over the tokens of a vocabulary, by id."""

    def __init__(self, tokens: Sequence[bytes], expression: str) -> None:
        self._core = _text.Encoder(tokens, WHOLE)
        self._expression = Expression(expression)

    def encode(self, text: Text) -> list[int]:
        """Ids of one text."""
        return self.encode_strings([text], 1)[0].tolist()

    def encode_strings(
        self, texts: Iterable[Text], threads: int, bits: int = 32, before: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ids end to end, uint32 or uint16 by ``bits`` [total], and where each text begins, int64
        [texts + 1]. ``before``: an id that each text begins with.
        """
        pieces: list[bytes] = []
        ends = [0]
        for text in texts:
            pieces += _pieces(self._expression, text)
            ends.append(len(pieces))
        ids, bounds = self._core.encode_strings(pieces, threads)
        offsets = bounds[ends]
        if before is not None:
            ids = np.insert(ids, offsets[:-1], before)
            offsets = offsets + np.arange(offsets.size)
        return ids.astype(np.uint16 if bits == 16 else np.uint32, copy=False), offsets

    def merges(self) -> list[tuple[int, int] | None]:
        """As `_text.Encoder.merges`."""
        return self._core.merges()

    def tokens(self) -> list[bytes]:
        """As `_text.Encoder.tokens`."""
        return self._core.tokens()

    def token_lengths(self) -> np.ndarray:
        """As `_text.Encoder.token_lengths`."""
        return self._core.token_lengths()


class SplitTrainer:
    """Counts words, and trains."""

    def __init__(self, expression: str, threads: int, most_memory: int) -> None:
        self.core = _text.Trainer(WHOLE, threads, most_memory)
        self._expression = Expression(expression)

    def add_strings(self, texts: Iterable[Text]) -> None:
        """Adds the words of texts."""
        words = Counter(piece for text in texts for piece in _pieces(self._expression, text))
        for word, count in words.items():
            self.core.add_word(word, count)


def _pieces(expression: Expression, text: Text) -> Iterator[bytes]:
    """UTF-8 of the pieces. A byte that isn't UTF-8 is a character of its own; lone surrogates of a
    str become U+FFFD, as in the core.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    elif not isinstance(text, str):
        raise TypeError(f"expected str, found {type(text).__name__}")
    elif not text.isascii():
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return (piece.encode("utf-8", "surrogateescape") for piece in expression.split(text))
