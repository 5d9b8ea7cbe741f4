"""pytorch_ext.linear_cross_entropy against its reference: values, gradients, ignored and wrong
targets, memory.
"""

import functools

import pytest
import torch

from pytorch_ext import linear_cross_entropy
from pytorch_ext.ops import linear_cross_entropy as module

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# (N, C, V): one row, one column, a vocabulary that is no multiple of anything, several chunks and a
# short last one
SHAPES = [(1, 1, 2), (7, 16, 33), (129, 24, 257), (300, 8, 1000)]


@pytest.fixture(params=[True, False], ids=["chunks", "one-chunk"])
def small_chunks(request, monkeypatch):
    """Chunks of 16 rows, so that small inputs take several."""
    if request.param:
        monkeypatch.setattr(module, "CHUNK_BYTES", 1)
    return request.param


def draw(rows: int, width: int, vocabulary: int, dtype, ignored: float = 0.2, spread: float = 1.0):
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(rows, width, generator=generator).to(dtype) * spread
    weight = torch.randn(vocabulary, width, generator=generator).to(dtype)
    target = torch.randint(vocabulary, (rows,), generator=generator)
    target[torch.rand(rows, generator=generator) < ignored] = -100
    return x, weight, target


def run(x, weight, target, **options) -> list[torch.Tensor]:
    """Loss and the gradients of x and weight of 3 * loss (a backward that forgets its input
    shows).
    """
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    loss = linear_cross_entropy(x, weight, target, **options)
    return [loss.detach(), *torch.autograd.grad(3 * loss, (x, weight))]


def errors(found, exact) -> list[float]:
    return [(a.double() - b).abs().max().item() for a, b in zip(found, exact, strict=True)]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("spread", [1.0, 100.0], ids=["plain", "large-logits"])
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matches_the_reference(shape, dtype, spread, reduction, small_chunks):
    x, weight, target = draw(*shape, dtype, spread=spread)
    exact = run(x.double(), weight.double(), target, reduction=reduction, backend="reference")
    theirs = errors(run(x, weight, target, reduction=reduction, backend="reference"), exact)
    found = run(x, weight, target, reduction=reduction)
    assert [a.dtype for a in found] == [torch.float32, dtype, dtype]
    for ours, plain, true, factor in zip(
        errors(found, exact), theirs, exact, (2, 3, 3), strict=True
    ):
        slack = (
            (8 if dtype == torch.float32 else 1) * torch.finfo(dtype).eps * true.abs().max().item()
        )
        assert ours <= factor * plain + slack


def test_gradcheck(small_chunks):
    x, weight, target = draw(21, 3, 5, torch.float64)
    x.requires_grad_(), weight.requires_grad_()
    for reduction in ("mean", "sum"):
        loss = functools.partial(linear_cross_entropy, target=target, reduction=reduction)
        assert torch.autograd.gradcheck(loss, (x, weight))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("backend", ["chunked", "reference"])
def test_nothing_to_learn_is_zero_not_nan(backend, reduction):
    x, weight, target = draw(10, 4, 8, torch.float32, ignored=1.1)
    for result in run(x, weight, target, backend=backend, reduction=reduction):
        assert torch.equal(result, torch.zeros_like(result))


def test_ignored_rows_do_not_enter(small_chunks):
    x, weight, target = draw(40, 8, 30, torch.float32)
    kept = target != -100
    short = run(x[kept], weight, target[kept])
    x[~kept] = 1e4
    long = run(x, weight, target)
    assert torch.allclose(long[0], short[0], rtol=1e-6)
    assert torch.allclose(long[1][kept], short[1], atol=1e-6)
    assert torch.equal(long[1][~kept], torch.zeros_like(long[1][~kept]))
    assert torch.allclose(long[2], short[2], atol=1e-5)


