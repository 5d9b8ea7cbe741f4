"""How good a filter is: counts against the labels, a curve over thresholds, agreement with SetFit,
documents per CPU-second; and the table of all of it, setfit_train.json.
"""

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..log import Log
from .cascade import Filter
from .labels import Labels
from .records import CurvePoint, FilterQuality, FilterRecord

__all__ = [
    "agreement",
    "curve",
    "log_record",
    "measure_filters",
    "quality",
    "rate",
]


def quality(scores: np.ndarray, academic: np.ndarray, threshold: float) -> FilterQuality:
    """Accuracy, precision and recall of keeping from ``threshold`` on."""
    kept = scores >= threshold
    right = int(np.count_nonzero(kept & academic))
    return FilterQuality(
        texts=int(scores.size),
        accuracy=_share(int(np.count_nonzero(kept == academic)), scores.size),
        precision=_share(right, int(kept.sum())),
        recall=_share(right, int(academic.sum())),
    )


def curve(scores: np.ndarray, academic: np.ndarray) -> list[CurvePoint]:
    """`quality` at the thresholds 0, 0.01 … 1."""
    thresholds = [i / 100 for i in range(101)]
    return [
        CurvePoint(threshold=threshold, **quality(scores, academic, threshold).as_json())
        for threshold in thresholds
    ]


def agreement(scores: np.ndarray, others: np.ndarray, threshold: float) -> float | None:
    """The share of documents on which both decide alike."""
    alike = (scores >= threshold) == (others >= threshold)
    return _share(int(np.count_nonzero(alike)), scores.size)


def rate(
    score: Callable[[Sequence[str]], object], texts: Sequence[str], least_s: float = 0.2
) -> float:
    """Documents per CPU-second (of all threads together); repeats until ``least_s`` seconds have
    passed.
    """
    started, done = time.process_time(), 0
    while (used := time.process_time() - started) < least_s or not done:
        score(texts)
        done += len(texts)
    return done / used


def measure_filters(
    filters: Mapping[str, Filter],
    frozen: FilterQuality,
    labels: Labels,
    held_out: Labels,
    texts: Sequence[str],
) -> FilterRecord:
    """All that is known of trained ``filters`` (by kind), on the labels ``held_out`` and on
    ``texts`` of the run; ``labels``: all of them, ``frozen``: what the base model reaches.
    """
    meta = filters["cascade"].meta
    threshold = meta.threshold
    on_labels = {kind: one.score(held_out.texts)[0] for kind, one in filters.items()}
    on_texts = {kind: one.score(texts) for kind, one in filters.items()}
    by_setfit, _ = on_texts["setfit"]

    qualities = {
        kind: quality(scores, held_out.academic, threshold) for kind, scores in on_labels.items()
    }
    kept, rates = {}, {}
    if texts:
        kept = {kind: float((s >= threshold).mean()) for kind, (s, _) in on_texts.items()}
        rates = {kind: rate(one.score, texts) for kind, one in filters.items()}

    return FilterRecord(
        labels=len(labels),
        band=(meta.low, meta.high),
        threshold=threshold,
        held_out={**qualities, "frozen": frozen},
        curve={kind: curve(scores, held_out.academic) for kind, scores in on_labels.items()},
        documents=len(texts),
        kept=kept,
        agreement={kind: agreement(s, by_setfit, threshold) for kind, (s, _) in on_texts.items()},
        by_setfit=float(on_texts["cascade"][1].mean()) if texts else None,
        documents_per_cpu_second=rates,
    )


def log_record(record: FilterRecord, log: Log) -> None:
    """A line for each filter's quality, and one on what the cascade saves."""
    for kind, measured in record.held_out.items():
        shares = {
            "accuracy": measured.accuracy,
            "precision": measured.precision,
            "recall": measured.recall,
        }
        words = " · ".join(f"{name} {s:.3f}" for name, s in shares.items() if s is not None)
        log.say(f"{kind} on {measured.texts} held-out texts: {words}")

    rates = record.documents_per_cpu_second
    if rates:
        log.say(
            f"cascade decides as SetFit on {record.agreement['cascade']:.2%} of "
            f"{record.documents:,} documents, leaving {record.by_setfit:.1%} to it, at "
            f"{rates['cascade'] / rates['setfit']:.1f} times its speed ({rates['cascade']:,.0f} "
            f"against {rates['setfit']:,.0f} documents per CPU-second)"
        )


def _share(part: int, total: int) -> float | None:
    return part / total if total else None
