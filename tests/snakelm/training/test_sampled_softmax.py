"""The sample of a step: everything that has to be in it, the same from anywhere, and unbiased; and
where the full softmax is taken instead.
"""

import numpy as np
import pytest
import torch

from snakelm.config import Train, from_mapping
from snakelm.device import Device
from snakelm.errors import UserError
from snakelm.training.batches import Batches
from snakelm.training.fingerprint import fingerprint_of, pretraining_parts
from snakelm.training.sampled_softmax import SoftmaxSampler, choose_sampler

VOCAB = 1000
COMMON = np.arange(0, 100, 10)
CPU, GPU = (Device(torch.device(kind), torch.float32, 1) for kind in ("cpu", "cuda"))


class Said:
    """A log that keeps what it is told."""

    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)

    warn = say


def sampler(random=30, seed=1):
    return SoftmaxSampler(VOCAB, COMMON, random, seed)


def test_a_sample_holds_targets_and_common_tokens_uncorrected_and_random_others():
    targets = np.array([[3, 500], [999, 10]])
    sample = sampler().draw(7, targets)
    assert np.all(np.diff(sample.tokens) > 0)
    assert len(sample.tokens) == 64, "made up to a size that products like"

    certain = np.union1d(COMMON, targets)
    random = ~np.isin(sample.tokens, certain)
    assert np.isin(certain, sample.tokens).all()
    assert not sample.correction[~random].any()
    rest, taken = VOCAB - len(certain), random.sum()
    assert sample.correction[random] == pytest.approx(np.log(rest / taken))


def test_a_sample_is_a_function_of_seed_and_step():
    targets = np.arange(5)
    again = [sampler().draw(step, targets).tokens for step in (3, 4, 3)]
    other = sampler(seed=2).draw(3, targets).tokens
    assert np.array_equal(again[0], again[2])
    assert not np.array_equal(again[0], again[1])
    assert not np.array_equal(again[0], other)


def test_the_sum_of_exponentials_is_that_of_all_tokens_in_expectation():
    logits = np.random.default_rng(0).normal(0, 2, VOCAB)
    targets = np.argsort(-logits)[:20]
    samples = [sampler().draw(step, targets) for step in range(2000)]
    sums = [np.exp(logits[s.tokens] + s.correction).sum() for s in samples]
    error = np.std(sums) / np.sqrt(len(sums))
    assert abs(np.mean(sums) - np.exp(logits).sum()) < 4 * error


def test_a_batch_that_holds_nearly_every_token_takes_them_all():
    assert sampler().draw(0, np.arange(VOCAB - 30)) is None


@pytest.mark.parametrize("world", [1, 2, 4])
def test_every_process_and_micro_batch_has_the_sample_of_the_whole_batch(make_bin, world):
    batches = Batches(make_bin([30] * 20), 8, 64, seed=3)
    batches.sampler = SoftmaxSampler(50 + 64, np.arange(3), 10, 1)
    samples = [batches.rows(5, rank, world).part(0, 1).sample for rank in range(world)]
    complete = batches.rows(5)
    assert np.isin(complete.targets, samples[0].tokens).all()
    assert all(np.array_equal(s.tokens, complete.sample.tokens) for s in samples)


def choose(make_bin, device=CPU, sampled_softmax="auto", **keys):
    tokens, log = make_bin([300] * 10), Said()
    train = Train(seed=1, sampled_softmax=sampled_softmax, **keys)
    first = np.zeros((2, 8), np.int64)
    return choose_sampler(train, tokens, first, device, log), log.lines


def test_auto_leaves_sampling_out_where_it_does_not_pay_and_says_so(make_bin):
    for keys in ({}, {"sampled_common": 40, "sampled_random": 5}):
        chosen, said = choose(make_bin, **keys)
        assert chosen is None
        assert said == ["full softmax: a sample would be 50 of 50 tokens, which doesn't pay"]
    on_a_gpu = choose(make_bin, device=GPU, sampled_common=1, sampled_random=1)
    assert on_a_gpu == (None, ["full softmax: a sample pays on a CPU, and this is cuda"])
    assert choose(make_bin, sampled_softmax="off", sampled_common=1, sampled_random=1) == (
        None,
        [
            f"train.{name} 1: of no effect, train.sampled_softmax is off"
            for name in ("sampled_common", "sampled_random")
        ],
    )
    assert choose(make_bin, sampled_softmax="off") == (None, [])


def test_asked_for_it_is_an_error_or_a_warning_where_it_cannot_be(make_bin):
    with pytest.raises(UserError, match=r"has 50 tokens, no more than the sample .* 1,024"):
        choose(make_bin, sampled_softmax="on")
    _, said = choose(make_bin, sampled_softmax="on", sampled_common=1, sampled_random=1)
    assert "make up the whole vocabulary (50): full softmax wherever they do" in said[0]


def test_what_is_off_makes_no_other_run(make_bin):
    tokens = make_bin([300] * 10)

    def run(**train):
        return fingerprint_of(pretraining_parts(from_mapping({"train": train}), tokens, tokens))

    off, drawn = {"sampled_softmax": "off"}, {"sampled_softmax": "on"}
    assert run(**off) == run(**off, sampled_random=5) == run(**off, sampled_common=5)
    runs = [run(**off), run(**drawn), run(**drawn, sampled_random=5), run(**off, bigram_steps=20)]
    assert len(set(runs)) == 4
