"""The counted start: better than knowing nothing, close to the counted table, and only where it
fits.
"""

import math

import numpy as np
import pytest
import torch

from snakelm.config import Model
from snakelm.data.bins import BinWriter, Meta, open_bin
from snakelm.model import Decoder
from snakelm.training import bigram_init, bigram_refinement
from snakelm.training.pair_counts import count_pairs

SHAPE = Model(layers=1, width=64, heads=2, kv_heads=1, head_dim=16, hidden=48, context=32)
VOCAB = 40


@pytest.fixture
def chain(tmp_path):
    """Text in which a token is followed by one of two, 3 to 1."""
    generator, tokens = np.random.default_rng(0), [0]
    for _ in range(100_000):
        tokens.append((tokens[-1] * 7 + (3 if generator.random() < 0.75 else 11)) % VOCAB)
    with BinWriter(tmp_path / "train.bin", Meta("uint16", VOCAB, VOCAB - 1, "ab" * 32)) as writer:
        writer.append(
            np.array(tokens), np.array([len(tokens)]), np.array([0], np.uint64), len(tokens)
        )
    return open_bin(tmp_path / "train.bin")


def loss(model, tokens):
    ids = torch.from_numpy(tokens.tokens[:3201].astype(np.int64))
    with torch.no_grad():
        return model(ids[:-1].view(-1, 32), None, ids[1:].view(-1, 32)).item() / 3200


def fresh():
    return Decoder(SHAPE, VOCAB).initialize(torch.Generator().manual_seed(0))


def test_knows_which_token_follows_which(chain):
    model = fresh()
    before = loss(model, chain)
    bigram_init.start_as_bigrams(model, chain, torch.Generator().manual_seed(0))
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert before == pytest.approx(math.log(VOCAB), abs=0.02)
    assert entropy < loss(model, chain) < entropy + 0.4


def test_factors_are_those_of_the_whole_table(chain):
    pairs = count_pairs(chain, VOCAB, bigram_init.COUNTED_TOKENS)
    table, share, frequency = bigram_init._weighted_table(pairs)
    left, right = bigram_init._factors(table, 8, torch.Generator().manual_seed(0))

    counts = torch.zeros(VOCAB, VOCAB).index_put_((pairs.first_K, pairs.next_K), pairs.count_K)
    b = bigram_init.SMOOTHING
    ratio = (counts + b * share) / (counts.sum(dim=1, keepdim=True) + b) / share
    exact = ratio.log() * frequency.sqrt()[:, None] * share.sqrt()
    torch.testing.assert_close(table.times(torch.eye(VOCAB)), exact)
    torch.testing.assert_close(table.transposed_times(torch.eye(VOCAB)), exact.t())
    best = torch.linalg.svdvals(exact)[8:].norm()
    assert (left @ right.t() - exact).norm() < 1.01 * best


def test_tokens_that_never_occur_change_nothing_for_the_others(chain):
    small, large = fresh(), Decoder(SHAPE, 50 * VOCAB).initialize(torch.Generator().manual_seed(0))
    for model in (small, large):
        bigram_init.start_as_bigrams(model, chain, torch.Generator().manual_seed(0))
    assert large.embedding.isfinite().all()
    assert large.head.isfinite().all()
    assert loss(large, chain) < loss(small, chain) + 0.05


def test_refined_it_knows_the_counts(chain, monkeypatch):
    monkeypatch.setattr(bigram_refinement, "ROWS", 16)  # 40 rows: two parts and a short one
    model = fresh()
    bigram_init.start_as_bigrams(model, chain, torch.Generator().manual_seed(0))
    before = loss(model, chain)
    bigram_refinement.refine_bigrams(model, chain, 20, torch.float32)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert entropy < loss(model, chain) < entropy + 0.3 * (before - entropy)


def test_a_refinement_follows_the_gradient_of_the_tables_cross_entropy(chain, monkeypatch):
    monkeypatch.setattr(bigram_refinement, "ROWS", 16)
    model = fresh()
    got = bigram_refinement.gradients(model, bigram_refinement.Counts(chain, VOCAB), torch.float32)

    counted = count_pairs(chain, VOCAB, 10**9)
    pairs = torch.zeros(VOCAB, VOCAB, dtype=torch.float64)
    pairs[counted.first_K, counted.next_K] = counted.count_K.double()
    first, unigram = pairs.sum(dim=1, keepdim=True), pairs.sum(dim=0) + 1
    b = bigram_refinement.SMOOTHING
    target = (pairs + b * unigram / unigram.sum()) / (first + b)
    tables = [t.detach().double().requires_grad_() for t in (model.embedding, model.head)]
    x = torch.nn.functional.rms_norm(tables[0], tables[0].shape[1:], eps=SHAPE.norm_eps)
    log_p = (x @ tables[1].t()).log_softmax(dim=1)
    cross_entropy = -(first / first.sum() * target * log_p).sum()
    for ours, exact in zip(got, torch.autograd.grad(cross_entropy, tables), strict=True):
        assert (ours - exact).norm() < 1e-5 * exact.norm()


def test_rows_of_the_embedding_have_the_length_that_the_norm_gives_them(chain):
    model = fresh()
    bigram_init.start_as_bigrams(model, chain, torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.embedding.square().mean(dim=1), torch.ones(VOCAB))


def test_is_the_same_for_the_same_seed(chain):
    a, b = fresh(), fresh()
    for model in (a, b):
        bigram_init.start_as_bigrams(model, chain, torch.Generator().manual_seed(5))
    assert torch.equal(a.embedding, b.embedding)
    assert torch.equal(a.head, b.head)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({}, True), ({"tie_embeddings": True}, False), ({"embedding_norm": False}, False)],
    ids=["default", "tied", "no_norm"],
)
def test_where_it_applies(changes, expected):
    assert bigram_init.applies(Model().model_copy(update=changes)) is expected
