"""The network: shapes, causality, documents that don't see each other, closed-form sizes."""

import pytest
import torch

from snakelm.config import Model
from snakelm.model import Decoder, generate, model_size
from snakelm.training import lora

TINY = Model(layers=2, width=32, heads=4, kv_heads=2, head_dim=8, hidden=48, context=16)
SHAPES = {
    "grouped": TINY,
    "tied": TINY.model_copy(update={"tie_embeddings": True, "embedding_norm": False}),
    "llama": TINY.model_copy(update={"qk_norm": False, "kv_heads": 4}),
    "wide_heads": TINY.model_copy(update={"head_dim": 16, "kv_heads": 1}),
}
VOCAB = 61


def decoder(model: Model = TINY, seed: int = 0) -> Decoder:
    """A decoder whose residual outputs aren't zero, so that every weight has a say."""
    made = Decoder(model, VOCAB).initialize(torch.Generator().manual_seed(seed))
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    return made


def tokens(rows: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, VOCAB, (rows, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("model", SHAPES.values(), ids=SHAPES)
def test_sizes_are_the_modules(model):
    made = Decoder(model, VOCAB)
    size = model_size(model, VOCAB)
    assert size.total == sum(p.numel() for p in made.parameters())
    assert size.matrices == sum(
        p.numel() for n, p in made.named_parameters() if n.startswith("layers.") and p.ndim == 2
    )
    assert size.gains == sum(p.numel() for p in made.parameters() if p.ndim == 1)


def test_flops_of_products_are_what_torch_counts():
    from torch.utils.flop_counter import FlopCounterMode

    made = decoder().requires_grad_()
    made.attention_backend = "sdpa"
    with FlopCounterMode(display=False) as counter:
        made(tokens(2, 16)).sum().backward()
    products = counter.get_flop_counts()["Global"]
    counted = sum(v for op, v in products.items() if op is torch.ops.aten.mm)
    seen = (TINY.context + 1) / 2
    attention = TINY.layers * 12 * TINY.heads * TINY.head_dim * seen
    assert counted == 2 * 16 * (model_size(TINY, VOCAB).flops_per_token - attention)


@pytest.mark.parametrize("model", SHAPES.values(), ids=SHAPES)
def test_no_position_sees_what_comes_after_it(model):
    made = decoder(model)
    x = tokens(1, 16)
    changed = x.clone()
    changed[0, 9:] = (changed[0, 9:] + 1) % VOCAB
    torch.testing.assert_close(made(x)[:, :9], made(changed)[:, :9])
    assert not torch.allclose(made(x)[:, 9:], made(changed)[:, 9:])


def test_packed_documents_score_like_separate_ones():
    made, (a, b) = decoder(), (tokens(1, 7, 1), tokens(1, 9, 2))
    row_start = torch.tensor([[0] * 7 + [7] * 9], dtype=torch.int32)
    packed = made(torch.cat([a, b], dim=1), row_start)
    torch.testing.assert_close(packed, torch.cat([made(a), made(b)], dim=1), atol=1e-4, rtol=1e-4)


def loss_and_gradients(made, forward=None):
    """Of packed documents, some of whose tokens don't count."""
    row_start = torch.tensor([[0] * 7 + [7] * 9] * 2, dtype=torch.int32)
    targets = tokens(2, 16, 1).masked_fill(tokens(2, 16, 2) < 9, -100)
    loss = (made if forward is None else forward)(tokens(2, 16), row_start, targets)
    made.zero_grad()
    loss.backward()
    return [loss.detach(), *(p.grad for p in made.parameters() if p.grad is not None)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("kind", [*SHAPES, "low rank"])
def test_blocks_that_are_computed_again_give_the_same_bits(kind, dtype):
    made = decoder(SHAPES.get(kind, TINY))
    made.compute_dtype = dtype
    if kind == "low rank":
        lora.adapt(made, 2, 4.0, torch.Generator().manual_seed(0))
    kept = loss_and_gradients(made)
    made.checkpoint_blocks = True
    again = loss_and_gradients(made)
    assert len(kept) == len(again) > 1
    assert all(map(torch.equal, kept, again))

    # A block with hooks runs by its own code, whose last digits may be others in float32.
    calls = []
    for layer in made.layers:
        layer.attention.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    loss_and_gradients(made)
    assert len(calls) == 2 * TINY.layers, "forward, and once more on the way back"
    with torch.no_grad():
        made(tokens(1, 4))
    assert len(calls) == 3 * TINY.layers, "an evaluation keeps nothing anyway"


def test_blocks_that_are_computed_again_keep_what_goes_into_them(monkeypatch):
    def kept_bytes(made):
        sizes = {}

        def pack(x):
            sizes[x.data_ptr()] = x.untyped_storage().nbytes()
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            made.hidden(tokens(2, 16))
        return sum(sizes.values())

    made = decoder(TINY.model_copy(update={"layers": 12}))
    everything = kept_bytes(made)
    made.checkpoint_blocks = True
    assert kept_bytes(made) < everything / 3


def test_blocks_are_computed_again_under_compilation_too():
    made = decoder(TINY.model_copy(update={"layers": 1}))
    kept = loss_and_gradients(made)
    made.checkpoint_blocks = True
    again = loss_and_gradients(made, torch.compile(made, fullgraph=True, backend="aot_eager"))
    for a, b in zip(kept, again, strict=True):
        torch.testing.assert_close(a, b)


def test_loss_is_the_summed_cross_entropy_of_the_logits():
    made, x, y = decoder(), tokens(2, 16), tokens(2, 16, 1)
    y[0, 3] = -100
    expected = torch.nn.functional.cross_entropy(
        made(x).flatten(0, 1), y.flatten(), reduction="sum"
    )
    torch.testing.assert_close(made(x, None, y), expected)


def test_fresh_model_starts_at_the_uniform_loss_with_empty_residual_outputs():
    made = Decoder(TINY, VOCAB).initialize(torch.Generator().manual_seed(0))
    loss = made(tokens(2, 16), None, tokens(2, 16, 1)) / 32
    assert loss.item() == pytest.approx(torch.tensor(VOCAB).log().item(), abs=0.01)
    assert all(not w.any() for n, w in made.named_parameters() if n.endswith((".o", ".down")))


def test_generation_is_seeded_and_stops():
    made = decoder()
    first = generate(made, [1, 2], 20, seed=3)
    assert first == generate(made, [1, 2], 20, seed=3)
    assert first != generate(made, [1, 2], 20, seed=4)
    assert generate(made, [1, 2], 20, seed=3, stop=first[4]) == first[: first.index(first[4])]


def test_greedy_generation_takes_the_likeliest_token():
    made = decoder()
    (token,) = generate(made, [5, 6, 7], 1, temperature=0)
    assert token == int(made(torch.tensor([[5, 6, 7]]))[0, -1].argmax())


def test_top_k_of_one_is_greedy():
    made = decoder()
    assert generate(made, [5], 10, top_k=1) == generate(made, [5], 10, temperature=0)
