"""How far a measured number may be from the truth: 95% confidence intervals.

A share of items (accuracy) gets Wilson's interval, which stays within 0 and 1 and is honest for few
items. A rate over documents (bits per byte) gets a bootstrap over documents, because the tokens of
one document are not independent: documents are drawn again, with replacement, and the rate is taken
of each draw. With very many documents the draws would say what the normal interval of a ratio says,
so that one is taken then.

A rate that several trainings have on the same documents is uncertain twice: other documents, other
seeds. Drawing seeds again would say too little, for there are two to five of them; so their part is
Student's, the documents' the bootstrap's, and both variances are added (Satterthwaite 1946).
"""

import math
from dataclasses import replace

import numpy as np
from scipy import stats

from .records import Interval

__all__ = ["Interval", "difference", "rate", "rate_over_seeds", "rounded", "share"]

CONFIDENCE = 0.95
DRAWS = 2000
MANY = 20_000  # documents from which the normal interval does
INDICES_AT_ONCE = 1 << 20  # of drawn documents, 8 bytes each, so that memory doesn't grow with them


def share(right: int, items: int) -> Interval | None:
    """Wilson's interval of ``right`` of ``items``; None for no items."""
    if not items:
        return None
    bounds = stats.binomtest(right, items).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(right / items, float(bounds.low), float(bounds.high))


def rate(amounts: np.ndarray, sizes: np.ndarray, seed: int, scale: float = 1.0) -> Interval | None:
    """``scale`` · sum(amounts) / sum(sizes), both [documents], with its interval; None when the
    sizes sum to nothing.

    Of one document only the value is known.
    """
    amounts, sizes = np.asarray(amounts, np.float64), np.asarray(sizes, np.float64)
    if not sizes.sum():
        return None

    value, n = float(amounts.sum() / sizes.sum()), sizes.size
    if n < 2:
        return Interval(scale * value, None, None)

    low, high = _normal(amounts, sizes) if n > MANY else _bootstrap(amounts, sizes, seed)
    return Interval(scale * value, scale * low, scale * high)


def rate_over_seeds(
    amounts: np.ndarray, sizes: np.ndarray, seed: int, scale: float = 1.0
) -> Interval | None:
    """``scale`` times the mean over trainings of sum(amounts) / sum(sizes), with its interval over
    trainings and documents; None when the sizes sum to nothing.

    ``amounts``: [trainings, documents], where it is a difference of two settings that of the same
    seed; ``sizes``: [documents]. Of one training, or one document, only the value is known.
    """
    amounts, sizes = np.asarray(amounts, np.float64), np.asarray(sizes, np.float64)
    over_documents = rate(amounts.mean(axis=0), sizes, seed, scale)
    if over_documents is None or over_documents.low is None or over_documents.high is None:
        return over_documents
    value, trainings = over_documents.value, len(amounts)
    if trainings < 2:
        return Interval(value, None, None)

    each = scale * amounts.sum(axis=1) / sizes.sum()
    of_seeds = float(each.var(ddof=1)) / trainings
    width = over_documents.high - over_documents.low
    variance = of_seeds + (width / (2 * stats.norm.ppf(0.5 + CONFIDENCE / 2))) ** 2
    if not variance:
        return Interval(value, value, value)
    freedom = (trainings - 1) * (variance / of_seeds) ** 2 if of_seeds else math.inf
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, freedom) * math.sqrt(variance))
    return Interval(value, value - half, value + half)


def _normal(amounts: np.ndarray, sizes: np.ndarray) -> tuple[float, float]:
    """The interval of a ratio estimator: its residuals are amounts - ratio · sizes."""
    n, ratio = sizes.size, float(amounts.sum() / sizes.sum())
    variance = n / (n - 1) * float(((amounts - ratio * sizes) ** 2).sum())
    half = float(stats.norm.ppf(0.5 + CONFIDENCE / 2) * math.sqrt(variance) / sizes.sum())
    return ratio - half, ratio + half


def _bootstrap(amounts: np.ndarray, sizes: np.ndarray, seed: int) -> tuple[float, float]:
    """The percentile bootstrap over documents."""
    ratio = amounts.sum() / sizes.sum()

    def statistic(amounts: np.ndarray, sizes: np.ndarray, axis: int) -> np.ndarray:
        # A draw may hold only documents without text, which say nothing.
        totals = sizes.sum(axis=axis)
        return np.where(totals > 0, amounts.sum(axis=axis) / np.where(totals > 0, totals, 1), ratio)

    bounds = stats.bootstrap(
        (amounts, sizes),
        statistic,
        paired=True,
        vectorized=True,
        n_resamples=DRAWS,
        batch=max(1, INDICES_AT_ONCE // sizes.size),
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(bounds.low), float(bounds.high)


def difference(a: Interval, b: Interval) -> Interval:
    """``a`` − ``b`` of independent measurements: the distances to the bounds, added in squares
    (Newcombe, Statistics in Medicine 17, 1998).
    """
    value = a.value - b.value
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return Interval(value, None, None)
    below = math.hypot(a.value - a.low, b.high - b.value)
    above = math.hypot(a.high - a.value, b.value - b.low)
    return Interval(value, value - below, value + above)


def rounded(interval: Interval, digits: int = 6) -> Interval:
    """As it is written: more digits would claim what the interval denies."""
    return replace(
        interval,
        value=round(interval.value, digits),
        low=None if interval.low is None else round(interval.low, digits),
        high=None if interval.high is None else round(interval.high, digits),
    )
