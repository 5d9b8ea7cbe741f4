"""Conversations and text in one stream: the share that was asked for, conversations as they are
without text, text as pretraining cuts it, the same for any number of processes.
"""

import numpy as np
import pytest
import torch

from snakelm.config import Model
from snakelm.data.bins import BinWriter, Meta, open_bin
from snakelm.errors import UserError
from snakelm.model import Decoder
from snakelm.training.batches import Rows
from snakelm.training.mixed_batches import MixedBatches, check_text, side_by_side
from snakelm.training.packed_batches import PackedBatches

PACKED, CONTEXT = 24, 80  # three packs to a row, and 8 positions of padding
SHARES = [0.05, 0.5, 0.9]


@pytest.fixture
def packs(make_packs):
    """Packs whose conversations differ in length."""
    said = [("a" * (2 + n % 7), "s" * (1 + n * 3 % 8)) for n in range(33)]
    return make_packs(
        [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in said],
        PACKED,
    )


@pytest.fixture
def text(tmp_path, bytes_and_chat):
    """Documents of several lengths; three epochs of them make a small run."""
    meta = Meta("uint16", bytes_and_chat.vocab_size, bytes_and_chat.eot, bytes_and_chat.sha256)
    with BinWriter(tmp_path / "text.bin", meta) as writer:
        for i in range(9):
            ids = np.array([bytes_and_chat.eot, *range(i, 90 + 7 * i)])
            writer.append(ids, np.array([ids.size]), np.array([i], np.uint64), ids.size - 1)
    return open_bin(tmp_path / "text.bin")


def mixed(packs, text, share, seed=3, batch_rows=5):
    return MixedBatches(PackedBatches(packs, batch_rows, 2.0, seed), text, share, CONTEXT)


def parts(stream, step):
    """The rows of conversations and those of text."""
    rows = stream.rows(step)
    conversations = -(-len(stream.packs.chosen(step)) // (CONTEXT // PACKED))
    return rows.part(0, conversations), rows.part(conversations, len(rows))


@pytest.mark.parametrize("share", SHARES)
def test_the_share_is_right_to_half_a_row_up_to_any_step(packs, text, share):
    stream, said, read = mixed(packs, text, share), 0, 0
    for step in range(stream.steps):
        said += int(stream.packs.lengths[stream.packs.chosen(step)].sum())
        read += parts(stream, step)[1].tokens.size
        assert abs(read - share / (1 - share) * said) <= CONTEXT / 2
        assert stream.tokens(step + 1) == said + read
    assert read == stream.text_tokens > 0


def test_conversations_are_what_they_are_without_text(packs, text):
    """The same tokens, targets and beginnings, each as far back as before."""
    stream = mixed(packs, text, 0.5)
    for step in range(stream.steps):
        alone, beside = stream.packs.rows(step), parts(stream, step)[0]
        assert beside.tokens.shape[1] == CONTEXT
        back = (np.arange(PACKED) - alone.row_start, np.arange(CONTEXT) - beside.row_start)
        learned = (alone.targets >= 0, beside.targets >= 0)
        for a, b in (
            (alone.tokens, beside.tokens),
            (alone.targets, beside.targets),
            back,
        ):
            assert np.array_equal(a[learned[0]], b[learned[1]])
        assert (beside.row_start <= np.arange(CONTEXT)).all()
        assert (np.diff(beside.row_start, axis=1) >= 0).all()


def test_a_model_has_the_same_loss_on_packs_side_by_side(packs):
    shape = Model(layers=2, width=32, heads=2, kv_heads=1, head_dim=16, hidden=48, context=CONTEXT)
    model = Decoder(shape, 261).initialize(torch.Generator().manual_seed(0))
    rows = Rows(*packs.rows(np.arange(len(packs))))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
        losses = [model(*some.to(torch.device("cpu"))) for some in (rows, side_by_side(rows, 80))]
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-6)


def test_text_comes_as_in_pretraining_and_counts_whole(packs, text):
    stream = mixed(packs, text, 0.5)
    documents = [text.document(i).tolist() for i in range(9)]
    for step in range(stream.steps):
        said, read = parts(stream, step)
        assert (read.targets >= 0).all()
        assert np.array_equal(read.tokens[:, 1:], read.targets[:, :-1])
        assert stream.targets(step) == (said.targets >= 0).sum() + read.targets.size
        for tokens, start in zip(read.tokens.tolist(), read.row_start.tolist(), strict=True):
            first = start.count(0)  # the first piece begins anywhere in its document
            assert any(
                tokens[:first] == document[at : at + first]
                for document in documents
                for at in range(len(document))
            )


@pytest.mark.parametrize("world", [2, 3, 7])
def test_processes_share_the_rows_of_a_step(packs, text, world):
    stream = mixed(packs, text, 0.5)
    for step in range(stream.steps):
        complete = stream.rows(step)
        shares = [stream.rows(step, rank, world) for rank in range(world)]
        for name in ("tokens", "targets", "row_start"):
            joined = np.concatenate([getattr(one, name) for one in shares])
            assert np.array_equal(joined, getattr(complete, name))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_step_follows_from_seed_and_number_alone(packs, text):
    forwards, other = mixed(packs, text, 0.5), mixed(packs, text, 0.5, seed=4)
    for step in reversed(range(forwards.steps)):
        again = mixed(packs, text, 0.5).rows(step)
        assert np.array_equal(forwards.rows(step).tokens, again.tokens)
    assert not np.array_equal(parts(forwards, 0)[1].tokens, parts(other, 0)[1].tokens)


def test_a_step_is_divided_by_its_own_targets(packs, text):
    stream = mixed(packs, text, 0.3)
    for step in range(stream.steps):
        assert stream.targets(step) == (stream.rows(step).targets >= 0).sum()


def test_a_text_of_less_than_a_row_is_refused(text):
    check_text(text, text.meta.tokens)
    with pytest.raises(UserError, match=r"text\.bin: .* less than a row of .* sft\.mix: 0"):
        check_text(text, text.meta.tokens + 1)
