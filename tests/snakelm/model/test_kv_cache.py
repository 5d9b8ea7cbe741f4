"""The cache: the ids that come without it, for every shape, past the context, and whatever was read
before.
"""

import pytest
import torch

from snakelm.config import Model
from snakelm.model import Cache, Decoder
from snakelm.model.generate import stream

CONTEXT = 24
TINY = Model(layers=3, width=32, heads=4, kv_heads=2, head_dim=8, hidden=48, context=CONTEXT)
SHAPES = {
    "grouped": TINY,
    "one_key_head": TINY.model_copy(update={"kv_heads": 1}),
    "all_heads": TINY.model_copy(update={"kv_heads": 4}),
    "llama": TINY.model_copy(update={"qk_norm": False}),
    "tied": TINY.model_copy(update={"tie_embeddings": True, "embedding_norm": False}),
}
SAMPLING = {
    "greedy": {"temperature": 0},
    "top_k": {"temperature": 1.0, "top_k": 20},
    "top_p": {"temperature": 1.0, "top_k": None, "top_p": 0.8},
}
VOCAB = 61


def decoder(shape=TINY, dtype=torch.float32):
    """All weights drawn, so that every one has a say."""
    made = Decoder(shape, VOCAB, dtype).initialize(torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.2 * torch.randn(weight.shape, generator=generator))
    return made.eval()


def ids(length, seed=0):
    return torch.randint(
        0, VOCAB, (length,), generator=torch.Generator().manual_seed(seed)
    ).tolist()


@pytest.mark.parametrize("sampling", SAMPLING.values(), ids=SAMPLING)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_stream_is_the_same_with_and_without_far_past_the_context(shape, sampling):
    model = decoder(shape)
    for length in (1, 7, CONTEXT - 1, CONTEXT, CONTEXT + 9):
        without = list(stream(model, ids(length), 2 * CONTEXT, seed=length, **sampling))
        assert (
            list(
                stream(model, ids(length), 2 * CONTEXT, seed=length, cache=Cache(model), **sampling)
            )
            == without
        )
        assert len(set(without)) > 1


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_last_state_is_the_models(shape):
    model, cache, window = decoder(shape), Cache(decoder(shape)), ids(CONTEXT)
    for length in (5, 6, 6, 14, CONTEXT, 3):  # read on by one, by none, by many, and back
        expected = model.hidden(torch.tensor([window[:length]]))[0, -1]
        torch.testing.assert_close(
            cache.last_hidden(window[:length]), expected, atol=1e-5, rtol=1e-5
        )


def test_what_was_read_before_never_shows():
    model = decoder()
    cache = Cache(model)
    for seed in range(30):
        some = [
            *ids(10)[: seed % 11],
            *ids(1 + seed % 7, seed),
        ]  # beginnings in common, of every length
        assert list(stream(model, some, 9, temperature=0, cache=cache)) == list(
            stream(model, some, 9, temperature=0)
        )


def test_only_new_positions_are_computed(monkeypatch):
    model, widths = decoder(), []
    cache, embed = Cache(model), model.embed
    monkeypatch.setattr(
        model, "embed", lambda tokens: widths.append(tokens.shape[1]) or embed(tokens)
    )
    list(stream(model, ids(10), 5, temperature=0, cache=cache))
    assert widths == [10, 1, 1, 1, 1]
    widths.clear()
    list(stream(model, [*ids(10), 1, 2, 3], 1, temperature=0, cache=cache))
    assert widths[0] <= 3


def test_an_interruption_leaves_nothing_half_read(monkeypatch):
    model = decoder()
    cache = Cache(model)
    cache.last_hidden(ids(8))
    with monkeypatch.context() as broken:
        broken.setattr(
            model.layers[1].mlp, "forward", lambda x: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            cache.last_hidden([*ids(4), *ids(9, 1)])
    window = [*ids(8), 5]  # what it had read before, and one more
    torch.testing.assert_close(
        cache.last_hidden(window), model.hidden(torch.tensor([window]))[0, -1], atol=1e-5, rtol=1e-5
    )


def test_a_model_in_bfloat16_keeps_it():
    model = decoder(dtype=torch.bfloat16)
    cache = Cache(model)
    for length in (4, 5, 12):
        expected = model.hidden(torch.tensor([ids(length)]))[0, -1]
        found = cache.last_hidden(ids(length))
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found, expected, atol=0.1, rtol=0.1)
