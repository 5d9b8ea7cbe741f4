"""What `size` sets, what keys by hand change of it, and what it can't stand beside."""

import pytest

from snakelm.config import Model, from_mapping
from snakelm.config.dial import multiplied, size_line
from snakelm.errors import UserError
from snakelm.model import model_size


def test_size_4_is_the_default_run():
    sized = from_mapping({"size": 4})
    assert sized.model_copy(update={"size": None}) == from_mapping({})


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 16, 24, 33, 64])
def test_every_size_can_be_trained_and_grows(size):
    model, train = (config := from_mapping({"size": size})).model, config.train
    vocabulary = config.tokenizer.vocab_size
    assert (model.width, model.heads, model.kv_heads) == (64 * size, size, size)
    assert vocabulary <= 65_535

    rows = train.batch_tokens // model.context
    assert rows & (rows - 1) == 0, "a power of two of rows"
    tokens = train.steps * train.batch_tokens
    default = from_mapping({})
    share = multiplied(model, vocabulary) / multiplied(default.model, 8192)
    assert tokens == pytest.approx(share * 1800 * 2048, rel=0.01)
    shorter = (default.train.steps / train.steps) ** (1 / 3)
    assert train.lr == pytest.approx(default.train.lr * shorter, rel=0.01), "whatever the width"
    assert train.head_lr == pytest.approx(0.002 * 256 / model.width)


def test_parameters_that_are_multiplied_are_those_of_the_decoder():
    model = Model(layers=3, width=192, heads=6, kv_heads=2, head_dim=32, hidden=500)
    size = model_size(model, 1000)
    assert multiplied(model, 1000) == size.matrices + size.head


def test_keys_by_hand_win_and_the_rest_follows_them():
    own = {"size": 3, "model": {"layers": 4}, "train": {"lr": 0.1}}
    sized, plain = from_mapping(own), from_mapping({"size": 3})
    assert (sized.model.layers, sized.train.lr) == (4, 0.1)
    assert sized.model.width == plain.model.width
    assert sized.train.steps > plain.train.steps, "more parameters, more tokens"
    assert size_line(own, sized).endswith("; by hand: model.layers, train.lr")
    assert "by hand" not in size_line({"size": 3}, plain)


def test_a_vocabulary_from_a_file_is_as_large_as_it_is(tmp_path):
    ranks = tmp_path / "x.tiktoken"
    ranks.write_text("".join(f"QQ== {rank}\n" for rank in range(20_000)))
    own = {"size": 3, "tokenizer": {"kind": "tiktoken", "file": str(ranks)}}
    sized, trained = (
        from_mapping(own),
        from_mapping({"size": 3, "tokenizer": {"vocab_size": 20_005}}),
    )
    assert sized.train == trained.train
    assert ", 20,005 tokens, " in size_line(own, sized)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({"model": {"width": 200}}, {"hidden": 400, "heads": 3}),
        ({"model": {"heads": 6, "head_dim": 32}}, {"kv_heads": 6, "width": 192}),
    ],
)
def test_a_shape_by_hand_is_completed(own, expected):
    model = from_mapping({"size": 3, **own}).model
    assert {key: getattr(model, key) for key in expected} == expected


@pytest.mark.parametrize(
    "own",
    [
        {"train": {"start": "random"}},
        {"model": {"tie_embeddings": True, "embedding_norm": False}},
    ],
    ids=lambda own: next(iter(own)),
)
def test_a_random_start_takes_the_rates_of_one(own):
    train = from_mapping({"size": 2, **own}).train
    assert (train.embedding_lr, train.head_lr) == (0.4, 0.02)


def test_the_batch_has_a_row_for_each_process_and_whole_rows():
    eight = from_mapping({"size": 1, "train": {"processes": 8}})
    assert eight.train.batch_tokens == 8 * 1024
    odd = from_mapping({"size": 3, "model": {"context": 768}})
    assert odd.train.batch_tokens % 768 == 0
    steps = from_mapping({"size": 4, "train": {"steps": 225}}).train
    assert (steps.warmup, steps.eval_every, steps.batch_tokens) == (2, 25, 2048)
    assert steps.lr == 2 * from_mapping({}).train.lr, "an eighth of the steps"
    assert from_mapping({"size": 4, "train": {"batch_tokens": 4096}}).train.steps == 900


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"size": 0}, r"size: found 0, allowed is a whole number at least 1 and at most 64"),
        ({"size": 65}, "size: found 65"),
        ({"size": 2.5}, "size: found 2.5"),
        ({"size": 3, "preset": "smoke"}, "size: 3 beside preset smoke"),
        ({"size": 3, "train": {"base": "x"}}, "size: 3 beside train.base x"),
        ({"size": 3, "model": {"kv_heads": 2}}, "2 does not divide model.heads 3"),
        ({"size": 3, "train": {"batch_tokens": 1000}}, "no multiple of model.context"),
        ({"size": 3, "model": 5}, "model: found 5"),
        ({"size": 3, "train": {"stepps": 5}}, "train.stepps"),
    ],
)
def test_what_contradicts_the_size_is_said(own, said):
    with pytest.raises(UserError, match=said):
        from_mapping(own)
