"""Bits per byte: each document's text counted once, alone, whatever the rows, the order or the
processes.
"""

import math

import numpy as np
import pytest
import torch

from snakelm.config import Model
from snakelm.model import Decoder
from snakelm.training.validation import document_losses, evaluate, spread_documents

TINY = Model(layers=1, width=16, heads=2, kv_heads=1, head_dim=8, hidden=24, context=16)
LENGTHS = [5, 1, 0, 30, 2, 17, 9, 40, 3]


@pytest.fixture
def val(make_bin):
    return make_bin(LENGTHS, "val")


@pytest.fixture
def model():
    made = Decoder(TINY, 50).initialize(torch.Generator().manual_seed(0))
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    return made


def test_a_model_that_knows_nothing_pays_log_vocabulary_for_each_text_token(val):
    blank = Decoder(TINY, 50).initialize(torch.Generator().manual_seed(0))
    torch.nn.init.zeros_(blank.head)
    everything, lengths = np.arange(len(LENGTHS)), np.full(50, 2)
    scores = evaluate(blank, val, everything, lengths, np.arange(9) % 2 == 0)
    assert scores.nll == pytest.approx([n * math.log(50) for n in LENGTHS])
    assert scores.bpb() == pytest.approx(math.log2(50) / 2)
    assert scores.bpb(clean_only=True) == pytest.approx(math.log2(50) / 2)
    assert scores.loss == pytest.approx(math.log(50))


def test_short_documents_cost_what_they_cost_alone(val, model):
    losses = document_losses(model, val, np.array([0, 1, 4]))  # all in one row
    for place, i in enumerate((0, 1, 4)):
        x = torch.from_numpy(val.document(i).astype(np.int64))[None]
        alone = model(x[:, :-1], None, x[:, 1:].contiguous()).item()
        assert losses[place] == pytest.approx(alone, rel=1e-4)


def test_processes_share_the_rows_and_sum_to_the_whole(val, model, monkeypatch):
    monkeypatch.setattr(
        "snakelm.training.validation.LOGIT_BYTES", 4 * 50 * 16 * 2
    )  # two rows at a time
    everything = np.arange(len(LENGTHS))
    complete = document_losses(model, val, everything)
    parts = [document_losses(model, val, everything, rank=rank, world=3) for rank in range(3)]
    assert sum(parts) == pytest.approx(complete)


def test_the_loss_taken_in_pieces_has_the_same_bits(val, model, monkeypatch):
    everything = np.arange(len(LENGTHS))
    complete = document_losses(model, val, everything)
    for positions in (1, 7):
        monkeypatch.setattr("snakelm.training.validation.LOSS_BYTES", 4 * 50 * positions)
        assert np.array_equal(document_losses(model, val, everything), complete)


def test_can_be_stopped(val, model):
    assert document_losses(model, val, np.arange(9), stop=lambda: True) is None


def test_no_text_is_no_rate(val, model):
    scores = evaluate(model, val, np.array([2]), np.full(50, 2), np.ones(9, bool))
    assert scores.bpb() is None


def test_spread_takes_about_as_much_as_asked_for_and_all_when_it_fits(val):
    assert spread_documents(val, None).tolist() == list(range(9))
    assert spread_documents(val, 10_000).tolist() == list(range(9))
    assert spread_documents(val, int(val.meta.tokens) // 3 + 1).tolist() == [0, 4, 8]
    assert spread_documents(val, 1).tolist() == [0]
