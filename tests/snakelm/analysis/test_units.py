"""Numbers as text: short, rounded as a reader expects, and never of an unknown unit."""

import pytest

from snakelm.analysis.units import duration, energy, human, money
from snakelm.config import Cost


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (950, "950"),
        (1500, "1.5k"),
        (1_234_567, "1.23M"),
        (2.5e9, "2.5B"),
        (0.035, "0.035"),
    ],
)
def test_human(value, shown):
    assert human(value) == shown


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, None), (3, "3 s"), (59.6, "1 min 0 s"), (221, "3 min 41 s"), (7500, "2 h 5 min")],
)
def test_duration(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("kwh", "shown"),
    [(0, "0 Wh"), (0.0042, "4.2 Wh"), (0.25, "250 Wh"), (12.345, "12.3 kWh")],
    ids=str,
)
def test_energy(kwh, shown):
    assert energy(kwh) == shown


@pytest.mark.parametrize(
    ("amount", "shown"),
    [(None, "–"), (0, "0.00 EUR"), (0.004, "< 0.01 EUR"), (1234.5, "1,234.50 EUR")],
)
def test_money(amount, shown):
    assert money(amount, Cost().currency) == shown
