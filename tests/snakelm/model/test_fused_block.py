"""A block as one operator: the bits of its own code wherever it is taken, and its own code wherever
something is unusual.
"""

import contextlib
from typing import Any
from unittest import mock

import pytest
import torch

from pytorch_ext import library
from snakelm.config import Model
from snakelm.model import Decoder, decoder, fused_block
from snakelm.model.dropout import Dropout
from snakelm.training import lora

pytestmark = pytest.mark.skipif(not library.LOADED, reason="the operators are not compiled")

BF16 = torch.bfloat16
SHAPES = {
    "grouped": Model(layers=2, width=48, heads=4, kv_heads=2, head_dim=16, hidden=80, context=33),
    "one_head": Model(layers=1, width=32, heads=1, kv_heads=1, head_dim=6, hidden=17, context=8),
    "wide": Model(layers=2, width=64, heads=2, kv_heads=2, head_dim=64, hidden=64, context=130),
}
VOCAB = 61


def made(shape: Model = SHAPES["grouped"], dtype: torch.dtype = BF16) -> Decoder:
    """A decoder in which every weight has a say."""
    generator = torch.Generator().manual_seed(0)
    model = Decoder(shape, VOCAB, dtype).initialize(generator)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=generator)
    return model


def rows(model: Decoder, count: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tokens, starts of two documents a row, and targets."""
    generator = torch.Generator().manual_seed(1)
    shape = count, model.shape.context
    tokens, targets = (torch.randint(VOCAB, shape, generator=generator) for _ in range(2))
    starts = torch.zeros(shape, dtype=torch.int32)
    starts[:, 5:] = 5
    return tokens, starts, targets


def by_own_code() -> Any:
    """No block is fused."""
    return mock.patch.object(decoder, "fused_inputs", return_value=None)


def loss_and_gradients(model: Decoder, fused: bool = True) -> list[torch.Tensor]:
    for p in model.parameters():
        p.grad = None
    taken = mock.Mock(side_effect=decoder.fused)
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(decoder, "fused", taken))
        if not fused:
            stack.enter_context(by_own_code())
        loss = model(*rows(model))
        loss.backward()
    assert taken.called == fused
    return [loss.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]


def same_bits(ones: list[torch.Tensor], others: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(ones, others, strict=True))


@pytest.mark.parametrize("again", [False, True], ids=["kept", "checkpointed"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_values_and_gradients_are_those_of_the_blocks_own_code(shape, again):
    model = made(shape)
    expected = loss_and_gradients(model, fused=False)
    model.checkpoint_blocks = again
    assert same_bits(loss_and_gradients(model), expected)
    assert len(expected) == 1 + len(list(model.parameters()))


@pytest.fixture
def float32_pays(monkeypatch):
    """Whatever CPU this is."""
    monkeypatch.setattr(fused_block, "FLOAT32_PAYS", True)


@pytest.mark.usefixtures("float32_pays")
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_float32_is_that_of_the_blocks_own_code_but_for_rounding(shape):
    model = made(shape, torch.float32)
    expected, found = loss_and_gradients(model, fused=False), loss_and_gradients(model)
    exact = loss_and_gradients(made(shape, torch.float32).double(), fused=False)
    for one, other, true in zip(found, expected, exact, strict=True):
        error, others = (one - true).abs().max(), (other - true).abs().max()
        assert error <= 3 * others + 1e-6 * true.abs().max()
    model.checkpoint_blocks = True
    assert same_bits(loss_and_gradients(model), found)


@pytest.mark.usefixtures("float32_pays")
def test_second_derivatives_in_float32():
    found = []
    given = torch.randn(2, 9, 48, generator=torch.Generator().manual_seed(2))
    for own_way in (False, True):
        model, x = made(dtype=torch.float32), given.clone().requires_grad_()
        with by_own_code() if own_way else contextlib.nullcontext():
            outputs = stream(model, x)
        assert ("FusedBlock" in str(outputs[0].grad_fn)) != own_way
        wanted = x, model.layers[0].mlp.up, model.layers[1].attention.q
        firsts = torch.autograd.grad(sum(y.sum() for y in outputs), wanted, create_graph=True)
        length = sum(g.square().sum() for g in firsts)
        found.append([*firsts, *torch.autograd.grad(length, wanted)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * other.abs().max().item())


def test_float32_is_fused_only_where_that_is_known_to_pay(monkeypatch):
    monkeypatch.setattr(fused_block, "FLOAT32_PAYS", False)
    model = made(dtype=torch.float32)
    with mock.patch.object(decoder, "fused", side_effect=AssertionError):
        model(*rows(model)).backward()


def test_rows_without_documents_and_of_any_length():
    model = made()
    tokens, _, targets = rows(model)
    for length in (1, 2, 17):
        given = tokens[:, :length], None, targets[:, :length]
        loss = model(*given)
        with by_own_code():
            assert torch.equal(loss, model(*given))


def stream(model: Decoder, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both blocks on x, with something to add before the second."""
    length, shared = x.shape[1], None
    table = model.cos[:length], model.sin[:length]
    return model.layers[1](*model.layers[0](x, None, shared, *table, None), shared, *table, None)


def test_second_derivatives_are_those_of_the_blocks_own_code():
    model, found = made(), []
    given = torch.randn(2, 9, 48, generator=torch.Generator().manual_seed(2)).to(BF16)
    for own_way in (False, True):
        x = given.clone().requires_grad_()
        with by_own_code() if own_way else contextlib.nullcontext():
            outputs = stream(model, x)
        assert ("FusedBlock" in str(outputs[0].grad_fn)) != own_way
        wanted = x, model.layers[0].mlp.up, model.layers[1].attention.q_norm
        firsts = torch.autograd.grad(
            sum(y.float().sum() for y in outputs), wanted, create_graph=True
        )
        length = sum(g.float().square().sum() for g in firsts)
        found.append([*firsts, *torch.autograd.grad(length, wanted)])
    for one, other in zip(*found, strict=True):
        assert (one.double() - other.double()).abs().max() <= 0.03 * other.double().abs().max()


def test_an_output_that_nobody_used_has_no_gradient():
    for used in (0, 1):
        model, found = made(), []
        given = torch.randn(2, 9, 48, generator=torch.Generator().manual_seed(2)).to(BF16)
        for own_way in (False, True):
            x = given.clone().requires_grad_()
            with by_own_code() if own_way else contextlib.nullcontext():
                stream(model, x)[used].float().sum().backward()
            found.append(x.grad)
        torch.testing.assert_close(*found, rtol=2**-7, atol=0.02)


def frozen(model: Decoder) -> None:
    model.layers[0].mlp.down.requires_grad_(False)
    model.layers[1].attention_norm.requires_grad_(False)


def adapted(model: Decoder) -> None:
    lora.adapt(model, 2, 2.0, torch.Generator().manual_seed(0))


def hooked(model: Decoder) -> None:
    model.layers[0].attention.register_forward_hook(lambda *_: None)
    model.layers[1].mlp.register_full_backward_hook(lambda *_: None)


def asked_for_another(model: Decoder) -> None:
    model.attention_backend = "reference"


@pytest.mark.parametrize("change", [frozen, adapted, hooked, asked_for_another])
def test_what_is_unusual_goes_the_blocks_own_way(change):
    model = made()
    change(model)
    with mock.patch.object(decoder, "fused", side_effect=AssertionError):
        model(*rows(model)).backward()


@pytest.mark.usefixtures("float32_pays")
def test_other_models_modes_and_transforms_go_the_blocks_own_way():
    llama = SHAPES["grouped"].model_copy(update={"qk_norm": False})
    with mock.patch.object(decoder, "fused", side_effect=AssertionError):
        made(llama)(*rows(made(llama)))
        for model in (made(), made(dtype=torch.float32)):
            tokens, starts, targets = rows(model)
            model(tokens, starts, targets, None, Dropout(0.1, torch.arange(3)))
            with torch.no_grad():
                model(tokens, starts, targets)
            with torch.autocast("cpu", BF16):
                model(tokens, starts, targets)
            state = {name: p.detach() for name, p in model.named_parameters()}
            torch.func.functional_call(model, state, (tokens, starts, targets))


@pytest.mark.usefixtures("float32_pays")
@pytest.mark.parametrize("dtype", [BF16, torch.float32], ids=str)
def test_a_weight_written_before_backward_is_an_error(dtype):
    model = made(dtype=dtype)
    loss = model(*rows(model))
    with torch.no_grad():
        model.layers[1].mlp.gate.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_the_operator_refuses_what_does_not_fit():
    x = torch.zeros(1, 4, 8, dtype=BF16)
    table = torch.ones(4, 2), torch.zeros(4, 2)
    gains = [torch.ones(8), torch.ones(4), torch.ones(4), torch.ones(8)]
    square = torch.zeros(8, 8, dtype=BF16)

    def call(x=x, gains=gains, matrices=(square,) * 7, head_dim=4):
        operator = torch.ops.pytorch_ext.decoder_block_forward
        return operator(x, None, None, *table, gains, list(matrices), head_dim, 1e-6)

    with torch.no_grad():
        assert call()[0].shape == x.shape
        for wrong in (
            {"x": x[0]},
            {"gains": gains[:3]},
            {"matrices": (square,) * 6},
            {"matrices": (square[0],) * 7},
            {"matrices": (square[:, :4],) * 7},
            {"head_dim": 3},
            {"head_dim": 0},
        ):
            with pytest.raises(RuntimeError):
                call(**wrong)


def test_hooks_on_the_block_itself_are_called():
    model, seen = made(), []
    model.layers[0].register_forward_hook(lambda *_: seen.append("block"))
    loss_and_gradients(model)
    assert seen == ["block"]
