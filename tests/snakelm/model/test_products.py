"""Products with weights: values and gradients of the float64 product, in every way that they are
taken.
"""

import itertools

import pytest
import torch
from torch import nn

from snakelm.model.products import product, products
from snakelm.model.working_copies import held_copy

BF16 = torch.bfloat16
ROWS = {"alone": (7,), "two": (5, 9), "grouped": (8, 2, 2)}


def drawn(*rows: int, width: int = 12) -> tuple[torch.Tensor, list[nn.Parameter]]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 17, width, generator=generator).to(BF16).requires_grad_()
    return x, [nn.Parameter(torch.randn(r, width, generator=generator)) for r in rows]


def in_float64(x, weights, grads):
    """Outputs, and gradients of x and the weights as products take them: rounded to bfloat16."""
    x64 = x.detach().double().requires_grad_()
    w64 = [w.detach().to(BF16).double().requires_grad_() for w in weights]
    outputs = [x64 @ w.t() for w in w64]
    torch.autograd.backward(outputs, [g.double() for g in grads])
    return outputs, [x64.grad, *(w.grad for w in w64)]


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_values_and_gradients_are_those_of_float64(rows):
    x, weights = drawn(*rows)
    outputs = products(x, *weights)
    grads = [
        torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(BF16) for y in outputs
    ]
    torch.autograd.backward(outputs, grads)
    assert all(held_copy(w) is not None for w in weights)
    assert [w.grad.dtype for w in weights] == [torch.float32] * len(weights)

    expected, gradients = in_float64(x, weights, grads)
    made = [*outputs, x.grad, *(w.grad for w in weights)]
    for one, true in zip(made, [*expected, *gradients], strict=True):
        # Three roundings at most: of each partial sum over the matrices, relative to the largest.
        assert (one.double() - true).abs().max() <= 3 * 2**-9 * true.abs().max()


def test_only_what_is_wanted_is_computed():
    for frozen in itertools.product((False, True), repeat=3):
        x, weights = drawn(3, 4)
        for t, still in zip((x, *weights), frozen, strict=True):
            t.requires_grad_(not still)
        outputs = products(x, *weights)
        if all(frozen):
            assert not any(y.requires_grad for y in outputs)
            continue
        (outputs[0].sum() + outputs[1].sum()).backward()
        assert [t.grad is None for t in (x, *weights)] == list(frozen)


def test_an_output_that_nobody_used_has_no_gradient():
    x, (a, b) = drawn(3, 4)
    products(x, a, b)[1].sum().backward()
    assert a.grad is None
    torch.testing.assert_close(x.grad.float(), b.detach().to(BF16).sum(0).expand_as(x).float())


def test_gradients_add_up_over_micro_batches():
    x, weights = drawn(3, 4)
    for _ in range(2):
        sum(y.sum() for y in products(x, *weights)).backward()
    once = x.detach().flatten(0, 1).sum(0, dtype=torch.float32)
    for w in weights:
        torch.testing.assert_close(w.grad, 2 * once.expand_as(w))


def test_second_derivatives_count_the_weights():
    x, (a, b) = drawn(3, 4)
    loss = sum(y.float().square().sum() for y in products(x, a, b))
    (grad_x,) = torch.autograd.grad(loss, x, create_graph=True)
    made = torch.autograd.grad(grad_x.float().square().sum(), (a, b))

    a64, b64 = (w.detach().to(BF16).double().requires_grad_() for w in (a, b))
    x64 = x.detach().double().requires_grad_()
    loss64 = sum((x64 @ w.t()).square().sum() for w in (a64, b64))
    (grad64,) = torch.autograd.grad(loss64, x64, create_graph=True)
    for one, true in zip(made, torch.autograd.grad(grad64.square().sum(), (a64, b64)), strict=True):
        assert (one.double() - true).abs().max() <= 0.03 * true.abs().max()


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
def test_is_torchs_own_linear_under_autocast_transforms_and_compile():
    x, (a, b) = drawn(3, 4)
    expected = products(x, a, b)
    for made in (
        torch.compile(lambda x: products(x, a, b), fullgraph=True, backend="aot_eager")(x),
        torch.func.vmap(lambda x: products(x, a, b))(x),
    ):
        for one, true in zip(made, expected, strict=True):
            assert torch.equal(one, true)

    with torch.autocast("cpu", BF16):
        y = product(x.float(), a)
    assert y.dtype == BF16
    y.sum().backward()
    assert a.grad is not None


def test_without_gradients_and_in_inference():
    x, (a, b) = drawn(3, 4)
    expected = products(x, a, b)
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            made = products(x, a, b)
        for one, true in zip(made, expected, strict=True):
            assert torch.equal(one, true.detach())
            assert not one.requires_grad
