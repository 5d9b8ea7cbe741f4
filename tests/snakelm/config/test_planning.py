"""The sizes of a plan: worked out from the user's keys, and the same once a plan is followed."""

import pytest

from snakelm.config import from_mapping
from snakelm.errors import UserError

BUDGET = {"plan": {"hours": 1.0, "sizes": [3, 1, 3]}}


def test_each_size_stands_for_a_run_with_the_keys_by_hand():
    config = from_mapping({**BUDGET, "train": {"lr": 0.1}, "model": {"context": 512}})
    first, second = config.plan.candidates
    assert (first.size, second.size) == (1, 3)
    alone = from_mapping({"size": 3, "train": {"lr": 0.1}, "model": {"context": 512}})
    assert (second.model, second.train) == (alone.model, alone.train)
    assert second.vocab_size == alone.tokenizer.vocab_size


def test_following_a_plan_leaves_it_as_it_is():
    follows = {**BUDGET, "size": 3, "train": {"steps": 77}}
    assert from_mapping(follows).plan == from_mapping(BUDGET).plan


def test_without_a_budget_there_is_nothing_to_work_out():
    assert from_mapping({}).plan.candidates == []


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"plan": {"hours": 0}}, "plan.hours: found 0"),
        ({"plan": {"hours": -1.0}}, "plan.hours: found -1"),
        ({"plan": {"hours": 1.0, "sizes": []}}, "plan.sizes: empty"),
        ({"plan": {"hours": 1.0, "sizes": [0]}}, "plan.sizes: with 0: size: found 0"),
        ({"plan": {"hours": 1.0, "sizes": [99]}}, "plan.sizes: with 99: size: found 99"),
        ({**BUDGET, "preset": "smoke"}, "plan.sizes: with 1: size: 1 beside preset smoke"),
        ({**BUDGET, "train": {"base": "x"}}, "train.base"),
        ({**BUDGET, "model": {"kv_heads": 2}}, "with 1: model.kv_heads: 2 does not divide"),
        (
            {**BUDGET, "tokenizer": {"kind": "tiktoken", "file": "x"}},
            "plan.hours: a plan is for a vocabulary that is trained",
        ),
    ],
)
def test_what_cannot_be_planned_is_said(keys, said):
    with pytest.raises(UserError, match=said):
        from_mapping(keys)
