"""rms_norm, qk_norm_rope, rope and swiglu by their compiled passes against the float64 reference:
values, gradients, sizes, strides, determinism, compilation, errors.

The rule is attention's: the error of an output is at most twice that of plain torch on the same
inputs, of a gradient three times, plus eight rounding units of float32.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch

from pytorch_ext import library, qk_norm_rope, rms_norm, rope, swiglu
from pytorch_ext.dispatch import LEVELS, VECTORS

pytestmark = pytest.mark.skipif(
    not library.LOADED, reason=f"{library.LIBRARY.name} is not built: {library.REMEDY}"
)

LEVELS_HERE = [LEVELS[i] for i in library.LEVELS_HERE if LEVELS[i] in VECTORS]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
WIDTHS = (1, 16, 17, 64, 127, 128, 129, 1023)
EPS = 1e-6

Inputs = dict[str, torch.Tensor]
Tensors = tuple[torch.Tensor, ...]


class Pass(NamedTuple):
    """`shapes(rows, width)` of the differentiable inputs; `call(inputs, backend)` -> outputs."""

    shapes: Callable[[int, int], dict[str, tuple[int, ...]]]
    call: Callable[[Inputs, str | None], Tensors]
    weights: tuple[str, ...] = ()  # float32 whatever the dtype, as a model's parameters


def heads(rows: int, width: int) -> dict[str, tuple[int, ...]]:
    dim = width + width % 2
    return {"q": (2, rows, 3, dim), "k": (2, rows, 1, dim), "q_weight": (dim,), "k_weight": (dim,)}


def angles(length: int, half: int) -> tuple[torch.Tensor, torch.Tensor]:
    angle = torch.arange(length)[:, None] * 100.0 ** -(torch.arange(half) / max(half, 1))
    return angle.cos(), angle.sin()


def rotate(inputs: Inputs, backend: str | None) -> Tensors:
    (x,) = inputs.values()
    wide = torch.promote_types(x.dtype, torch.float32)
    turned = (a.to(wide) for a in angles(x.shape[1], x.shape[3] // 2))
    return (rope(x, *turned, backend=backend),)


def norm_and_rotate(inputs: Inputs, backend: str | None) -> Tensors:
    q = inputs["q"]
    turned = (x.to(inputs["q_weight"].dtype) for x in angles(q.shape[1], q.shape[3] // 2))
    return qk_norm_rope(*inputs.values(), *turned, EPS, backend=backend)


PASSES = {
    "norm": Pass(
        lambda n, c: {"x": (n, c), "weight": (c,)},
        lambda i, backend: (rms_norm(i["x"], i["weight"], EPS, backend=backend),),
        ("weight",),
    ),
    "norm-unweighted": Pass(
        lambda n, c: {"x": (n, c)},
        lambda i, backend: (rms_norm(i["x"], None, EPS, backend=backend),),
    ),
    "add-norm": Pass(
        lambda n, c: {"x": (n, c), "residual": (n, c), "weight": (c,)},
        lambda i, backend: rms_norm(
            i["x"], i["weight"], EPS, residual=i["residual"], backend=backend
        ),
        ("weight",),
    ),
    "add-norm-unweighted": Pass(
        lambda n, c: {"x": (2, n, c), "residual": (2, n, c)},
        lambda i, backend: rms_norm(i["x"], None, EPS, residual=i["residual"], backend=backend),
    ),
    "qk-norm-rope": Pass(heads, norm_and_rotate, ("q_weight", "k_weight")),
    "rope": Pass(lambda n, d: {"x": (2, n, 3, d + d % 2)}, rotate),
    "swiglu": Pass(
        lambda n, f: {"gate": (n, f), "up": (n, f)},
        lambda i, backend: (swiglu(i["gate"], i["up"], backend=backend),),
    ),
}


def make_inputs(
    name: str, rows: int, width: int, dtype: torch.dtype, seed: int = 0, spread: float = 1.0
) -> Inputs:
    generator = torch.Generator().manual_seed(seed)
    one = PASSES[name]
    drawn = {
        key: torch.randn(shape, generator=generator) * (1.0 if key in one.weights else spread)
        for key, shape in one.shapes(rows, width).items()
    }
    return {key: x if key in one.weights else x.to(dtype) for key, x in drawn.items()}


def run(name: str, inputs: Inputs, backend: str | None, seed: int = 1) -> list[torch.Tensor]:
    """Outputs, and the gradients of the inputs for gradients of the outputs drawn from a seed."""
    leaves = {key: x.detach().requires_grad_() for key, x in inputs.items()}
    outputs = PASSES[name].call(leaves, backend)
    generator = torch.Generator().manual_seed(seed)
    grads = [torch.randn(x.shape, generator=generator).to(x.dtype) for x in outputs]
    made = torch.autograd.grad(outputs, list(leaves.values()), grads)
    return [*(x.detach() for x in outputs), *made]


def exact_of(name: str, inputs: Inputs, dtype: torch.dtype) -> list[torch.Tensor]:
    """The same in float64, for the gradients of the outputs that `dtype` holds."""
    leaves = {key: x.detach().double().requires_grad_() for key, x in inputs.items()}
    outputs = PASSES[name].call(leaves, "reference")
    generator = torch.Generator().manual_seed(1)
    grads = [torch.randn(x.shape, generator=generator).to(dtype).double() for x in outputs]
    made = torch.autograd.grad(outputs, list(leaves.values()), grads)
    return [*(x.detach() for x in outputs), *made]


def check_accuracy(
    name: str, inputs: Inputs, dtype: torch.dtype, backend: str | None, of_one_size: bool = True
) -> None:
    """of_one_size: rounding units are those of the largest result, since a gradient may be a small
    difference of large terms (a norm over one number); else each result has its own.
    """
    exact, plain = exact_of(name, inputs, dtype), run(name, inputs, "reference")
    found = run(name, inputs, backend)
    outputs = len(exact) - len(inputs)
    sizes = [x.abs().max().item() if x.numel() else 0.0 for x in exact]
    for i, (a, theirs, true) in enumerate(zip(found, plain, exact, strict=True)):
        assert a.dtype == theirs.dtype
        assert a.shape == true.shape
        if not true.numel():
            continue
        ours, yardstick = ((x.double() - true).abs().max().item() for x in (a, theirs))
        slack = 8 * torch.finfo(torch.float32).eps * (max(sizes) if of_one_size else sizes[i])
        allowed = (2 if i < outputs else 3) * yardstick + slack
        assert ours <= allowed, f"result {i}: {ours:.2e}, plain torch {yardstick:.2e}"


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("level", LEVELS_HERE)
@pytest.mark.parametrize("name", PASSES)
def test_matches_the_reference(name, level, dtype):
    for width in WIDTHS:
        for rows in (1, 17, 129):
            check_accuracy(name, make_inputs(name, rows, width, dtype), dtype, f"cpu:{level}")


@pytest.mark.long
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("level", LEVELS_HERE)
@pytest.mark.parametrize("name", PASSES)
def test_matches_the_reference_on_all_small_sizes(name, level, dtype):
    """pytest -m long tests/pytorch_ext/test_passes.py: 140 widths, each forward and backward."""
    for width in (*range(1, 137), 255, 256, 257, 769):
        inputs = make_inputs(name, 3, width, dtype, seed=width)
        check_accuracy(name, inputs, dtype, f"cpu:{level}")


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("level", LEVELS_HERE)
@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("spread", [1e-15, 30.0, 1e15])
def test_small_and_large_values(name, level, dtype, spread):
    inputs = make_inputs(name, 9, 40, dtype, spread=spread)
    check_accuracy(name, inputs, dtype, f"cpu:{level}", of_one_size=False)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("level", LEVELS_HERE)
@pytest.mark.parametrize("name", ["norm", "norm-unweighted", "qk-norm-rope", "rope", "swiglu"])
def test_values_at_the_edge_of_the_range_are_the_references(name, level, dtype):
    """Squares overflow: the norm is zero there, in plain torch too, whose gradient may be NaN; a
    gate is shut or open.
    """
    edge = torch.tensor([[3e38, -3e38, 1e30, -1e30, 89.0, -89.0, -0.0, 1e-38] * 3]).to(dtype)
    inputs = {key: torch.ones_like(x) for key, x in make_inputs(name, 1, 24, dtype).items()}
    first = next(iter(inputs))
    inputs[first] = edge.expand_as(inputs[first])
    found, expected = (run(name, inputs, backend) for backend in (f"cpu:{level}", "reference"))
    for a, b in zip(found, expected, strict=True):
        known = b.isfinite()
        assert torch.allclose(a[known].float(), b[known].float(), rtol=1e-2, atol=1e-30)


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf], ids=["nan", "inf", "-inf"])
@pytest.mark.parametrize("level", LEVELS_HERE)
@pytest.mark.parametrize("name", PASSES)
def test_a_poisoned_row_stays_alone(name, level, poison):
    """Rows beside it keep every bit; the weights' gradients, which all rows enter, are NaN."""
    rows, at = 40, 7
    clean = make_inputs(name, rows, 24, torch.bfloat16)
    sick = {key: x.clone() for key, x in clean.items()}
    for key, x in sick.items():
        if key not in PASSES[name].weights:
            x.select(x.shape.index(rows), at)[..., 3] = poison

    found, before = (run(name, inputs, f"cpu:{level}") for inputs in (sick, clean))
    others = torch.arange(rows) != at
    for a, b in zip(found, before, strict=True):
        if a.dim() == 1:
            assert a.isnan().any()
            continue
        row = a.shape.index(rows)
        assert torch.equal(a.movedim(row, 0)[others], b.movedim(row, 0)[others])
        if name != "rope" or a is found[0]:  # a rotation's gradient knows nothing of x
            assert not a.select(row, at).isfinite().all()


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("name", PASSES)
def test_any_strides_give_the_same_bits(name, dtype):
    inputs = make_inputs(name, 37, 48, dtype)
    plain = run(name, inputs, "cpu")

    def longer_rows(x: torch.Tensor) -> torch.Tensor:  # as a view of a fused projection
        return torch.cat((x, x), dim=-1)[..., : x.shape[-1]]

    def columns(x: torch.Tensor) -> torch.Tensor:  # the last dimension isn't dense
        return x.mT.contiguous().mT if x.dim() > 1 else torch.stack((x, x), dim=-1)[:, 0]

    for layout in (longer_rows, columns):
        views = {key: layout(x) for key, x in inputs.items()}
        for a, b in zip(plain, run(name, views, "cpu"), strict=True):
            assert torch.equal(a, b)
            assert a.is_contiguous()


