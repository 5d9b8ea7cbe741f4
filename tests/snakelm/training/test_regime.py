"""What a run holds against learning its text by heart, by how often it reads it."""

import math

import pytest
import torch

from snakelm.config import Train, from_mapping
from snakelm.errors import UserError
from snakelm.training.averaging import WeightAverage
from snakelm.training.optimizer import weight_decay
from snakelm.training.regime import FRESH, REPEATED, REPEATED_FROM, settle


@pytest.mark.parametrize(
    ("regime", "epochs", "name"),
    [
        ("auto", 0.3, "fresh"),
        ("auto", REPEATED_FROM, "fresh"),
        ("auto", REPEATED_FROM + 0.01, "repeated"),
        ("fresh", 40.0, "fresh"),
        ("repeated", 0.3, "repeated"),
    ],
)
def test_epochs_decide_unless_the_user_has(regime, epochs, name):
    settled, found = settle(Train(regime=regime), epochs, 1000)
    expected = {"fresh": FRESH, "repeated": REPEATED}[name]
    assert found.name == name
    assert {key: getattr(settled, key) for key in expected} == expected
    assert found.settings == {key: value for key, value in expected.items() if value}


def test_what_the_user_says_counts():
    settled, found = settle(Train(dropout=0.0, weight_decay=0.7, regime="repeated"), 8.0, 1000)
    assert (settled.dropout, settled.weight_decay) == (0.0, 0.7)
    assert "dropout" not in found.settings

    settled, found = settle(Train(dropout=0.3), 0.5, 1000)
    assert found.said("auto") == "fresh text (0.5 epochs): dropout 0.3"


def test_a_run_says_once_what_it_takes_and_why():
    _, found = settle(Train(), 8.04, 1000)
    assert found.said("auto").startswith("repeated text (8.0 epochs, more than 4): ")
    assert found.said("repeated").startswith("repeated text (8.0 epochs): ")
    for name, value in found.settings.items():
        assert f"{name} {value:g}" in found.said("auto")


def test_a_run_of_few_steps_is_not_averaged_by_itself():
    settled, found = settle(Train(steps=3, regime="repeated"), 8.0, 1000)
    assert settled.average == 0.0
    assert "average" not in found.settings


def test_weight_decay_follows_its_schedule():
    plain = Train(steps=101, weight_decay=0.5)
    assert {weight_decay(step, plain) for step in (0, 50, 100)} == {0.5}

    dip = Train(steps=101, weight_decay=0.5, weight_decay_schedule=[1.0, 0.0, 2.0])
    at = [weight_decay(step, dip) for step in (0, 25, 50, 75, 100)]
    assert at == pytest.approx([0.5, 0.25, 0.0, 0.5, 1.0])
    assert (
        weight_decay(0, Train(steps=1, weight_decay=0.5, weight_decay_schedule=[1.0, 2.0])) == 0.5
    )


def test_an_average_forgets_in_its_share_of_the_run():
    """Of weights that are 0 for half of the run and then 1: by the textbook's formula."""
    steps, share = 4000, 0.1
    p = torch.nn.Parameter(torch.zeros(3))
    average = WeightAverage({"p": p}, Train(steps=steps, average=share))
    for step in range(1, steps + 1):
        with torch.no_grad():
            p.fill_(float(step > steps // 2))
        average.took_step(step)
        if step == steps // 2 + steps * share:
            expected = pytest.approx([1 - math.exp(-1)] * 3, abs=0.02)
            assert average.mean["p"].tolist() == expected
    assert average.mean["p"].min() > 0.99


def test_a_young_average_is_the_plain_mean():
    p = torch.nn.Parameter(torch.zeros(()))
    average = WeightAverage({"p": p}, Train(steps=20, average=0.5))
    for step in range(1, 9):
        with torch.no_grad():
            p.fill_(step)
        average.took_step(step)
        assert average.mean["p"].item() == pytest.approx((step + 1) / 2)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"keep_best": True, "steps": 60, "eval_every": 60}, r"lower train\.eval_every"),
        (
            {"steps": 60, "average": 0.01},
            "0.01 of 60 steps is a memory of less than two",
        ),
        ({"weight_decay_schedule": [1.0]}, "two factors or more"),
        ({"weight_decay": 0.1, "weight_decay_schedule": [1.0, -1.0]}, "none below 0"),
        ({"weight_decay_schedule": [1.0, 0.5]}, "it has no effect"),
        ({"weight_decay": 10.0, "lr": 0.2}, "all of a weight in one step"),
    ],
    ids=["best", "average", "one_factor", "below_0", "no_decay", "all_of_it"],
)
def test_settings_that_cannot_be_meant_are_refused(keys, message):
    with pytest.raises(UserError, match=message):
        from_mapping({"train": keys})
