"""Intervals hold what they promise: published values, coverage over many made-up samples, and
honest gaps.
"""

import numpy as np
import pytest

from snakelm.evaluation import intervals
from snakelm.evaluation.intervals import Interval, difference, rate, rounded, share


@pytest.mark.parametrize(
    ("right", "items", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (5, 10, 0.2366, 0.7634),
        (10, 10, 0.7225, 1.0),
        (1, 1, 0.2065, 1.0),
        (81, 263, 0.2553, 0.3662),
    ],
)  # Newcombe, Statistics in Medicine 17 (1998), method 3: 81 of 263 and the like
def test_wilson(right, items, low, high):
    interval = share(right, items)
    assert interval.value == right / items
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-4)


def test_nothing_measured_is_no_interval():
    assert share(0, 0) is None
    assert rate(np.zeros(3), np.zeros(3), 0) is None
    assert rate(np.zeros(0), np.zeros(0), 0) is None


def test_one_document_tells_its_value_alone():
    assert rate(np.array([3.0]), np.array([2]), 0, scale=2.0) == Interval(3.0, None, None)


@pytest.mark.parametrize("many", [10**6, 10], ids=["bootstrap", "normal"])
def test_the_true_rate_lies_in_about_95_of_100_intervals(many, monkeypatch):
    monkeypatch.setattr(intervals, "MANY", many)
    monkeypatch.setattr(intervals, "DRAWS", 300)
    generator, hit = np.random.default_rng(3), 0
    for trial in range(200):
        sizes = generator.integers(50, 400, 80)
        amounts = sizes * generator.normal(1.5, 0.4, 80)
        interval = rate(amounts, sizes, trial)
        hit += interval.low <= 1.5 <= interval.high
    assert 178 <= hit <= 199


def test_both_ways_agree_where_documents_are_many(monkeypatch):
    generator = np.random.default_rng(0)
    sizes = generator.integers(50, 400, 3000)
    amounts = sizes * generator.normal(1.5, 0.4, 3000)
    drawn = rate(amounts, sizes, 0)
    monkeypatch.setattr(intervals, "MANY", 10)
    normal = rate(amounts, sizes, 0)
    assert (drawn.low, drawn.high) == pytest.approx((normal.low, normal.high), abs=0.003)


def test_the_same_seed_gives_the_same_interval():
    sizes, amounts = np.arange(1, 40), np.arange(1, 40) ** 1.2
    assert rate(amounts, sizes, 5) == rate(amounts, sizes, 5)
    assert rate(amounts, sizes, 5) != rate(amounts, sizes, 6)


def test_a_difference_is_wider_than_either():
    interval = difference(Interval(1.6, 1.5, 1.8), Interval(1.2, 1.1, 1.3))
    assert interval.value == pytest.approx(0.4)
    assert interval.low == pytest.approx(0.4 - np.hypot(0.1, 0.1))
    assert interval.high == pytest.approx(0.4 + np.hypot(0.2, 0.1))
    assert difference(Interval(1.6, None, None), Interval(1.2, 1.1, 1.3)).low is None


def test_documents_without_text_may_be_all_that_a_draw_holds():
    interval = rate(np.array([0.0, 0.0, 3.0]), np.array([0, 0, 2]), 0)
    assert interval == Interval(1.5, 1.5, 1.5)


def test_what_is_written_has_six_digits():
    assert rounded(Interval(1 / 3, 2 / 3, None)) == Interval(0.333333, 0.666667, None)
