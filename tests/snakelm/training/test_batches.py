"""Batches: every token once an epoch, in documents, and the same for any cut into steps and
processes.
"""

import numpy as np
import pytest

from snakelm.errors import UserError
from snakelm.training.batches import Batches

LENGTHS = [5, 1, 0, 30, 2, 17, 9, 40, 3, 3, 12]  # text tokens; one more each with the leading eot


@pytest.fixture
def tokens(make_bin):
    return make_bin(LENGTHS)


def stream(batches: Batches, steps: int) -> np.ndarray:
    return np.concatenate([batches.rows(s).tokens.ravel() for s in range(steps)])


def test_an_epoch_holds_every_document_once_and_whole(tokens):
    batches = Batches(tokens, 8, 16, seed=1)
    one = stream(batches, tokens.meta.tokens // 16 + 1)[: tokens.meta.tokens]
    cut = np.split(one, np.flatnonzero(one == 49)[1:])
    expected = [tokens.document(i) for i in range(tokens.meta.documents)]
    assert sorted(map(tuple, cut)) == sorted(map(tuple, expected))


def test_epochs_follow_each_other_in_other_orders(tokens):
    n = int(tokens.meta.tokens)
    two = stream(Batches(tokens, 8, 16, seed=1), 2 * n // 16 + 1)
    first, second = two[:n], two[n : 2 * n]
    assert sorted(first) == sorted(second)
    assert list(first) != list(second)


@pytest.mark.parametrize("world", [1, 2, 4])
def test_any_number_of_processes_sees_the_same_global_batch(tokens, world):
    batches = Batches(tokens, 8, 64, seed=3)
    for step in (0, 1, 5):
        complete = batches.rows(step)
        parts = [Batches(tokens, 8, 64, seed=3).rows(step, rank, world) for rank in range(world)]
        for name in ("tokens", "targets", "row_start"):
            assert np.array_equal(
                np.concatenate([getattr(p, name) for p in parts]), getattr(complete, name)
            ), name


def test_a_step_needs_no_step_before_it(tokens):
    in_order = Batches(tokens, 8, 32, seed=3)
    rows = [in_order.rows(s) for s in range(12)]
    for step in (11, 0, 7, 6):
        assert np.array_equal(Batches(tokens, 8, 32, seed=3).rows(step).tokens, rows[step].tokens)


def test_targets_are_the_tokens_after(tokens):
    batches = Batches(tokens, 8, 32, seed=2)
    one = stream(batches, 20)
    targets = np.concatenate([batches.rows(s).targets.ravel() for s in range(19)])
    assert np.array_equal(targets, one[1 : targets.size + 1])


def test_row_start_is_the_documents_start_in_the_row(tokens):
    for step in range(8):
        rows = Batches(tokens, 16, 32, seed=2).rows(step)
        for row, start in zip(rows.tokens, rows.row_start, strict=True):
            for t in range(16):
                eots = np.flatnonzero(row[: t + 1] == 49)
                assert start[t] == (eots[-1] if eots.size else 0)


def test_seeds_give_other_orders(tokens):
    assert not np.array_equal(
        Batches(tokens, 8, 64, 1).rows(0).tokens, Batches(tokens, 8, 64, 2).rows(0).tokens
    )


def test_less_text_than_a_batch_is_an_error(tokens):
    with pytest.raises(UserError, match=r"train\.batch_tokens"):
        Batches(tokens, 8, 4096, seed=1)


def test_epoch_counts(tokens):
    batches = Batches(tokens, 8, 16, seed=1)
    assert batches.epoch(int(tokens.meta.tokens)) == 16.0


@pytest.mark.parametrize("step", [0, 1, 3, 7, 8, 20])
def test_seen_are_the_documents_whose_last_token_has_passed(tokens, step):
    batches, total = Batches(tokens, 8, 16, seed=1), int(tokens.meta.tokens)
    epoch = stream(batches, total // 16 + 1)[:total]
    begins = np.flatnonzero(epoch == 49)
    ends = [*begins[1:].tolist(), total]
    numbers = {tuple(tokens.document(i).tolist()): i for i in range(tokens.meta.documents)}
    order = [numbers[tuple(epoch[a:b].tolist())] for a, b in zip(begins, ends, strict=True)]
    expected = sorted(i for i, end in zip(order, ends, strict=True) if end <= 16 * step)
    assert batches.seen(step).tolist() == expected