def test_expanded_rows_and_gradients_are_read_correctly():
    x = torch.randn(1, 16).expand(5, 16)
    assert torch.equal(rms_norm(x, backend="cpu"), rms_norm(x.contiguous(), backend="cpu"))
    leaf = torch.randn(5, 16, requires_grad=True)
    rms_norm(leaf, backend="cpu").sum().backward()
    again = leaf.detach().requires_grad_()
    (expected,) = torch.autograd.grad(rms_norm(again, backend="cpu"), again, torch.ones(5, 16))
    assert torch.equal(leaf.grad, expected)


def test_angles_of_each_row():
    inputs = make_inputs("qk-norm-rope", 6, 8, torch.float32)
    cos, sin = angles(20, 4)
    position = torch.tensor([[0, 1, 2, 0, 1, 2], [3, 4, 5, 6, 7, 8]])
    by_row = qk_norm_rope(*inputs.values(), cos[position], sin[position], backend="cpu")
    for row in range(2):
        own = {key: x[row : row + 1] if x.dim() == 4 else x for key, x in inputs.items()}
        turned = cos[position[row]], sin[position[row]]
        alone = qk_norm_rope(*own.values(), *turned, backend="cpu")
        for a, b in zip(by_row, alone, strict=True):
            assert torch.equal(a[row : row + 1], b)


