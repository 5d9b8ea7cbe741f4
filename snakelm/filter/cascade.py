"""The filter at work: SetFit reads every document, or the student does, or it asks SetFit where it
is in doubt.

The doubtful band is chosen on documents that taught the student nothing: the narrowest one outside
of which it contradicts SetFit so rarely that the share is below 1 - agreement at the upper end of
its 95% interval (Clopper–Pearson). Too few documents can't show that; the band is everything then,
and the cascade is SetFit.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .folder import Linear, Meta, open_folder, read_tensors
from .sentence import SentenceModel
from .student import Student

__all__ = ["Filter", "choose_band"]

CONFIDENCE = 0.95


class Filter:
    """`score(texts)` → (scores float32 [n], whether SetFit gave them bool [n]), for one of setfit,
    static, cascade.
    """

    def __init__(
        self,
        kind: str,
        meta: Meta,
        student: Student | None,
        sentence: SentenceModel | None,
        head: Linear,
    ):
        self.kind, self.meta, self.student, self.sentence, self.head = (
            kind,
            meta,
            student,
            sentence,
            head,
        )

    @classmethod
    def load(cls, folder: str | Path, kind: str) -> "Filter":
        """The filter saved in ``folder``, as far as ``kind`` needs it; UserError when it isn't
        whole or ours.
        """
        meta = open_folder(folder)
        student = None if kind == "setfit" else Student.load(folder, meta.max_tokens)
        sentence = None if kind == "static" else SentenceModel.load(folder, meta.max_tokens)
        head = read_tensors(Path(folder, "head.safetensors"))
        return cls(kind, meta, student, sentence, Linear(head["weight"], float(head["bias"][0])))

    def score(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Scores and who gave them; a document is kept from `meta.threshold` on."""
        if self.student is None:
            return self.by_setfit(texts), np.ones(len(texts), bool)
        scores = self.student.score(texts)
        doubtful = np.zeros(len(texts), bool)
        if self.sentence is not None:
            doubtful = (scores >= self.meta.low) & (scores <= self.meta.high)
            scores[doubtful] = self.by_setfit([texts[i] for i in np.flatnonzero(doubtful)])
        return scores, doubtful

    def by_setfit(self, texts: Sequence[str]) -> np.ndarray:
        """SetFit's scores: float32 [n]."""
        assert self.sentence is not None
        return self.head.score(self.sentence.encode(texts))


def choose_band(
    scores: np.ndarray, keep: np.ndarray, agreement: float, threshold: float
) -> tuple[float, float]:
    """(low, high) around the student's ``scores`` [n] between which SetFit, which decided ``keep``
    [n], is asked.

    Below low the student drops, above high it keeps. (0, 1), all of it, where the documents are too
    few to show less.
    """
    errors = allowed_errors(scores.size, agreement)
    if errors is None:
        return 0.0, 1.0
    kept, dropped = np.sort(scores[keep]), np.sort(scores[~keep])[::-1]
    best, narrowest = (0.0, 1.0), scores.size + 1
    for below in range(errors + 1):
        low = min(threshold, float(kept[below]) if below < kept.size else 1.0)
        above = errors - below
        high = max(threshold, float(dropped[above]) if above < dropped.size else 0.0)
        asked = int(np.count_nonzero((scores >= low) & (scores <= high)))
        if asked < narrowest:
            best, narrowest = (low, high), asked
    return best


def allowed_errors(documents: int, agreement: float) -> int | None:
    """The most contradictions among ``documents`` that still show ``agreement``; None when not even
    none would.
    """
    from scipy.stats import beta

    errors = None
    for count in range(documents):
        if beta.ppf(CONFIDENCE, count + 1, documents - count) > 1 - agreement:
            break
        errors = count
    return errors
