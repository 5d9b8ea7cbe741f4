"""The loss taken apart adds up to the loss, and every target lies in the bin it belongs to."""

import numpy as np
import pytest
import torch

from snakelm.data.bins import open_bin
from snakelm.evaluation.breakdown import (
    Bins,
    breakdown,
    frequency_edges,
    visible_edges,
)
from snakelm.evaluation.tokenizer_statistics import token_counts
from snakelm.training.validation import document_losses

TEXTS = ["the list", "of", "none of them, " * 30, "an error", "中文 naïve " * 9]


@pytest.fixture
def found(make_bin, model, tokenizer):
    val, train = open_bin(make_bin(TEXTS)), open_bin(make_bin(TEXTS[:3] * 40, "train"))
    counts = token_counts(train)
    return (
        val,
        counts,
        breakdown(model, val, np.arange(len(TEXTS)), counts, tokenizer.token_lengths),
    )


def test_documents_bins_and_bytes_add_up(found, model):
    val, _, made = found
    assert made.nll == pytest.approx(document_losses(model, val, np.arange(len(TEXTS))))
    for bins in (made.visible, made.frequency):
        assert bins.nll.sum() == pytest.approx(made.nll.sum())
        assert bins.targets.sum() == val.meta.tokens - len(TEXTS)
        assert bins.bytes.sum() == sum(len(text.encode()) for text in TEXTS)


@torch.no_grad()
def test_a_target_counts_where_it_stands(found, model):
    """Document by document, as it lies in the rows of the whole."""
    val, counts, made = found
    visible, frequency = np.zeros_like(made.visible.targets), np.zeros_like(made.frequency.targets)
    place = 0
    for i in range(len(TEXTS)):
        ids = val.document(i)
        for t in range(1, ids.size):
            row = (place + t - 1) // model.shape.context
            seen = place + t - max(place, row * model.shape.context)
            visible[np.flatnonzero(made.visible.edges <= seen)[-1]] += 1
            frequency[np.flatnonzero(made.frequency.edges <= counts[ids[t]])[-1]] += 1
        place += ids.size
    assert made.visible.targets.tolist() == visible.tolist()
    assert made.frequency.targets.tolist() == frequency.tolist()


def test_counts_are_those_of_the_training_text(make_bin, tokenizer, monkeypatch):
    monkeypatch.setattr("snakelm.evaluation.tokenizer_statistics.BLOCK", 7)
    train = open_bin(make_bin(TEXTS, "train"))
    counts = token_counts(train)
    assert (
        counts.tolist()
        == np.bincount(np.asarray(train.tokens), minlength=tokenizer.vocab_size).tolist()
    )


@pytest.mark.parametrize("context", [1, 2, 64, 1000, 8192])
def test_edges_of_what_is_visible_cover_the_context(context):
    edges = visible_edges(context)
    assert (edges[0], edges[-1]) == (1, context + 1)
    assert (np.diff(edges) > 0).all()


@pytest.mark.parametrize("most", [0, 1, 2, 3, 9, 10, 31, 32, 316, 3162, 10**9])
def test_edges_of_frequency_hold_the_commonest(most):
    edges = frequency_edges(np.array([0, most]))
    assert edges[0] == 0
    assert edges[-1] > most
    assert (np.diff(edges) > 0).all()


def test_an_empty_bin_has_no_mean():
    bins = Bins.empty(np.array([0, 1, 3]))
    bins.add(np.array([1, 2]), np.array([1.0, 2.0]), np.array([4, 4]))
    assert bins.mean() == [None, 1.5]