def test_a_rotation_keeps_no_more_than_its_angles():
    x = make_inputs("rope", 6, 8, torch.float32)["x"].requires_grad_()
    kept: list[torch.Tensor] = []
    cos, sin = angles(6, 4)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        rope(x, cos, sin, backend="cpu")
        assert [t.shape for t in kept] == [cos.shape, sin.shape]
        rope(x, cos.requires_grad_(), sin, backend="cpu")
    assert x.shape in [t.shape for t in kept]


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("rows", [0, 3])
def test_empty_tensors_give_empty_results(name, rows):
    inputs = make_inputs(name, rows, 16 if rows == 0 else 0, torch.float32)
    found = run(name, inputs, "cpu")
    for a, b in zip(found, run(name, inputs, "reference"), strict=True):
        assert a.shape == b.shape
        assert not a.any(), "gradients of the weights are zero"


def repeats_agree(name: str, dtype: torch.dtype, repeats: int) -> None:
    inputs = make_inputs(name, 300, 256, dtype)
    first = run(name, inputs, "cpu")
    before = torch.get_num_threads()
    try:
        for i in range(repeats):
            torch.set_num_threads(1 + i % 8)
            for a, b in zip(first, run(name, inputs, "cpu"), strict=True):
                assert torch.equal(a, b)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("name", PASSES)
