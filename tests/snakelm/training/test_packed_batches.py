"""Packs as a training stream: each sft.epochs times, the same for any number of processes; tokens
weigh alike.
"""

import math

import numpy as np
import pytest
import torch

from snakelm.config import Model, Train
from snakelm.model import Decoder
from snakelm.training.batches import Rows
from snakelm.training.distributed import World
from snakelm.training.optimizer import Optimizer
from snakelm.training.packed_batches import PackedBatches, answer_loss, spread_packs
from snakelm.training.step import training_step

CONTEXT = 48
TINY = Model(layers=1, width=32, heads=2, kv_heads=1, head_dim=16, hidden=48, context=CONTEXT)


@pytest.fixture
def packs(make_packs):
    """Eleven packs whose answers differ much in length."""
    said = [("a" * (30 - n), "s" * n) for n in range(1, 29, 3)] + [("a" * 5, "s" * 5)] * 2
    return make_packs(
        [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in said],
        CONTEXT,
    )


@pytest.mark.parametrize("epochs", [1.0, 2.0, 1.5])
@pytest.mark.parametrize("batch_rows", [1, 4, 100])
def test_every_pack_is_seen_once_an_epoch(packs, epochs, batch_rows):
    stream = PackedBatches(packs, batch_rows, epochs, seed=3)
    seen = np.concatenate([stream.chosen(step) for step in range(stream.steps)])
    times = np.bincount(seen, minlength=len(packs))
    assert len(seen) == round(epochs * len(packs))
    assert set(times) <= {math.floor(epochs), math.ceil(epochs)}
    assert stream.chosen(stream.steps).size == 0
    assert stream.epoch(stream.steps) == pytest.approx(epochs, abs=0.5 / len(packs))


def test_epochs_and_seeds_differ_in_order(packs):
    stream, other = (PackedBatches(packs, len(packs), 2.0, seed) for seed in (3, 4))
    orders = [stream.chosen(0).tolist(), stream.chosen(1).tolist(), other.chosen(0).tolist()]
    assert len({tuple(order) for order in orders}) == 3
    assert PackedBatches(packs, len(packs), 2.0, 3).chosen(1).tolist() == orders[1]


def test_tokens_and_targets_are_those_of_the_rows(packs):
    stream = PackedBatches(packs, 4, 2.0, seed=0)
    seen = 0
    for step in range(stream.steps):
        assert stream.tokens(step) == seen
        assert stream.targets(step) == (stream.rows(step).targets >= 0).sum()
        seen += stream.lengths[stream.chosen(step)].sum()
    assert stream.tokens(stream.steps) == seen == 2 * packs.meta.tokens


@pytest.mark.parametrize("world", [2, 3, 9])
def test_processes_share_the_rows_of_a_step(packs, world):
    stream = PackedBatches(packs, 4, 1.0, seed=0)
    for step in range(stream.steps):
        complete, parts = (
            stream.rows(step),
            [stream.rows(step, rank, world) for rank in range(world)],
        )
        assert np.array_equal(np.concatenate([p.tokens for p in parts]), complete.tokens)
        assert np.array_equal(np.concatenate([p.targets for p in parts]), complete.targets)


class Caught(Optimizer):
    """An optimizer that keeps the gradients it was given, and changes nothing."""

    def step(self, lr_factor, momentum, gradient_scale=1.0, weight_decay=0.0):
        self.caught = [p.grad.clone() for p in self.parameters]
        self.drop_gradients()


class Rank(World):
    """One of several processes, in a test: its sum is taken by the test."""

    def sum_gradients(self, parameters, extras):
        return extras


def gradients(stream, micro_batch, world=1):
    """Summed over processes, as all of them would then have them; and the loss."""
    torch.manual_seed(0)
    model = Decoder(TINY, 261).initialize(torch.Generator().manual_seed(0))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn(p.shape))
    train = Train(micro_batch=micro_batch, clip=None, steps=9)
    total, loss = None, 0.0
    for rank in range(world):
        optimizer = Caught(model, train)
        rows, targets = stream.rows(0, rank, world), stream.targets(0)
        loss += training_step(
            0, model, optimizer, rows, targets, train, Rank(rank, world), lambda: False
        ).loss
        total = (
            optimizer.caught
            if total is None
            else [a + b for a, b in zip(total, optimizer.caught, strict=True)]
        )
    return loss, total


@pytest.mark.parametrize(
    ("micro_batch", "world"), [(1, 1), (3, 1), (4, 2), (2, 3), (1, 7)], ids=str
)
def test_any_split_of_a_step_has_the_same_gradient(packs, micro_batch, world):
    stream = PackedBatches(packs, 6, 1.0, seed=1)
    loss, complete = gradients(stream, 6)
    split_loss, split = gradients(stream, micro_batch, world)
    assert split_loss == pytest.approx(loss, rel=1e-6)
    for a, b in zip(complete, split, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-6 * a.abs().max().item())


def test_a_mean_of_micro_batches_would_be_another_gradient(packs):
    """That rows differ enough for the test above to see a step that weighs rows instead of
    tokens.
    """
    counts = PackedBatches(packs, 6, 1.0, seed=1).rows(0).targets >= 0
    per_row = counts.sum(axis=1)
    assert per_row.max() > 2 * per_row.min()


def test_loss_of_nothing_known_is_log_vocabulary(packs):
    blank = Decoder(TINY, 261).initialize(torch.Generator().manual_seed(0))
    torch.nn.init.zeros_(blank.head)
    everything = np.arange(len(packs))
    total, count = answer_loss(blank, packs, everything)
    assert count == packs.mask.sum()
    assert total / count == pytest.approx(math.log(261), rel=1e-5)
    parts = sum(answer_loss(blank, packs, everything, rank, 3) for rank in range(3))
    assert parts == pytest.approx([total, count])
    assert answer_loss(blank, packs, everything, stop=lambda: True) is None


def test_spread_takes_about_that_many_tokens(packs):
    assert spread_packs(packs, None).tolist() == list(range(len(packs)))
    assert spread_packs(packs, packs.meta.tokens).tolist() == list(range(len(packs)))
    some = spread_packs(packs, packs.meta.tokens // 3)
    assert 1 < len(some) < len(packs) / 2
    assert spread_packs(packs, 1).tolist() == [0]


def test_a_row_is_not_cut(packs):
    rows = Rows(*packs.rows(np.arange(len(packs))))
    assert rows.tokens.shape == (len(packs), CONTEXT)
