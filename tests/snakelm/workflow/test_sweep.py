"""The points of a sweep, and what can't be one."""

import pytest

from snakelm.config import from_mapping
from snakelm.errors import UserError
from snakelm.workflow.step import load_steps
from snakelm.workflow.sweep import sweep_points

STEPS = load_steps()


def points(sweep, **more):
    given = {"preset": "smoke", "sweep": sweep, **more}
    return sweep_points(given, from_mapping(given), STEPS)


def test_every_combination_is_a_point_in_the_order_of_the_configuration():
    made = points({"train.lr": [0.01, 0.03], "seed": [1, 2, 3]}, train={"steps": 7})
    assert [point.name for point in made] == [
        f"train.lr~{lr}/train.seed~{seed}" for lr in (0.01, 0.03) for seed in (1, 2, 3)
    ]
    assert [(p.config.train.lr, p.config.train.seed) for p in made][-1] == (0.03, 3)
    assert {p.config.train.steps for p in made} == {7}


def test_points_share_everything_that_is_prepared():
    made = points({"model.layers": [1, 2], "seed": [1, 2]})
    prepared = [step for step in STEPS.values() if step.stage == "preparation"]
    assert len(prepared) > 8
    for step in prepared:
        assert len({repr(step.settings_of(point.config)) for point in made}) == 1


def test_words_and_exponents_are_values():
    made = points({"train.precision": ["bf16", "fp32"], "train.lr": ["1e-3"]})
    assert [point.name for point in made] == [
        "train.precision~bf16/train.lr~1e-3",
        "train.precision~fp32/train.lr~1e-3",
    ]
    assert made[0].config.train.lr == 0.001


def test_a_run_without_a_sweep_has_no_points():
    assert points({}) == []


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        ({"train.lrr": [1]}, r"sweep\.train\.lrr: no such key; did you mean train\.lr\?"),
        ({"zzz": [1]}, r"sweep\.zzz: no such key; docs/TRAINING_CONFIG\.md"),
        ({"tokenizer.vocab_size": [512, 600]}, r"vocab_size: changes nothing in a pretrained"),
        ({"preset": ["smoke", "default"]}, r"default changes what is prepared \(.*train_tokenizer"),
        ({"sft.lr": [0.1]}, r"sweep\.sft\.lr: changes nothing"),
        ({"train.log_every": [1, 2]}, r"train\.log_every: changes nothing"),
        ({"results": ["a", "b"]}, r"sweep\.results: changes nothing"),
        ({"evaluate.span": [16, 20]}, r"span: 20 changes what is prepared \(prepare_data"),
        ({"evaluate.clean_share": [0.1, 0.5]}, r"clean_share: decides which held-out documents"),
        ({"train.lr": [0.01, "1e-2"]}, r"train\.lr: 0\.01 and 1e-2 make the same training"),
        ({"train.lr": []}, r"sweep\.train\.lr: no values"),
        ({"seed": [1], "train.seed": [2]}, r"the same as train\.seed"),
        ({"train.precision": ["a/b"]}, r"'a/b', which can't stand in a folder's name"),
        ({"train.lr": [-1]}, r"sweep: with train\.lr: -1: train\.lr: found -1"),
        ({"model.heads": [3], "model.kv_heads": [2]}, r"sweep: with model\.heads: 3"),
        ({"train.lr": 0.01}, r"allowed is a list of numbers, texts, true, false or null"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_what_cannot_be_a_sweep_is_said(sweep, said):
    with pytest.raises(UserError, match=said):
        points(sweep)
