"""Counted pairs: those that occur, as often as they do, of all or of some of the text."""

import numpy as np
import pytest
import torch

from snakelm.data.bins import BinWriter, Meta, open_bin
from snakelm.training import pair_counts
from snakelm.training.pair_counts import count_pairs

VOCAB = 11


@pytest.fixture
def text(tmp_path):
    tokens = np.random.default_rng(0).integers(0, VOCAB - 2, 5000)  # the last two never occur
    with BinWriter(tmp_path / "train.bin", Meta("uint16", VOCAB, VOCAB - 1, "ab" * 32)) as writer:
        writer.append(tokens, np.array([len(tokens)]), np.array([0], np.uint64), len(tokens))
    return open_bin(tmp_path / "train.bin")


def dense(pairs):
    table = torch.zeros(VOCAB, VOCAB)
    table[pairs.first_K, pairs.next_K] = pairs.count_K
    return table


def test_all_pairs_of_a_short_text(text):
    pairs = count_pairs(text, VOCAB, 10**9)
    expected = torch.zeros(VOCAB, VOCAB)
    for i, j in zip(text.tokens[:-1].tolist(), text.tokens[1:].tolist(), strict=True):
        expected[i, j] += 1
    assert torch.equal(dense(pairs), expected)
    assert torch.equal(pairs.of_first(), expected.sum(dim=1))
    assert torch.equal(pairs.of_next(), expected.sum(dim=0))
    numbers = pairs.first_K * VOCAB + pairs.next_K
    assert torch.equal(numbers, numbers.sort().values), "in order, as a refinement needs them"
    assert (pairs.count_K > 0).all()


def test_a_part_of_a_text_is_taken_from_all_over_it(text, monkeypatch):
    monkeypatch.setattr(pair_counts, "CHUNK_TOKENS", 100)
    pairs = count_pairs(text, VOCAB, 1000)
    assert pairs.count_K.sum() == 10 * 99
    expected = torch.zeros(VOCAB, VOCAB)
    for first in range(0, 5000, 500):
        ids = torch.from_numpy(text.tokens[first : first + 100].astype(np.int64))
        expected.index_put_((ids[:-1], ids[1:]), torch.ones(99), accumulate=True)
    assert torch.equal(dense(pairs), expected)
