"""Packing changes nothing: a pack's loss and every gradient are those of its conversations taken
alone.

In float64 with the reference attention to 1e-10, relative to the largest value of each gradient;
with the kernels within the rounding of their dtype, which is that of sums in another order.
"""

import numpy as np
import pytest
import torch

from snakelm.config import Model
from snakelm.data.conversations.formats import messages_of
from snakelm.data.conversations.trees import Trees
from snakelm.model import Decoder
from snakelm.model.decoder import rotary_table
from snakelm.training.batches import Rows

CONTEXT = 192
TINY = Model(layers=2, width=32, heads=4, kv_heads=2, head_dim=8, hidden=48, context=CONTEXT)
VOCAB = 261  # bytes_and_chat

# A file of each format of instruction data, as its rows; what they say differs in length and in
# number of turns.
HI = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello. What is it?"}]
ROWS = {
    "messages": [
        {"messages": [{"role": "system", "content": "Be brief."}, *HI]},
        {
            "messages": [
                *HI,
                {"role": "user", "content": "A list?"},
                {"role": "assistant", "content": "[1, 2]"},
            ]
        },
    ],
    "parts": [
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "É"}]},
                {"role": "assistant", "content": "E"},
            ]
        },
        {"messages": HI},
    ],
    "sharegpt": [
        {
            "conversations": [
                {"from": "human", "value": "What is 2 + 2?"},
                {"from": "gpt", "value": "Four."},
            ]
        },
        {
            "conversations": [
                {"from": "human", "value": "x" * 60},
                {"from": "gpt", "value": "y" * 50},
            ]
        },
    ],
    "alpaca": [
        {"instruction": "Add.", "input": "2 and 3", "output": "5"},
        {"instruction": "Name a river.", "input": "", "output": "The Rhine."},
    ],
    "dolly": [
        {"instruction": "Which?", "context": "Como is a lake.", "response": "Como."},
        {"instruction": "a", "context": None, "response": "b"},
    ],
    "orca": [
        {"system_prompt": "Be exact.", "question": "1/3?", "response": "One third."},
        {"system_prompt": "", "question": "Is 7 prime?", "response": "Yes."},
    ],
    "qa": [{"question": str(i), "answer": str(i * i)} for i in range(9)],
    "prompt": [
        {"prompt": "Once", "completion": " upon a time"},
        {"prompt": HI[:1], "completion": HI[1:]},
    ],
}
TREE = [
    {"message_id": "a", "parent_id": None, "role": "prompter", "text": "Hi"},
    {"message_id": "b", "parent_id": "a", "role": "assistant", "text": "worse", "rank": 1},
    {"message_id": "c", "parent_id": "a", "role": "assistant", "text": "better", "rank": 0},
    {"message_id": "d", "parent_id": None, "role": "prompter", "text": "And you?"},
    {"message_id": "e", "parent_id": "d", "role": "assistant", "text": "Well."},
]


def conversations_of(name):
    """As prepare_sft_data reads them."""
    if name == "oasst":
        trees = Trees()
        for row in TREE:
            trees.add(row)
        return list(trees.conversations())
    return [messages_of(row) for row in ROWS[name]]


@pytest.fixture(params=[*ROWS, "oasst"])
def packs(request, make_packs):
    """The conversations of a format, packed into rows of CONTEXT; at least two share a row."""
    packs = make_packs(conversations_of(request.param), CONTEXT)
    assert len(packs) < packs.meta.documents
    return packs


def make_model(dtype=torch.float64, compute=None, backend="reference"):
    generator = torch.Generator().manual_seed(0)
    model = Decoder(TINY, VOCAB).initialize(generator)
    # Residual outputs start at zero, through which no gradient would tell anything.
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=generator))
    model.compute_dtype, model.attention_backend = compute or dtype, backend
    model.to(dtype)
    # Rotation depends on distances alone only as exactly as its table is: of float32, gradients
    # would be 1e-7 off.
    model.cos, model.sin = rotary_table(CONTEXT, TINY.head_dim, TINY.rope_base, dtype)
    return model


def packed_rows(packs):
    return Rows(*packs.rows(np.arange(len(packs))))


def alone(packs):
    """Each conversation as a row of its own without padding: tokens, targets, no row_start. Not by
    Packs.rows.
    """
    for i in range(packs.meta.documents):
        first, last = packs.document_offsets[i : i + 2]
        ids = torch.from_numpy(packs.tokens[first:last].astype(np.int64))
        targets = torch.where(torch.from_numpy(packs.mask[first + 1 : last]), ids[1:], -100)
        yield ids[None, :-1], targets[None]


def loss_of(model, rows):
    x_BT, start_BT, y_BT = (
        torch.from_numpy(a) for a in (rows.tokens, rows.row_start, rows.targets)
    )
    return model(x_BT, start_BT, y_BT)


def gradients(model, losses):
    """The summed loss and a copy of every gradient."""
    model.zero_grad()
    total = 0.0
    for loss in losses:
        loss.backward()
        total += loss.item()
    return total, {name: p.grad.clone() for name, p in model.named_parameters()}


def worst_difference(model, packs):
    """Relative differences of the loss and, the largest, of a gradient."""
    packed = gradients(model, [loss_of(model, packed_rows(packs))])
    separate = gradients(model, [model(x, None, y) for x, y in alone(packs)])
    assert all(g.abs().max() > 0 for g in separate[1].values()), (
        "a gradient of nothing shows nothing"
    )
    apart = [
        float((g - packed[1][name]).abs().max() / g.abs().max()) for name, g in separate[1].items()
    ]
    return abs(packed[0] - separate[0]) / separate[0], max(apart)


