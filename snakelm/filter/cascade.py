"""The filter at work: SetFit scores every document, or the student does, or the student does and
leaves doubtful documents to SetFit (the cascade).

The doubtful band is chosen on documents that taught the student nothing: the narrowest one outside
of which it contradicts SetFit so rarely that the share is below 1 - agreement at the upper end of
its 95% interval (Clopper & Pearson, 1934). Too few documents can't show that; the band is
everything then, and the cascade is SetFit.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from .folder import FilterMeta, LogisticHead, open_folder, read_tensors
from .sentence import SentenceModel
from .student import Student

__all__ = ["Filter", "choose_band"]

CONFIDENCE = 0.95
EVERYTHING = (0.0, 1.0)  # the band that leaves every document to SetFit


class Scorer(Protocol):
    """The student, as the filter needs it."""

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """Scores float32 [n]."""


class Encoder(Protocol):
    """The sentence model, as the filter needs it."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors float32 [n, width]."""


class Filter:
    """Scores texts as ``kind`` says: setfit (no student), static (no sentence model), or
    cascade.
    """

    def __init__(
        self,
        kind: str,
        meta: FilterMeta,
        student: Scorer | None,
        sentence: Encoder | None,
        head: LogisticHead,
    ) -> None:
        self.kind, self.meta = kind, meta
        self.student, self.sentence, self.head = student, sentence, head

    @classmethod
    def load(cls, folder: str | Path, kind: str) -> "Filter":
        """The filter saved in ``folder``, as far as ``kind`` needs it; UserError when it isn't
        complete or not ours.
        """
        meta = open_folder(folder)
        student = None if kind == "setfit" else Student.load(folder, meta.max_tokens)
        sentence = None if kind == "static" else SentenceModel.load(folder, meta.max_tokens)
        head = read_tensors(Path(folder, "head.safetensors"))
        bias = float(head["bias"][0])
        return cls(kind, meta, student, sentence, LogisticHead(head["weight"], bias))

    def score(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Scores float32 [n], and whether SetFit gave them, bool [n]; a document is kept from
        `meta.threshold` on.
        """
        if self.student is None:
            return self.by_setfit(texts), np.ones(len(texts), bool)

        scores = self.student.score(texts)
        doubtful = np.zeros(len(texts), bool)
        if self.sentence is not None:
            doubtful = (scores >= self.meta.low) & (scores <= self.meta.high)
            scores[doubtful] = self.by_setfit([texts[i] for i in np.flatnonzero(doubtful).tolist()])
        return scores, doubtful

    def by_setfit(self, texts: Sequence[str]) -> np.ndarray:
        """SetFit's scores: float32 [n]."""
        assert self.sentence is not None, "static has no sentence model"
        return self.head.score(self.sentence.encode(texts))


def choose_band(
    scores: np.ndarray, keep: np.ndarray, agreement: float, threshold: float
) -> tuple[float, float]:
    """(low, high): the student's scores from low to high are left to SetFit. Below low the student
    drops, above high it keeps.

    Chosen on the student's ``scores`` [n] of documents on which SetFit decided ``keep`` [n].
    EVERYTHING where the documents are too few to show less.
    """
    errors = allowed_errors(scores.size, agreement)
    if errors is None:
        return EVERYTHING

    # Below low, `below` documents that SetFit keeps may be lost; above high, the rest of the errors
    # may be kept wrongly. Every way to divide the errors gives a band; the emptiest one is taken.
    kept, dropped = np.sort(scores[keep]), np.sort(scores[~keep])[::-1]
    best, fewest = EVERYTHING, scores.size + 1
    for below in range(errors + 1):
        above = errors - below
        low = min(threshold, float(kept[below]) if below < kept.size else 1.0)
        high = max(threshold, float(dropped[above]) if above < dropped.size else 0.0)

        doubtful = int(np.count_nonzero((scores >= low) & (scores <= high)))
        if doubtful < fewest:
            best, fewest = (low, high), doubtful
    return best


def allowed_errors(documents: int, agreement: float) -> int | None:
    """The most contradictions among ``documents`` that still show ``agreement``; None when even
    zero would not.
    """
    from scipy.stats import beta  # half a second to import, which a filter at work needn't wait for

    errors = None
    for count in range(documents):
        if beta.ppf(CONFIDENCE, count + 1, documents - count) > 1 - agreement:
            break
        errors = count
    return errors
