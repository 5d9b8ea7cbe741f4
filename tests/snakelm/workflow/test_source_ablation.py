"""The proxies of a source ablation, and what can't be studied."""

import pytest

from snakelm.config import from_mapping
from snakelm.errors import UserError
from snakelm.workflow.source_ablation import ablation_points, mixture_names, proxy_tokens
from snakelm.workflow.step import load_steps

STEPS = load_steps()
SOURCES = [{"builtin": "docs"}, {"builtin": "everyday"}, {"path": "my/x.txt", "name": "mine"}]


def points(study, **more):
    given = {"preset": "smoke", "sources": SOURCES, "source_ablation": study, **more}
    return ablation_points(given, from_mapping(given), STEPS)


def test_every_source_is_left_out_once_with_every_seed():
    made = points({"seeds": [1, 2]})
    mixtures = ["full", "without~docs", "without~everyday", "without~mine"]
    assert [point.name for point in made] == [
        f"{mixture}/train.seed~{seed}" for mixture in mixtures for seed in (1, 2)
    ]
    assert {point.train_bin for point in made} == {
        f"source_ablation/{mixture}/train.bin" for mixture in mixtures
    }
    assert [point.config.train.seed for point in made] == [1, 2] * 4


def test_random_mixtures_take_the_seeds_in_turn():
    made = points({"seeds": [1, 2], "mixtures": 7})[8:]
    assert [point.name for point in made] == [
        f"mixture~{k}/train.seed~{1 + (k - 1) % 2}" for k in range(1, 8)
    ]
    assert mixture_names(["a"], 2) == ["full", "without~a", "mixture~1", "mixture~2"]


def test_proxies_differ_from_the_run_as_told_and_share_what_is_prepared():
    proxy = {"model.heads": 4, "model.kv_heads": 4, "train.steps": 7, "train.batch_tokens": 128}
    given = {"preset": "smoke", "sources": SOURCES, "source_ablation": {"proxy": proxy}}
    assert proxy_tokens(from_mapping(given)) == (7 * 128, 128)

    config = points({"seeds": [3], "proxy": proxy})[0].config
    assert (config.model.heads, config.model.kv_heads, config.train.steps) == (4, 4, 7)
    assert config.train.regime == "fresh", "repetition must not train one mixture otherwise"
    run = from_mapping({"preset": "smoke", "sources": SOURCES})
    for step in STEPS.values():
        if step.stage == "preparation" and step.name != "prepare_sft_data":
            assert step.settings_of(config) == step.settings_of(run), step.name


@pytest.mark.parametrize(
    "more", [{}, {"train.steps": 70}, {"train.batch_tokens": 8192}], ids=["all", "steps", "batch"]
)
def test_proxies_of_a_size_read_what_is_said_of_them(more):
    """`size` would give a narrower model other steps and another batch."""
    study = {"seeds": [1], "proxy": {"model.width": 128, "model.layers": 1, **more}}
    given = {"size": 4, "sources": SOURCES, "source_ablation": study}
    run = from_mapping(given)
    proxy = ablation_points(given, run, STEPS)[0].config
    batch = proxy.train.batch_tokens
    assert (proxy.train.steps * batch, batch) == proxy_tokens(run)
    same = {"train.steps", "train.batch_tokens"} - more.keys()
    for key in (name.removeprefix("train.") for name in same):
        assert getattr(proxy.train, key) == getattr(run.train, key)


def test_the_regime_is_the_users_where_one_is_given():
    one = points({"seeds": [1], "proxy": {"train.regime": "repeated"}})[0]
    assert one.config.train.regime == "repeated"


def test_a_run_without_seeds_has_no_proxies():
    assert points({}) == []


@pytest.mark.parametrize(
    ("study", "said"),
    [
        ({"seeds": [1, 1]}, r"seeds: found 1 twice"),
        ({"seeds": [-1]}, r"seeds: found -1, allowed is 0 to"),
        ({"mixtures": 5}, r"mixtures: found 5 for 3 sources.*expected 0, or 6 and more"),
        ({"judge_by": "docs"}, r"judge_by: found 'docs', expected all or a list"),
        ({"judge_by": []}, r"judge_by: an empty list"),
        ({"judge_by": ["mime"]}, r"judge_by: no source 'mime'; did you mean mine\?"),
        ({"judge_by": ["?"]}, r"no source '\?'; sources are docs, everyday, mine"),
        ({"proxy": {"train.stepz": 3}}, r"proxy\.train\.stepz: no such key; did you mean"),
        ({"proxy": {"sft.lr": 0.1}}, r"proxy\.sft\.lr: changes nothing in a pretrained"),
        ({"proxy": {"train.seed": 3}}, r"proxy: found train\.seed; source_ablation\.seeds"),
        ({"proxy": {"model.kv_heads": 3}}, r"proxy: with model\.kv_heads: 3, .*does not divide"),
        ({"proxy": {"evaluate.span": 20}}, r"changes what is prepared \(prepare_data\)"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_what_cannot_be_studied_is_said(study, said):
    with pytest.raises(UserError, match=said):
        points({"seeds": [1], **study})


def test_a_source_left_out_that_was_the_only_one_is_said():
    with pytest.raises(UserError, match=r"the run has one source, docs; without it nothing is"):
        points({"seeds": [1]}, sources=SOURCES[:1])