def test_repeats_and_thread_counts_give_the_same_bits(name, dtype):
    repeats_agree(name, dtype, 8)


@pytest.mark.long
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("name", PASSES)
def test_250_repeats_give_the_same_bits(name, dtype):
    """pytest -m long tests/pytorch_ext/test_passes.py"""
    repeats_agree(name, dtype, 250)


def arguments_below(name: str, dtype: torch.dtype) -> tuple[str, str, tuple, tuple]:
    """Names of the operators below `name`, and arguments for forward and backward."""
    inputs = {key: x.requires_grad_() for key, x in make_inputs(name, 19, 16, dtype).items()}
    kept: tuple[Any, ...] = tuple(inputs.values())
    grads = tuple(torch.randn_like(x).detach() for x in PASSES[name].call(inputs, "cpu"))
    if name == "swiglu":
        return "swiglu_forward", "swiglu_backward", (*kept, -1), (*grads, *kept, -1)
    if name == "rope":
        turned = angles(19, 8)
        return "rope", "rope", (*kept, *turned, False, -1), (*grads, *turned, True, -1)
    if name == "qk-norm-rope":
        rest = (*angles(19, 8), EPS, -1)
        forward, backward = "qk_norm_rope_forward", "qk_norm_rope_backward"
        return forward, backward, (*kept, *rest), (*grads, *kept, *rest)
    weight = inputs.get("weight")
    if "residual" not in inputs:
        forward_arguments: tuple[Any, ...] = (inputs["x"], weight, EPS, -1)
        return (
            "rms_norm_forward",
            "rms_norm_backward",
            forward_arguments,
            (grads[0], None, inputs["x"], weight, EPS, -1),
        )
    return (
        "add_rms_norm_forward",
        "rms_norm_backward",
        (inputs["x"], inputs["residual"], weight, EPS, -1),
        (*grads, inputs["x"], weight, EPS, -1),
    )


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("name", PASSES)
def test_opcheck(name, dtype):
    forward, backward, forward_arguments, backward_arguments = arguments_below(name, dtype)
    torch.library.opcheck(getattr(torch.ops.pytorch_ext, forward), forward_arguments)
    plain = tuple(x.detach() if isinstance(x, torch.Tensor) else x for x in backward_arguments)
    torch.library.opcheck(getattr(torch.ops.pytorch_ext, backward), plain)


