"""The doubtful band holds what it promises on fresh documents, and is all of it where documents are
too few.
"""

import numpy as np
import pytest

from snakelm.filter.cascade import Filter, allowed_errors, choose_band
from snakelm.filter.folder import FilterMeta, LogisticHead, logistic
from snakelm.filter.measure import agreement, curve, quality
from snakelm.filter.records import FilterQuality


def drawn(count, noise, seed):
    """The student's scores, and what SetFit decides: a student that errs near the threshold."""
    generator = np.random.default_rng(seed)
    truth = generator.normal(0, 3, count)
    return logistic((truth + generator.normal(0, noise, count)).astype(np.float32)), truth >= 0


@pytest.mark.parametrize("noise", [0.1, 0.5, 1.5])
def test_outside_of_the_band_fresh_documents_agree(noise):
    scores, keep = drawn(2000, noise, 1)
    low, high = choose_band(scores, keep, 0.99, 0.5)
    fresh, kept = drawn(20_000, noise, 2)
    doubtful = (fresh >= low) & (fresh <= high)
    agrees = np.where(doubtful, True, (fresh >= 0.5) == kept).mean()
    assert agrees >= 0.99
    assert low <= 0.5 <= high
    assert doubtful.mean() < 0.6


def test_a_better_student_gets_a_narrower_band():
    widths = [
        np.subtract(*choose_band(*drawn(2000, noise, 1), 0.99, 0.5)[::-1])
        for noise in (0.2, 0.8, 2.0)
    ]
    assert widths == sorted(widths)


@pytest.mark.parametrize("count", [0, 1, 50, 298])
def test_too_few_documents_leave_all_to_setfit(count):
    assert choose_band(*drawn(count, 0.1, 1), 0.99, 0.5) == (0.0, 1.0)
    assert allowed_errors(count, 0.99) is None


def test_allowed_errors_are_those_of_the_interval():
    assert allowed_errors(299, 0.99) == 0  # 0.99 ** 299 < 0.05 < 0.99 ** 298
    assert allowed_errors(1000, 0.99) == 4
    assert allowed_errors(1000, 1.0) is None


def test_everything_of_one_kind_leaves_nothing_in_doubt():
    scores = np.full(1000, 0.9, np.float32)
    low, high = choose_band(scores, np.ones(1000, bool), 0.99, 0.5)
    assert not ((scores >= low) & (scores <= high)).any()


class Reads:
    """A sentence model that says what a text ends in, and keeps the texts it was given."""

    def __init__(self):
        self.texts = []

    def encode(self, texts):
        self.texts += texts
        return np.array([[float(text.split()[-1])] for text in texts], np.float32).reshape(-1, 1)


class Guesses:
    """A student that says what a text begins with."""

    def score(self, texts):
        return np.array([float(text.split()[0]) for text in texts], np.float32)


def test_the_cascade_runs_setfit_on_the_band_alone():
    sentence = Reads()
    meta = FilterMeta(0.5, 0.4, 0.6, 128, "base", "")
    model = Filter("cascade", meta, Guesses(), sentence, LogisticHead(np.ones(1, np.float32), 0.0))
    scores, by_setfit = model.score(["0.1 9", "0.45 9", "0.55 -9", "0.9 -9"])
    assert sentence.texts == ["0.45 9", "0.55 -9"]
    assert by_setfit.tolist() == [False, True, True, False]
    assert (scores >= 0.5).tolist() == [False, True, False, True]


def test_quality_counts_right():
    scores, academic = np.array([0.9, 0.8, 0.4, 0.2]), np.array([True, False, True, False])
    assert quality(scores, academic, 0.5) == FilterQuality(
        texts=4, accuracy=0.5, precision=0.5, recall=0.5
    )
    assert quality(scores, academic, 0.95).precision is None

    recalls = [point.recall for point in curve(scores, academic)]
    assert recalls == sorted(recalls, reverse=True)
    assert recalls[0] == 1.0
    assert agreement(scores, scores[::-1], 0.5) == 0.0
