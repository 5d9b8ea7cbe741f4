"""The heads that copy: what they attend to before the first step, what that is worth, and where
they fit.
"""

import numpy as np
import pytest
import torch

from snakelm.config import Model, Train
from snakelm.data.bins import BinWriter, Meta, open_bin
from snakelm.errors import UserError
from snakelm.model import Decoder
from snakelm.training import induction_init
from snakelm.training.initial_weights import set_initial_weights

VOCAB = 200
SHAPE = Model(layers=2, width=128, heads=2, kv_heads=2, head_dim=64, hidden=128, context=256)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    """Text in which a token follows from the last one half of the time."""
    generator, ids = np.random.default_rng(0), [0]
    for _ in range(50_000):
        follows = generator.random() < 0.5
        ids.append((ids[-1] * 7 + 3) % VOCAB if follows else int(generator.integers(VOCAB)))
    file = tmp_path_factory.mktemp("text") / "train.bin"
    with BinWriter(file, Meta("uint16", VOCAB, VOCAB - 1, "ab" * 32)) as writer:
        writer.append(np.array(ids), np.array([len(ids)]), np.array([0], np.uint64), len(ids))
    return open_bin(file)


def started(tokens, shape=SHAPE, **training) -> Decoder:
    model = Decoder(shape, VOCAB)
    generator = torch.Generator().manual_seed(0)
    set_initial_weights(model, Train(**training), tokens, generator, torch.float32)
    return model


def repeated(rows: int, length: int, seed: int = 0) -> torch.Tensor:
    """Rows of random tokens, no token twice, said two times over."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.stack([torch.randperm(VOCAB, generator=generator)[:length] for _ in range(rows)])
    return drawn.repeat(1, 2)


def second_time(ids_BT: torch.Tensor) -> torch.Tensor:
    """Targets of the second time only."""
    targets_BT = ids_BT[:, 1:].clone()
    targets_BT[:, : ids_BT.shape[1] // 2 - 1] = -100
    return targets_BT


@torch.no_grad()
def attended(model: Decoder, layer: int, ids_BT: torch.Tensor) -> torch.Tensor:
    """Weights of the layer's first head, [B, T, T]."""
    seen = {}
    attention = model.layers[layer].attention
    hook = attention.register_forward_pre_hook(lambda _, given: seen.update(given=given))
    model.hidden(ids_BT)
    hook.remove()

    x_BTC, _, cos, sin, _ = seen["given"]
    q_BTHD, k_BTKD, _ = attention.project(x_BTC, cos, sin)
    score_BTT = q_BTHD[:, :, 0] @ k_BTKD[:, :, 0].transpose(1, 2) / SHAPE.head_dim**0.5
    length = ids_BT.shape[1]
    later = torch.ones(length, length, dtype=torch.bool).triu(1)
    return score_BTT.masked_fill(later, -torch.inf).softmax(dim=-1)


def test_the_first_layers_head_attends_to_the_previous_token(tokens):
    weight_BTT = attended(started(tokens), 0, repeated(4, 100))
    most_BT = weight_BTT[:, 1:].argmax(dim=-1)
    assert (most_BT == torch.arange(199)).all()


def test_the_second_layers_head_attends_to_what_followed_the_last_time(tokens):
    weight_BTT = attended(started(tokens), 1, repeated(4, 100))
    most_BT = weight_BTT[:, 100:199].argmax(dim=-1)
    assert (most_BT == torch.arange(1, 100)).float().mean() > 0.95


def test_nothing_stands_in_the_room_and_nothing_is_read_from_it(tokens):
    model, room = started(tokens), induction_init.room_of(SHAPE)
    assert not model.embedding[:, -room:].any()
    assert not model.head[:, -room:].any()
    assert not model.layers[1].attention.o.any()


def test_bigrams_are_known_as_without_them(tokens):
    ids = torch.from_numpy(tokens.tokens[:2049].astype(np.int64))
    given = ids[:-1].view(-1, 256), None, ids[1:].view(-1, 256)
    with torch.no_grad():
        ways = ("induction", "bigrams")
        copying, plain = (started(tokens, start=one)(*given).item() for one in ways)
    assert copying < 1.1 * plain, "what stands in the room makes the rest a little shorter"


def test_copying_is_learned_in_fewer_steps(tokens):
    def after_training(start: str) -> float:
        model = started(tokens, start=start)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for step in range(24):
            ids_BT = repeated(4, 32, seed=step + 1)
            loss = model(ids_BT[:, :-1], None, second_time(ids_BT)) / (4 * 32)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return loss.item()

    assert after_training("induction") < 0.5 * after_training("bigrams")


def test_the_same_seed_gives_the_same_weights(tokens):
    ours, again = started(tokens).state_dict(), started(tokens).state_dict()
    assert all(torch.equal(ours[name], again[name]) for name in ours)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"layers": 3}, True),
        ({"heads": 4, "kv_heads": 2, "head_dim": 32}, True),
        ({"rope_base": 1e6}, True),
        ({"layers": 1}, False),
        ({"kv_heads": 1}, False),
        ({"qk_norm": False}, False),
        ({"head_dim": 16}, False),
        ({"width": 64}, False),
        ({"rope_base": 50.0}, False),
    ],
    ids=str,
)
def test_where_they_fit(tokens, changes, expected):
    shape = SHAPE.model_copy(update=changes)
    assert induction_init.applies(shape) is expected
    if expected:
        assert started(tokens, shape).layers[0].attention.o.any()
        return
    assert not started(tokens, shape).layers[0].attention.o.any(), "auto starts from bigrams alone"
    with pytest.raises(UserError, match=r"train\.start: induction needs two layers or more"):
        started(tokens, shape, start="induction")


def test_without_bigrams_there_are_none(tokens):
    tied = SHAPE.model_copy(update={"tie_embeddings": True})
    assert not started(tokens, tied).layers[0].attention.o.any()
    with pytest.raises(UserError, match=r"train\.start: induction needs an untied head"):
        started(tokens, tied, start="induction")
