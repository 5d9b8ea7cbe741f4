"""Preferences in packs score as each answer by itself, and a step's loss doesn't depend on what
shares a row, a micro-batch or a process.
"""

import numpy as np
import pytest
import torch

from snakelm.config import Model, Preferences
from snakelm.data.bins import Meta
from snakelm.data.conversations.chat_template import render_batch
from snakelm.data.packs import best_fit
from snakelm.data.preference_packs import PreferenceWriter, lay_pairs, open_preferences
from snakelm.model import Decoder
from snakelm.model.decoder import rotary_table
from snakelm.training.preference_batches import (
    OtherPrompts,
    PreferenceBatches,
    Scores,
    answer_log_probs,
    unit_rows,
)
from snakelm.training.preference_losses import loss_of

CONTEXT, COUNT = 40, 11
CPU = torch.device("cpu")


def talks(paired):
    """Conversations: pairs that fit a row together, and some that don't; or single answers."""
    made = []
    for i in range(COUNT):
        question = {"role": "user", "content": f"{i} and {'x' * (i % 5)}?"}
        sides = ["yes" * (1 + i % 3), "no" * (1 + 7 * (i % 4 == 3))]
        for answer in sides if paired else sides[i % 2 :][:1]:
            made.append([question, {"role": "assistant", "content": answer}])
    return made


@pytest.fixture
def make_data(tmp_path, bytes_and_chat):
    def make(paired=True):
        ids, mask, starts = render_batch(talks(paired), bytes_and_chat)
        lengths = np.diff(starts)
        if paired:
            order, bounds = lay_pairs(lengths.reshape(-1, 2), CONTEXT)
            order = (2 * order[:, None] + [0, 1]).ravel()
            wanted = np.tile([True, False], COUNT)
        else:
            order, bounds = best_fit(lengths, CONTEXT)
            wanted = (np.arange(COUNT) % 2 == 0)[order]
        path = tmp_path / f"{paired}.bin"
        meta = Meta("uint16", bytes_and_chat.vocab_size, bytes_and_chat.eot, bytes_and_chat.sha256)
        with PreferenceWriter(path, meta, CONTEXT, bounds, wanted, paired=paired) as writer:
            for i in order:
                own = slice(starts[i], starts[i + 1])
                number = np.array([i], np.uint64)
                writer.append_masked(ids[own], mask[own], lengths[i : i + 1], number, 1)
        return open_preferences(path, bytes_and_chat.sha256)

    return make


@pytest.fixture
def model(bytes_and_chat):
    shape = Model(layers=2, width=32, heads=2, kv_heads=1, head_dim=16, hidden=48, context=CONTEXT)
    made = Decoder(shape, bytes_and_chat.vocab_size).initialize(torch.Generator().manual_seed(1))
    with torch.no_grad():
        for weight in made.parameters():  # nothing is zero, so that everything counts
            weight += 0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(2))
    made = made.double()
    made.compute_dtype, made.attention_backend = torch.float64, "reference"
    made.cos, made.sin = rotary_table(CONTEXT, 16, shape.rope_base, torch.float64)
    return made


def alone(model, ids, prompt):
    """Log-probability of ids[prompt:] after ids[:prompt], in one row of its own."""
    x = torch.from_numpy(np.asarray(ids, np.int64))[None]
    log_probs = model(x[:, :-1]).log_softmax(-1)[0]
    return log_probs[torch.arange(prompt - 1, x.shape[1] - 1), x[0, prompt:]].sum()


def answers_alone(model, data):
    offsets, found = data.packs.document_offsets, []
    for i, length in enumerate(data.answer_lengths.tolist()):
        ids = data.packs.tokens[offsets[i] : offsets[i + 1]]
        found.append(alone(model, ids, ids.size - length))
    return torch.stack(found)


@pytest.mark.parametrize("paired", [True, False], ids=["pairs", "labelled"])
def test_packed_answers_score_as_each_by_itself(make_data, model, paired):
    data = make_data(paired)
    assert len(data.packs) < data.wanted.size, "some share a row"
    given, conversations = unit_rows(data, np.arange(data.unit_packs.size - 1))
    assert conversations.tolist() == list(range(data.wanted.size))
    got = answer_log_probs(model, given, CPU)
    torch.testing.assert_close(got, answers_alone(model, data), rtol=1e-10, atol=1e-10)


