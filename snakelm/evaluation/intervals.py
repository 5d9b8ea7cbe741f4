"""How far a measured number may be from the truth: 95% intervals.

A share of items (accuracy) gets Wilson's interval, which stays within 0 and 1 and is honest for few
items. A rate over documents (bits per byte) gets a bootstrap over documents, because the tokens of
one document are not independent: whole documents are drawn again, with replacement, and the rate is
taken of each draw. With very many documents the draws would say what the normal interval of a ratio
says, so that one is taken then.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Interval", "difference", "mean_and_deviation", "rate", "share"]

Z95 = 1.959964  # the normal distribution's quantile for 95%, two-sided
DRAWS = 2000
MANY = 20_000  # documents from which the normal interval does


@dataclass(frozen=True)
class Interval:
    """A value and the bounds within which it lies with 95% confidence; both None where nothing can
    be said.
    """

    value: float
    low: float | None
    high: float | None

    def as_dict(self, digits: int = 6) -> dict[str, float | None]:
        """As plain JSON, rounded."""
        return {k: None if v is None else round(v, digits) for k, v in vars(self).items()}


def share(right: int, items: int) -> Interval | None:
    """Wilson's interval of ``right`` of ``items``; None for no items."""
    if not items:
        return None
    p, z = right / items, Z95
    middle = (p + z * z / (2 * items)) / (1 + z * z / items)
    half = z * math.sqrt(p * (1 - p) / items + z * z / (4 * items * items)) / (1 + z * z / items)
    return Interval(p, max(0.0, middle - half), min(1.0, middle + half))


def rate(amounts: np.ndarray, sizes: np.ndarray, seed: int, scale: float = 1.0) -> Interval | None:
    """``scale`` · sum(amounts) / sum(sizes), both [documents], with its interval; None when the
    sizes sum to nothing.

    Of one document nothing can be said but its value.
    """
    amounts, sizes = np.asarray(amounts, np.float64), np.asarray(sizes, np.float64)
    if not sizes.sum():
        return None
    value, n = float(amounts.sum() / sizes.sum()), sizes.size
    if n < 2:
        return Interval(scale * value, None, None)
    if n > MANY:
        half = (
            Z95
            * math.sqrt(n / (n - 1) * float(((amounts - value * sizes) ** 2).sum()))
            / sizes.sum()
        )
        return Interval(scale * value, scale * (value - half), scale * (value + half))
    generator = np.random.default_rng(seed)
    drawn = np.empty(DRAWS)
    for i in range(DRAWS):
        places = generator.integers(0, n, n)
        total = sizes[places].sum()
        drawn[i] = amounts[places].sum() / total if total else value
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(scale * value, float(scale * low), float(scale * high))


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation; the latter None for fewer than two values."""
    numbers = np.asarray(values, np.float64)
    return float(numbers.mean()), float(numbers.std(ddof=1)) if numbers.size > 1 else None


def difference(a: Interval, b: Interval) -> Interval:
    """``a`` − ``b`` of independent measurements: each one's distance to its bounds, added in
    squares (Newcombe).
    """
    value = a.value - b.value
    if None in (a.low, b.low):
        return Interval(value, None, None)
    down = math.hypot(a.value - a.low, b.high - b.value)
    up = math.hypot(a.high - a.value, b.value - b.low)
    return Interval(value, value - down, value + up)
