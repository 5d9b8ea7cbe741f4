"""The law of a curve: found where there is one, with an error that holds, and refused where there
is none.
"""

import numpy as np
import pytest

from snakelm.evaluation import scaling_law
from snakelm.evaluation.scaling_law import NoLaw, fit

TOKENS = np.geomspace(1e5, 1e8, 40)


def curve(floor, scale, power, noise=0.0, seed=0, tokens=TOKENS):
    return (
        floor + scale * tokens**-power + np.random.default_rng(seed).normal(0, noise, tokens.size)
    )


@pytest.mark.parametrize(
    ("floor", "scale", "power"),
    [(2.0, 300.0, 0.4), (0.5, 8.0, 0.1), (0.0, 50.0, 0.25), (1, 1e5, 1.0)],
)
def test_a_law_without_noise_is_found_exactly(floor, scale, power):
    law = fit(TOKENS, curve(floor, scale, power), 0)
    assert law.power == pytest.approx(power, rel=1e-3)
    assert law.floor == pytest.approx(floor, abs=2e-3)
    assert law.at(TOKENS) == pytest.approx(curve(floor, scale, power), abs=1e-3)
    assert law.residual < 1e-4


def test_its_interval_holds_the_truth_nearly_always(monkeypatch):
    monkeypatch.setattr(scaling_law, "DRAWS", 100)
    held = 0
    for seed in range(30):
        law = fit(TOKENS, curve(2.0, 300.0, 0.4, 0.02, seed), seed)
        held += law.low[2] <= 0.4 <= law.high[2]
    assert held >= 25


def test_a_band_ahead_is_wider_than_at_the_end_and_holds_the_fit():
    law = fit(TOKENS, curve(2.0, 300.0, 0.4, 0.05), 0)
    ahead = np.array([TOKENS[-1], 100 * TOKENS[-1]])
    low, high = law.band(ahead)
    assert high[1] - low[1] > high[0] - low[0]
    assert (low <= law.at(ahead)).all()
    assert (law.at(ahead) <= high).all()


def test_a_short_noisy_curve_says_that_its_floor_is_unknown():
    tokens = np.linspace(1e5, 1e6, 30)
    law = fit(tokens, curve(1.0, 20.0, 0.15, 0.15, tokens=tokens), 0)
    assert law.high[0] - law.low[0] > 1.0


def test_the_same_seed_gives_the_same_law():
    losses = curve(2.0, 300.0, 0.4, 0.05)
    first, again = fit(TOKENS, losses, 1), fit(TOKENS, losses, 1)
    assert (first.draws == again.draws).all()
    assert (first.floor, first.scale, first.power) == (again.floor, again.scale, again.power)
    assert (first.low, first.high, first.residual) == (again.low, again.high, again.residual)


@pytest.mark.parametrize(
    ("tokens", "losses", "why"),
    [
        (TOKENS[:7], curve(2, 300, 0.4)[:7], "7 points"),
        (np.zeros(0), np.zeros(0), "0 points"),
        (np.linspace(1e6, 3e6, 20), np.linspace(3, 2, 20), "factor of 3.0"),
        (TOKENS, curve(2, 300, 0.4)[::-1], "does not fall"),
        (TOKENS, np.full(40, 2.0), "does not fall"),
        (TOKENS, np.where(np.arange(40) == 3, np.nan, curve(2, 300, 0.4)), "NaN or infinite"),
        (TOKENS, 2 + 9 * np.exp(-TOKENS / 3e4), "no power"),
    ],
    ids=["few", "none", "short span", "rising", "flat", "nan", "steeper than any power"],
)
def test_no_law_says_why(tokens, losses, why):
    with pytest.raises(NoLaw, match=why):
        fit(tokens, losses, 0)