@pytest.mark.parametrize("name", PASSES)
def test_compiles_whole_and_gives_the_same_bits(name):
    torch.compiler.reset()
    keys = list(PASSES[name].shapes(1, 1))

    def loss(*tensors: torch.Tensor) -> torch.Tensor:
        outputs = PASSES[name].call(dict(zip(keys, tensors, strict=True)), None)
        return sum(x.float().square().sum() for x in outputs)

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for rows in (33, 50):  # the second shape is traced with a symbolic length
        inputs = make_inputs(name, rows, 16, torch.bfloat16)
        grads = []
        for function in (loss, compiled):
            leaves = [x.detach().requires_grad_() for x in inputs.values()]
            grads.append(torch.autograd.grad(function(*leaves), leaves))
        for a, b in zip(*grads, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("name", PASSES)
def test_the_reference_has_the_gradients_of_its_values(name):
    inputs = {key: x.double() for key, x in make_inputs(name, 3, 4, torch.float32).items()}

    def call(*tensors: torch.Tensor) -> Tensors:
        return PASSES[name].call(dict(zip(inputs, tensors, strict=True)), "reference")

    assert torch.autograd.gradcheck(call, [x.requires_grad_() for x in inputs.values()])


def test_rotation_after_the_norm_is_what_the_parts_give():
    q, k, q_weight, k_weight = make_inputs("qk-norm-rope", 9, 8, torch.float64).values()
    cos, sin = (x.double() for x in angles(9, 4))
    turned = torch.complex(cos, sin)[:, None]
    found = qk_norm_rope(q, k, q_weight, k_weight, cos, sin, EPS)
    for out, x, weight in zip(found, (q, k), (q_weight, k_weight), strict=True):
        normed = x / (x.square().mean(-1, keepdim=True) + EPS).sqrt() * weight
        pairs = torch.complex(normed[..., :4], normed[..., 4:]) * turned
        assert torch.allclose(out, torch.cat((pairs.real, pairs.imag), -1))


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_dtypes_run_the_reference_by_default(name, dtype):
    inputs = make_inputs(name, 5, 8, dtype)
    for a, b in zip(run(name, inputs, None), run(name, inputs, "reference"), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(RuntimeError, match=f"takes float32, bfloat16; .* is {dtype}"):
        run(name, inputs, "cpu")


@pytest.mark.parametrize("name", ["add-norm", "qk-norm-rope"])
@pytest.mark.parametrize("used", [0, 1])
def test_an_output_that_nobody_uses_has_a_gradient_of_zero(name, used):
    inputs = make_inputs(name, 5, 8, torch.float32)
    grads = []
    for backend in ("cpu", "reference"):
        leaves = {key: x.detach().requires_grad_() for key, x in inputs.items()}
        out = PASSES[name].call(leaves, backend)[used]
        grads.append(torch.autograd.grad(out.sum(), list(leaves.values()), materialize_grads=True))
    for a, b in zip(*grads, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def q_and_k(**changes: torch.Tensor) -> Tensors:
    given = make_inputs("qk-norm-rope", 4, 8, torch.float32) | changes
    cos, sin = given.pop("cos", angles(4, 4)[0]), given.pop("sin", angles(4, 4)[1])
    return qk_norm_rope(*given.values(), cos, sin)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: rms_norm(torch.ones(2, 4), residual=torch.ones(4)),
            r"residual is torch.float32 \[4\], x torch.float32 \[2, 4\]; the same expected",
        ),
        (
            lambda: rms_norm(torch.ones(2, 4), residual=torch.ones(2, 4).bfloat16()),
            "residual is torch.bfloat16",
        ),
        (lambda: q_and_k(k=torch.ones(2, 4, 8)), r"k \[2, 4, 8\]; \[B, T, H, D\] and"),
        (lambda: q_and_k(k=torch.ones(2, 5, 1, 8)), r"k \[2, 5, 1, 8\]; \[B, T, H, D\] and"),
        (
            lambda: q_and_k(k=torch.ones(2, 4, 1, 8).bfloat16()),
            "k is torch.bfloat16, q is torch.float32",
        ),
        (lambda: q_and_k(q_weight=torch.ones(4)), r"q_weight is \[4\], q .*; \[D\] expected"),
        (lambda: q_and_k(cos=torch.ones(3, 4)), r"cos \[3, 4\].*\[4, 4\] or \[2, 4, 4\] expected"),
        (lambda: swiglu(torch.ones(1), torch.ones(1), backend="magic"), "'magic' is not one of"),
    ],
    ids=[
        "residual-shape",
        "residual-dtype",
        "k-rank",
        "k-length",
        "k-dtype",
        "weight",
        "cos",
        "backend",
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


BELOW = torch.ops.pytorch_ext
ONES, SHORT, WIDE = torch.ones(2, 4), torch.ones(2, 3), torch.ones(2, 4).double()


@pytest.mark.parametrize(
    "call",
    [
        lambda: BELOW.swiglu_forward(ONES, SHORT, -1),
        lambda: BELOW.swiglu_forward(ONES, ONES, 9),
        lambda: BELOW.swiglu_forward(WIDE, WIDE, -1),
        lambda: BELOW.swiglu_backward(SHORT, ONES, ONES, -1),
        lambda: BELOW.swiglu_backward(ONES.bfloat16(), ONES, ONES, -1),
        lambda: BELOW.rms_norm_forward(ONES, torch.ones(3), EPS, -1),
        lambda: BELOW.rms_norm_forward(ONES, torch.ones(4).bfloat16(), EPS, -1),
        lambda: BELOW.add_rms_norm_forward(ONES, SHORT, None, EPS, -1),
        lambda: BELOW.rms_norm_backward(ONES, SHORT, ONES, None, EPS, -1),
        lambda: BELOW.rms_norm_backward(SHORT, None, ONES, None, EPS, -1),
        lambda: BELOW.rope(ONES, ONES, ONES, False, -1),
        lambda: BELOW.rope(ONES[None], ONES[:, :2], ONES[:, :2], False, -1),
        lambda: BELOW.rope(ONES[None, None], ONES[:1], ONES[:1], False, -1),
        lambda: BELOW.rope(ONES[None, None], ONES[:1, :2], ONES[None, :1, :2], False, -1),
        lambda: BELOW.rope(ONES[None, None], WIDE[:1, :2], WIDE[:1, :2], False, -1),
        lambda: BELOW.rope(ONES[None, None], ONES[:1, :2], ONES[:1, :2], False, 9),
        lambda: BELOW.qk_norm_rope_forward(*[ONES[None, None]] * 2, *[ONES] * 4, EPS, -1),
        lambda: BELOW.qk_norm_rope_forward(
            *[ONES[None]] * 2, *[torch.ones(4)] * 2, *[ONES[:, :2]] * 2, EPS, -1
        ),
    ],
)
def test_what_would_read_out_of_bounds_is_refused_below(call):
    with pytest.raises(RuntimeError, match=r"expected|take|lacks"):
        call()


def test_a_missing_backend_is_named(monkeypatch):
    with pytest.raises(RuntimeError, match="takes cpu tensors; gate is on meta"):
        swiglu(*[torch.ones(1, device="meta")] * 2, backend="cpu")
    monkeypatch.setattr(library, "LEVELS_HERE", (0,))
    with pytest.raises(RuntimeError, match="needs the instruction set avx2"):
        rms_norm(ONES, backend="cpu:avx2")
    monkeypatch.setattr(library, "LOADED", False)
    with pytest.raises(RuntimeError, match=r"not built; run `python setup\.py build_ext"):
        rms_norm(ONES)