def test_another_ignore_index():
    x, weight, target = draw(40, 8, 30, torch.float32)
    renamed = target.where(target != -100, 7)
    target = target.where(target != 7, -100)
    for a, b in zip(run(x, weight, renamed, ignore_index=7), run(x, weight, target), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("wrong", [-1, 30, 10_000, -101])
def test_a_target_out_of_range_is_an_error(wrong):
    x, weight, target = draw(40, 8, 30, torch.float32)
    target[17] = wrong
    with pytest.raises(ValueError, match=rf"target {wrong} is out of range; \[0, 30\) expected"):
        linear_cross_entropy(x, weight, target)


def test_a_weight_of_another_dtype_is_cast_and_gets_its_gradient():
    x, weight, target = draw(20, 8, 30, torch.float32)
    master = weight.requires_grad_()
    linear_cross_entropy(x.bfloat16(), master, target).backward()
    expected = run(x.bfloat16(), weight.bfloat16(), target)[2].float() / 3
    assert torch.allclose(master.grad, expected, atol=1e-3)
    assert master.grad.dtype == torch.float32


def test_without_gradients_only_the_loss_is_computed():
    x, weight, target = draw(20, 8, 30, torch.float32)
    _, grad_x, grad_weight = module._chunked(x, weight, target, -100, True, False)
    assert grad_x.numel() == grad_weight.numel() == 0
    with torch.no_grad():
        loss = linear_cross_entropy(x, weight.requires_grad_(), target)
    assert torch.equal(loss, run(x, weight, target)[0])


def test_repeats_give_the_same_bits(small_chunks):
    inputs = draw(129, 24, 257, torch.bfloat16)
    first = run(*inputs)
    for _ in range(10):
        assert all(torch.equal(a, b) for a, b in zip(first, run(*inputs), strict=True))


def test_no_tensor_of_all_logits_is_made():
    """The largest allocation, seen by a dispatch mode that looks at every tensor made."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        elements = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            for tensor in torch.utils._pytree.tree_leaves(out):
                if isinstance(tensor, torch.Tensor):
                    self.elements = max(self.elements, tensor.numel())
            return out

    rows, width, vocabulary = 4096, 8, 8192
    x, weight, target = draw(rows, width, vocabulary, torch.float32)
    x.requires_grad_(), weight.requires_grad_()
    with Largest() as seen:
        linear_cross_entropy(x, weight, target).backward()
    assert width * vocabulary <= seen.elements <= rows * vocabulary // 8


def test_compiles_whole_and_passes_opcheck():
    x, weight, target = draw(20, 8, 30, torch.bfloat16)
    function = torch.compile(
        lambda a, b: linear_cross_entropy(a, b, target), fullgraph=True, backend="aot_eager"
    )
    leaves = x.requires_grad_(), weight.requires_grad_()
    found = torch.autograd.grad(function(*leaves), leaves)
    expected = torch.autograd.grad(linear_cross_entropy(*leaves, target), leaves)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    torch.library.opcheck(module._chunked, (*leaves, target, -100, True, True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": torch.zeros(2, 3, 8)}, r"x \[2, 3, 8\], weight \[30, 8\]"),
        ({"x": torch.zeros(20, 7)}, r"\[N, C\] and \[V, C\] expected"),
        (
            {"target": torch.zeros(20, dtype=torch.int32)},
            r"target is torch.int32 \[20\]; int64 \[20\] expected",
        ),
        ({"target": torch.zeros(19, dtype=torch.int64)}, r"int64 \[20\] expected"),
        ({"x": torch.zeros(20, 8, dtype=torch.int64)}, "floating point expected"),
        ({"weight": torch.zeros(30, 8, device="meta")}, "weight is on meta, x on cpu"),
        ({"reduction": "none"}, "reduction 'none' is not one of mean, sum"),
        ({"backend": "cuda"}, "backend 'cuda' is not one of chunked, reference"),
    ],
    ids=[
        "rank",
        "width",
        "target-dtype",
        "target-length",
        "integers",
        "device",
        "reduction",
        "backend",
    ],
)
def test_wrong_arguments_are_named(changes, message):
    arguments = {
        "x": torch.zeros(20, 8),
        "weight": torch.zeros(30, 8),
        "target": torch.zeros(20, dtype=torch.int64),
    }
    with pytest.raises(ValueError, match=message):
        linear_cross_entropy(**(arguments | changes))


@pytest.mark.parametrize(
    ("argument", "value"),
    [("x", [[0.0] * 8] * 20), ("weight", None), ("target", [0] * 20), ("ignore_index", 0.5)],
)
def test_what_is_no_tensor_or_number_is_named(argument, value):
    arguments = {
        "x": torch.zeros(20, 8),
        "weight": torch.zeros(30, 8),
        "target": torch.zeros(20, dtype=torch.int64),
    }
    with pytest.raises(TypeError, match=f"{argument} is a {type(value).__name__}"):
        linear_cross_entropy(**(arguments | {argument: value}))
