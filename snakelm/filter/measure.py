"""How good a filter is: counts against the truth, a curve over thresholds, agreement, documents per
CPU-second.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__all__ = ["agreement", "curve", "quality", "rate"]


def quality(scores: np.ndarray, academic: np.ndarray, threshold: float) -> dict[str, Any]:
    """Accuracy, precision and recall of keeping from ``threshold`` on; None for a share of
    nothing.
    """
    kept = scores >= threshold
    right = int(np.count_nonzero(kept & academic))
    return {
        "texts": int(scores.size),
        "accuracy": _share(int(np.count_nonzero(kept == academic)), scores.size),
        "precision": _share(right, int(kept.sum())),
        "recall": _share(right, int(academic.sum())),
    }


def curve(scores: np.ndarray, academic: np.ndarray) -> list[dict[str, Any]]:
    """`quality` at the thresholds 0, 0.01 … 1."""
    return [{"threshold": i / 100, **quality(scores, academic, i / 100)} for i in range(101)]


def agreement(scores: np.ndarray, others: np.ndarray, threshold: float) -> float | None:
    """The share of documents on which both decide alike."""
    return _share(
        int(np.count_nonzero((scores >= threshold) == (others >= threshold))), scores.size
    )


def rate(
    score: Callable[[Sequence[str]], Any], texts: Sequence[str], least_s: float = 0.2
) -> float:
    """Documents per CPU-second (of all threads together); repeats until ``least_s`` seconds have
    passed.
    """
    started, done = time.process_time(), 0
    while (spent := time.process_time() - started) < least_s or not done:
        score(texts)
        done += len(texts)
    return done / spent


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
