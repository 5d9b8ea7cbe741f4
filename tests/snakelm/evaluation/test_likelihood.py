"""Many at a time give what each gives alone: log-likelihoods and greedy answers, short, long and
too long.
"""

import numpy as np
import pytest
import torch

from snakelm.evaluation import likelihood
from snakelm.evaluation.likelihood import greedy, loglikelihoods
from snakelm.model.generate import generate


def ids(tokenizer, count, seed):
    return np.random.default_rng(seed).integers(0, tokenizer.eot, count).tolist()


@pytest.fixture
def pairs(tokenizer):
    sizes = [
        (1, 1),
        (1, 9),
        (30, 1),
        (5, 20),
        (63, 1),
        (60, 5),
        (90, 4),
        (200, 30),
        (3, 64),
        (17, 17),
    ]
    return [
        ([tokenizer.eot, *ids(tokenizer, a - 1, i)], ids(tokenizer, b, 50 + i))
        for i, (a, b) in enumerate(sizes)
    ]


@torch.no_grad()
def alone(model, before, scored):
    row = (before + scored)[-(model.shape.context + 1) :]
    logits = model(torch.tensor([row[:-1]]))[0].double().log_softmax(-1)[-len(scored) :]
    picked = logits[torch.arange(len(scored)), torch.tensor(row[-len(scored) :])]
    return picked.sum().item(), logits.argmax(-1).tolist() == row[-len(scored) :]


@pytest.mark.parametrize("at_once", [1, 100, 10_000])
def test_loglikelihoods_are_those_of_each_pair_alone(model, pairs, at_once, monkeypatch):
    monkeypatch.setattr(likelihood, "TOKENS_AT_ONCE", at_once)
    monkeypatch.setattr(likelihood, "LOGIT_BYTES", 4 * 300 * 7)
    sums, _ = loglikelihoods(model, pairs)
    assert sums == pytest.approx([alone(model, *pair)[0] for pair in pairs], abs=1e-3)


def test_what_the_model_would_say_is_known(model, tokenizer, pairs):
    said = [(before, generate(model, before, 3, temperature=0)) for before, _ in pairs[:4]]
    wrong = [(before, [*ids_[:-1], (ids_[-1] + 1) % tokenizer.eot]) for before, ids_ in said]
    _, would = loglikelihoods(model, [*said, *wrong])
    assert would.tolist() == [True] * 4 + [False] * 4


@pytest.mark.parametrize("at_once", [1, 10_000])
def test_greedy_answers_are_those_of_each_prompt_alone(model, tokenizer, at_once, monkeypatch):
    monkeypatch.setattr(likelihood, "TOKENS_AT_ONCE", at_once)
    prompts = [[tokenizer.eot, *ids(tokenizer, n, n)] for n in (0, 1, 5, 20, 47)]
    alone_ = [generate(model, prompt, 16, temperature=0) for prompt in prompts]
    assert greedy(model, prompts, 16, ()) == alone_
    stop = alone_[1][4]
    cut = [said[: said.index(stop)] if stop in said else said for said in alone_]
    assert greedy(model, prompts, 16, {stop}) == cut


def test_a_long_prompt_loses_its_beginning(model, tokenizer):
    long = ids(tokenizer, 200, 3)
    assert greedy(model, [long], 16, ()) == greedy(model, [long[-48:]], 16, ())


def test_ends_where_it_is_told_to(model, tokenizer):
    (said,) = greedy(model, [[tokenizer.eot]], 16, (), lambda some: len(some) == 5)
    assert len(said) == 5