def test_loss_and_every_gradient_in_float64(packs):
    loss, gradient = worst_difference(make_model(), packs)
    assert loss < 1e-10
    assert gradient < 1e-10


@pytest.mark.parametrize(
    ("compute", "backend", "tolerance"),
    [
        (torch.float32, "cpu", 1e-5),
        (torch.float32, "sdpa", 1e-5),
        (torch.bfloat16, "cpu", 0.06),
        (torch.bfloat16, "sdpa", 0.06),
    ],
    ids=["cpu-fp32", "sdpa-fp32", "cpu-bf16", "sdpa-bf16"],
)
def test_loss_and_every_gradient_with_the_kernels(packs, compute, backend, tolerance):
    loss, gradient = worst_difference(make_model(torch.float32, compute, backend), packs)
    assert loss < tolerance / 10
    assert gradient < tolerance


def test_without_row_start_they_differ(make_packs):
    """What the tests above would say of a pack whose conversations see each other."""
    packs, model = make_packs(conversations_of("sharegpt"), CONTEXT), make_model()
    rows = packed_rows(packs)
    leaking = Rows(rows.tokens, rows.targets, np.zeros_like(rows.row_start))
    assert abs(loss_of(model, leaking).item() / loss_of(model, rows).item() - 1) > 1e-3


def three_in_a_row(make_packs):
    packs = make_packs(conversations_of("qa")[:3], CONTEXT)
    rows = packed_rows(packs)
    bounds = packs.document_offsets
    assert len(rows) == 1
    return rows, [slice(*bounds[i : i + 2].tolist()) for i in range(3)]


F32, BF16, F64 = torch.float32, torch.bfloat16, torch.float64
POISONS = {"large": 1e4, "nan": float("nan"), "inf": float("inf")}
# reference and sdpa give what is masked a weight of zero, and zero times NaN is NaN: no NaN for
# them.
CASES = [
    *(
        (name, dtype, poison)
        for name, dtype in (("cpu", F32), ("cpu", BF16))
        for poison in ("other tokens", *POISONS)
    ),
    *(
        (name, dtype, poison)
        for name, dtype in (("reference", F64), ("sdpa", F32))
        for poison in ("other tokens", "large")
    ),
]


@pytest.mark.parametrize(
    ("backend", "dtype", "poison"),
    CASES,
    ids=lambda v: str(v).removeprefix("torch.").replace(" ", "_"),
)
def test_a_poisoned_neighbour_changes_no_logit(make_packs, monkeypatch, backend, dtype, poison):
    rows, places = three_in_a_row(make_packs)
    model = make_model(torch.float64 if dtype == torch.float64 else torch.float32, dtype, backend)
    tokens, start = torch.from_numpy(rows.tokens), torch.from_numpy(rows.row_start)
    with torch.no_grad():
        clean = model(tokens, start)
        for i, own in enumerate(places):
            poisoned_at = torch.ones(CONTEXT, dtype=torch.bool)
            poisoned_at[own] = False  # all others, and the padding
            other = (
                torch.where(poisoned_at, (tokens + 91) % 200, tokens)
                if poison == "other tokens"
                else tokens
            )
            embed = Decoder.embed
            value = POISONS.get(poison)

            def poisoned(self, tokens_BT, embed=embed, value=value, at=poisoned_at):
                x_BTC = embed(self, tokens_BT)
                return x_BTC if value is None else torch.where(at[None, :, None], value, x_BTC)

            monkeypatch.setattr(Decoder, "embed", poisoned)
            got = model(other, start)
            monkeypatch.undo()
            assert torch.equal(got[:, own], clean[:, own]), f"conversation {i}"
            assert not torch.equal(got[:, poisoned_at], clean[:, poisoned_at])


def test_only_answers_are_learned(make_packs, bytes_and_chat):
    """Targets are the assistant's words and its end tokens, said here without the mask's own
    code.
    """
    packs = make_packs(conversations_of("messages") + conversations_of("dolly"), CONTEXT)
    rows = packed_rows(packs)
    learned = [bytes_and_chat.decode(row[row >= 0]) for row in rows.targets]
    answers = ["Como.", "b", "Hello. What is it?", "Hello. What is it?", "[1, 2]"]
    assert sorted("".join(learned).split("<|end|>")) == sorted(["", *answers])


def test_a_user_s_words_as_targets_are_no_loss(make_packs):
    """The loss of a pack depends on what the user says as context, never as something to
    predict.
    """
    model, packs = make_model(), make_packs(conversations_of("messages"), CONTEXT)
    rows = packed_rows(packs)
    logits = model(torch.from_numpy(rows.tokens), torch.from_numpy(rows.row_start)).log_softmax(-1)[
        0
    ]
    ids = packs.tokens.astype(np.int64)
    by_hand = -sum(logits[t - 1, ids[t]] for t in range(1, len(ids)) if packs.mask[t])
    everything = -sum(logits[t - 1, ids[t]] for t in range(1, len(ids)))
    assert loss_of(model, rows).item() == pytest.approx(by_hand.item(), rel=1e-12)
    assert everything.item() > 1.5 * by_hand.item()


def test_a_row_without_answers_has_no_gradient_and_no_nan(make_packs):
    model, packs = make_model(), make_packs(conversations_of("sharegpt"), CONTEXT)
    rows = packed_rows(packs)
    nothing = Rows(rows.tokens, np.full_like(rows.targets, -100), rows.row_start)
    loss, found = gradients(model, [loss_of(model, nothing)])
    assert loss == 0.0
    assert all(torch.equal(g, torch.zeros_like(g)) for g in found.values())
