"""linear_cross_entropy's Triton kernel, interpreted: losses and gradients against plain torch in
float64, by the rule of tests/pytorch_ext/test_linear_cross_entropy.py.
"""

import itertools
import math

import pytest
import torch

from pytorch_ext import linear_cross_entropy
from pytorch_ext.ops.linear_cross_entropy import linear_cross_entropy_triton as module
from pytorch_ext.ops.linear_cross_entropy.chunked import _chunked
from tests.pytorch_ext.test_linear_cross_entropy import draw, errors

# numpy warns of infinities and NaN, which a GPU makes in silence.
pytestmark = [
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:Conversion of an array:DeprecationWarning"),  # triton 3.6
]

DTYPES = {"fp32": torch.float32, "fp16": torch.float16}
# (N, C, V): one row, one column, several chunks and a short last one, several blocks of columns
SIZES = ((1, 1, 2), (7, 16, 33), (17, 8, 127), (21, 24, 129), (3, 8, 257))
TERMS = {"plain": (0.0, 0.0), "z-loss": (0.01, 0.0), "softcap": (0.0, 5.0), "both": (0.01, 30.0)}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Of 4 rows, and blocks of 64 columns, so that small inputs take several."""
    monkeypatch.setattr(module, "LEAST_ROWS", 4)
    monkeypatch.setattr(module, "CHUNK_BYTES", 1)
    monkeypatch.setattr(module, "BLOCK", 64)


def ours(x, weight, target, mean=True, z_loss=0.0, softcap=0.0, wants_grad=True):
    return list(
        module.losses_and_gradients(x, weight, target, -100, mean, z_loss, softcap, wants_grad)
    )


def plain(x, weight, target, mean=True, z_loss=0.0, softcap=0.0):
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    logits = (x @ weight.t()).to(torch.promote_types(x.dtype, torch.float32))
    logits = softcap * torch.tanh(logits / softcap) if softcap else logits
    kept = target != -100
    loss = torch.nn.functional.cross_entropy(logits, target, reduction="sum")
    loss = loss + z_loss * (logits.logsumexp(1).square() * kept).sum()
    loss = loss / kept.sum().clamp(min=1) if mean else loss
    return [loss.detach(), *torch.autograd.grad(loss, (x, weight))]


def check(size, dtype, terms, mean, spread=1.0):
    x, weight, target = draw(*size, dtype, spread=spread)
    exact = plain(x.double(), weight.double(), target, mean, *terms)
    theirs = errors(plain(x, weight, target, mean, *terms), exact)
    found = ours(x, weight, target, mean, *terms)
    assert [a.dtype for a in found] == [torch.float32, dtype, dtype]
    unit = (8 if dtype == torch.float32 else 1) * torch.finfo(dtype).eps
    for a, b, true, factor in zip(errors(found, exact), theirs, exact, (2, 3, 3), strict=True):
        assert a <= factor * b + unit * true.abs().max().item()


@pytest.mark.parametrize("terms", TERMS.values(), ids=TERMS)
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_matches_plain_torch(dtype, terms):
    for i, size in enumerate(SIZES):
        check(size, dtype, terms, mean=i % 2 == 0)


@pytest.mark.parametrize("terms", TERMS.values(), ids=TERMS)
def test_large_logits(terms):
    check((21, 24, 129), torch.float32, terms, mean=True, spread=100.0)


@pytest.mark.long
@pytest.mark.parametrize("terms", TERMS.values(), ids=TERMS)
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_all_sizes(dtype, terms):
    for rows, vocabulary in itertools.product(
        (1, 3, 4, 17, 129), (1, 2, 17, 63, 64, 65, 128, 1023)
    ):
        check((rows, 8, vocabulary), dtype, terms, mean=True)
        check((rows, 17, vocabulary), dtype, terms, mean=False, spread=10.0)


def test_nothing_to_learn_is_zero_not_nan():
    for rows in (0, 10):
        x, weight, target = draw(rows, 4, 8, torch.float32, ignored=1.1)
        for result, like in zip(ours(x, weight, target), (x.sum(), x, weight), strict=True):
            assert torch.equal(result, torch.zeros_like(like))


@pytest.mark.parametrize("poison", [3e38, math.inf, math.nan])
def test_an_ignored_row_does_not_enter(poison):
    x, weight, target = draw(9, 4, 8, torch.float32)
    target[2], x[2] = -100, poison
    clean = x.clone()
    clean[2] = 0.0
    for a, b in zip(ours(x, weight, target), ours(clean, weight, target), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_row_that_is_no_number_makes_the_loss_nan_and_keeps_to_itself(wrong):
    x, weight, target = draw(9, 4, 8, torch.float32, ignored=0.0)
    before = ours(x, weight, target)
    x[2, 1] = wrong
    loss, grad_x, grad_weight = ours(x, weight, target)
    others = torch.arange(9) != 2
    assert loss.isnan()
    assert grad_x[2].isnan().all()
    assert torch.equal(grad_x[others], before[1][others])
    assert grad_weight.isnan().all()


def test_minus_infinity_among_the_logits_is_a_probability_of_zero():
    logits = torch.full((2, module.BLOCK + 5), -math.inf)
    logits[:, -3:] = torch.tensor([0.5, 1.0, -1.0])  # a whole block before them has none
    expected = (logits[:, -3:].softmax(1) - torch.tensor([0.0, 1.0, 0.0])) * 0.25
    losses, target = torch.empty(2), torch.full((2,), module.BLOCK + 3)
    module.rows_kernel[(2,)](
        logits, target, torch.tensor(0.25), losses, logits.shape[1], logits.stride(0), -100, 0.0,
        0.0, CAPPED=False, GRADIENT=True, BLOCK=module.BLOCK,
    )  # fmt: skip
    torch.testing.assert_close(logits[:, -3:], expected)
    assert not logits[:, :-3].any()
    torch.testing.assert_close(losses, torch.tensor([0.5, 1.0, -1.0]).logsumexp(0).sub(1).expand(2))


def test_without_gradients_only_the_loss_is_computed():
    x, weight, target = draw(20, 8, 30, torch.float32)
    loss, grad_x, grad_weight = ours(x, weight, target, wants_grad=False)
    assert grad_x.numel() == grad_weight.numel() == 0
    assert torch.equal(loss, ours(x, weight, target)[0])


def test_the_backend_is_reached_by_its_name_and_checks_its_targets():
    x, weight, target = draw(20, 8, 30, torch.float32)
    leaves = x.requires_grad_(), weight.requires_grad_()

    def results(backend: str) -> list[torch.Tensor]:
        loss = linear_cross_entropy(*leaves, target, z_loss=0.01, softcap=5.0, backend=backend)
        return [loss.detach(), *torch.autograd.grad(3 * loss, leaves)]

    for a, b in zip(results("triton"), results("reference"), strict=True):
        torch.testing.assert_close(a, b)
    target[17] = 30
    with pytest.raises(ValueError, match=r"target 30 is out of range; \[0, 30\) expected"):
        linear_cross_entropy(x, weight, target, backend="triton")


def test_compiles_whole_and_passes_opcheck():
    x, weight, target = draw(20, 8, 30, torch.float32)
    leaves = x.requires_grad_(), weight.requires_grad_()

    def loss(*leaves: torch.Tensor) -> torch.Tensor:
        return linear_cross_entropy(*leaves, target, backend="triton")

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    found, expected = (torch.autograd.grad(f(*leaves), leaves) for f in (compiled, loss))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    torch.library.opcheck(_chunked, (*leaves, target, -100, True, 0.01, 5.0, True, True))


def test_repeats_give_the_same_bits():
    inputs = draw(21, 24, 257, torch.float16)
    for a, b in zip(ours(*inputs), ours(*inputs), strict=True):
        assert torch.equal(a, b)


def test_a_chunk_is_an_eighth_of_the_logits_at_most(monkeypatch):
    monkeypatch.undo()
    for rows, vocabulary, size in itertools.product((2048, 16384), (8192, 32768, 50257), (2, 4)):
        step = module.chunk_rows(rows, vocabulary, size)
        assert step * vocabulary * size <= max(rows * vocabulary * 4 // 8, 128 * vocabulary * size)
        assert step * vocabulary * size <= module.CHUNK_BYTES
        assert step % 128 == 0


def test_sums_of_halves_in_float32_are_what_torch_takes():
    """On a device where products of halves have float32 sums; `meta` has their shapes and types."""
    sums = torch.empty(5, 3, device="meta")
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        grad, x = (torch.empty(7, n, device="meta", dtype=dtype) for n in (5, 3))
        module.add_product(sums, grad, x)