def test_long_pairs_have_two_rows_and_stay_together(make_data):
    data = make_data()
    rows = np.diff(data.unit_packs)
    assert set(rows.tolist()) == {1, 2}
    assert (data.unit_conversations % 2 == 0).all()
    assert np.diff(data.unit_conversations)[rows == 2].tolist() == [2] * int((rows == 2).sum())


def test_answers_to_other_prompts_score_as_each_by_itself(make_data, model):
    data = make_data(False)
    others, offsets = OtherPrompts(data), data.packs.document_offsets
    given, numbers = others.rows(np.arange(COUNT))
    assert sorted(numbers.tolist()) == np.flatnonzero(others.partners >= 0).tolist()
    assert numbers.size > COUNT // 2
    expected = []
    for i in numbers.tolist():
        partner, prompt = others.partners[i], int(others.prompts[i])
        assert partner != i
        end = offsets[partner + 1]
        answer = data.packs.tokens[end - data.answer_lengths[partner] : end]
        ids = np.concatenate([data.packs.tokens[offsets[i] : offsets[i] + prompt], answer])
        expected.append(alone(model, ids, prompt))
    got = answer_log_probs(model, given, CPU)
    torch.testing.assert_close(got, torch.stack(expected), rtol=1e-10, atol=1e-10)


def step_of(data, loss, model, micro_batch, world):
    """Loss and gradients of one step over everything, as the loop adds them up."""
    batches = PreferenceBatches(data, loss, data.unit_packs.size - 1, 1.0, seed=5)
    generator = np.random.default_rng(0)
    batches.reference = Scores(*generator.normal(-30, 4, (2, data.wanted.size)).astype(np.float32))
    model.zero_grad()
    total = 0.0
    for rank in range(world):
        rows = batches.rows(0, rank, world)
        loss_of_part = rows.losses(model, CPU)
        for first in range(0, len(rows), micro_batch):
            lost = loss_of_part(first, first + micro_batch) / batches.targets(0)
            lost.backward()
            total += lost.item()
    return total, [p.grad.clone() for p in model.parameters()], batches


@pytest.mark.parametrize("loss", ["dpo", "kto"])
def test_a_step_is_the_mean_over_its_pairs_whatever_shares_a_row(make_data, model, loss):
    data, chosen = make_data(loss == "dpo"), loss_of(Preferences(loss=loss))
    total, gradients, batches = step_of(data, chosen, model, micro_batch=1000, world=1)

    # By the formula, from each answer by itself.
    model.zero_grad()
    reference = torch.from_numpy(batches.reference.answers).double()
    drift = torch.zeros(())
    if batches.others:
        given, of = batches.others.rows(np.arange(data.wanted.size))
        found = answer_log_probs(model, given, CPU).detach()
        drift = (found - torch.from_numpy(batches.reference.others[of])).mean()
    ratios = answers_alone(model, data) - reference
    expected = chosen.losses(ratios, torch.from_numpy(data.wanted), drift).mean()
    expected.backward()
    assert batches.targets(0) == data.count
    assert total == pytest.approx(expected.item(), rel=1e-9)
    for got, p in zip(gradients, model.parameters(), strict=True):
        torch.testing.assert_close(got, p.grad, rtol=1e-7, atol=1e-10)

    for micro_batch, world in ((1, 1), (3, 2), (1000, 5)):
        again, others, _ = step_of(data, chosen, model, micro_batch, world)
        assert again == pytest.approx(total, rel=1e-9)
        for got, same in zip(others, gradients, strict=True):
            torch.testing.assert_close(got, same, rtol=1e-7, atol=1e-10)


def test_a_run_sees_every_pair_as_often_as_it_says(make_data):
    data = make_data()
    batches = PreferenceBatches(data, loss_of(Preferences()), 3, 2.0, seed=0)
    seen = np.concatenate([batches.chosen(step) for step in range(batches.steps)])
    assert np.bincount(seen).tolist() == [2] * (data.unit_packs.size - 1)
    assert batches.tokens(batches.steps) == 2 * data.packs.meta.tokens
    assert sum(batches.targets(step) for step in range(batches.steps)) == 2 * COUNT
