"""Every operator and backend under every transform of torch: the values of the float64 reference
under the same transform, or an error that says what is missing. Zeros are neither.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch.autograd import forward_ad
from torch.utils._pytree import tree_leaves

import pytorch_ext
from pytorch_ext import (
    attention,
    library,
    linear_cross_entropy,
    qk_norm_rope,
    rms_norm,
    rope,
    swiglu,
)
from pytorch_ext.dispatch import TABLE
from pytorch_ext.ops.linear_cross_entropy import chunked as lce_module

# torch's own, about its own decompositions and about the batching of its own attention.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning"),
]

Function = Callable[..., torch.Tensor]
Inputs = tuple[torch.Tensor, ...]


# ---- operators --------------------------------------------------------------------------------


class Operator(NamedTuple):
    """`call(*inputs, backend)`; `inputs` float64, all differentiable."""

    call: Callable[..., torch.Tensor]
    inputs: Inputs


def draw(*shapes: tuple[int, ...]) -> Inputs:
    generator = torch.Generator().manual_seed(0)
    return tuple(
        torch.randn(shape, generator=generator, dtype=torch.float64) * 0.7 for shape in shapes
    )


def add_and_norm(x, residual, weight, backend):
    """rms_norm in all its ways: with a residual, and alone with and without a weight."""
    normed, total = rms_norm(x, weight, residual=residual, backend=backend)
    return normed + rms_norm(total, backend=backend) * rms_norm(x, weight, backend=backend)


ROW_START = torch.tensor([[0, 0, 1, 3], [0, 1, 1, 2]], dtype=torch.int32)
TARGET = torch.tensor([0, 4, -100, 6, 1, 4])
ANGLE = torch.arange(5)[:, None] * 0.9 ** torch.arange(2)
OPERATORS = {
    "attention": Operator(
        functools.partial(attention, row_start=ROW_START),
        draw((2, 4, 2, 2), (2, 4, 1, 2), (2, 4, 1, 2)),
    ),
    "linear_cross_entropy": Operator(
        lambda x, weight, backend: linear_cross_entropy(x, weight, TARGET, backend=backend),
        draw((6, 4), (7, 4)),
    ),
    "qk_norm_rope": Operator(
        lambda q, k, q_weight, k_weight, cos, sin, backend: torch.cat(
            qk_norm_rope(q, k, q_weight, k_weight, cos, sin, backend=backend), dim=2
        ),
        (*draw((2, 5, 2, 4), (2, 5, 1, 4), (4,), (4,)), ANGLE.cos().double(), ANGLE.sin().double()),
    ),
    "rms_norm": Operator(add_and_norm, draw((2, 3, 4), (2, 3, 4), (4,))),
    "rope": Operator(rope, (*draw((2, 5, 2, 4)), ANGLE.cos().double(), ANGLE.sin().double())),
    "swiglu": Operator(swiglu, draw((3, 4), (3, 4))),
}


# The optimizer's, with tests of their own.
WITHOUT_DERIVATIVES = {
    *("adamw_step", "muon_step", "orthogonalize", "total_norm", "weight_gradients")
}
# Triton's are here under its interpreter (tests/pytorch_ext/test_triton_interpreted.py).
BACKENDS = [
    f"{op}-{row.name}"
    for op in TABLE
    for row in TABLE[op]
    if op not in WITHOUT_DERIVATIVES and (row.name != "triton" or "cpu" in row.devices)
]


@pytest.fixture(params=BACKENDS)
def operator(request, monkeypatch) -> tuple[str, str]:
    """Its name and its backend."""
    name, _, backend = request.param.partition("-")
    row = next(row for row in TABLE[name] if row.name == backend)
    if backend == "cuda":
        pytest.skip("needs a GPU: the same functions as the cpu backend")
    if row.missing and (reason := row.missing()):
        pytest.skip(reason)
    monkeypatch.setattr(lce_module, "CHUNK_BYTES", 1)
    return name, backend


def test_every_operator_is_here():
    assert set(OPERATORS) == set(pytorch_ext.__all__) - WITHOUT_DERIVATIVES


# ---- transforms -------------------------------------------------------------------------------


def scalar(f: Function) -> Function:
    """A loss whose second derivative is not zero even where the operator is linear."""
    return lambda *inputs: f(*inputs).square().sum()


def leaves_of(inputs: Inputs) -> Inputs:
    return tuple(x.detach().requires_grad_() for x in inputs)


def ones(inputs: Inputs) -> Inputs:
    return tuple(torch.ones_like(x) for x in inputs)


def places(inputs: Inputs) -> tuple[int, ...]:
    return tuple(range(len(inputs)))


def two_of_each(inputs: Inputs) -> Inputs:
    return tuple(torch.stack((x, -x)) for x in inputs)


def again(gradients: Any, leaves: Inputs, **options: Any) -> Any:
    return torch.autograd.grad(sum(g.square().sum() for g in gradients), leaves, **options)


def backward(f: Function, inputs: Inputs) -> Any:
    leaves = leaves_of(inputs)
    return torch.autograd.grad(scalar(f)(*leaves), leaves)


def second(f: Function, inputs: Inputs) -> Any:
    leaves = leaves_of(inputs)
    return again(torch.autograd.grad(scalar(f)(*leaves), leaves, create_graph=True), leaves)


def third(f: Function, inputs: Inputs) -> Any:
    leaves = leaves_of(inputs)
    first = torch.autograd.grad(scalar(f)(*leaves), leaves, create_graph=True)
    return again(again(first, leaves, create_graph=True), leaves)


def second_by_one_input(f: Function, inputs: Inputs) -> Any:
    first = inputs[0].detach().requires_grad_()
    made = torch.autograd.grad(scalar(f)(first, *inputs[1:]), first, create_graph=True)
    return again(made, (first,))


def backward_twice(f: Function, inputs: Inputs) -> Any:
    leaves = leaves_of(inputs)
    loss = scalar(f)(*leaves)
    loss.backward(retain_graph=True)
    loss.backward()
    return [x.grad for x in leaves]


def batched_gradients(f: Function, inputs: Inputs) -> Any:
    leaves = leaves_of(inputs)
    out = f(*leaves)
    weights = torch.arange(1.0, 4.0).to(out).reshape(3, *(1,) * out.dim()).expand(3, *out.shape)
    return torch.autograd.grad(out, leaves, weights, is_grads_batched=True)


def functional(name: str) -> Callable[[Function, Inputs], Any]:
    """jvp, vhp, hvp of torch.autograd.functional."""

    def transform(f: Function, inputs: Inputs) -> Any:
        return getattr(torch.autograd.functional, name)(scalar(f), inputs, ones(inputs))[1]

    return transform


def forward_dual(f: Function, inputs: Inputs) -> Any:
    with forward_ad.dual_level():
        out = f(*(forward_ad.make_dual(x, x.cos()) for x in inputs))
        return forward_ad.unpack_dual(out).tangent


def func_jvp(f: Function, inputs: Inputs) -> Any:
    return torch.func.jvp(f, inputs, ones(inputs))


def jvp_of_one_input(f: Function, inputs: Inputs) -> Any:
    return torch.func.jvp(lambda x: f(x, *inputs[1:]), inputs[:1], ones(inputs[:1]))


def func_vjp(f: Function, inputs: Inputs) -> Any:
    out, pull = torch.func.vjp(f, *inputs)
    return pull(torch.ones_like(out))


def func_grad(f: Function, inputs: Inputs) -> Any:
    return torch.func.grad_and_value(scalar(f), places(inputs))(*inputs)


def jacobian_of(transform: Callable[..., Any]) -> Callable[[Function, Inputs], Any]:
    return lambda f, inputs: transform(f, places(inputs))(*inputs)


def hessian_of(transform: Callable[..., Any]) -> Callable[[Function, Inputs], Any]:
    return lambda f, inputs: transform(scalar(f), places(inputs))(*inputs)


def reverse_reverse(f: Function, inputs: Inputs) -> Any:
    jacrev = torch.func.jacrev
    return jacrev(jacrev(scalar(f), places(inputs)), places(inputs))(*inputs)


def vmap(f: Function, inputs: Inputs) -> Any:
    return torch.func.vmap(f)(*two_of_each(inputs))


def vmap_one_input_by_its_last_dimension(f: Function, inputs: Inputs) -> Any:
    many = torch.stack((inputs[0], -inputs[0], inputs[0] / 2), dim=-1)
    return torch.func.vmap(f, (-1, *(None,) * (len(inputs) - 1)))(many, *inputs[1:])


def gradients_of_each_sample(f: Function, inputs: Inputs) -> Any:
    return torch.func.vmap(torch.func.grad(scalar(f), places(inputs)))(*two_of_each(inputs))


def gradient_of_a_vmap(f: Function, inputs: Inputs) -> Any:
    together = scalar(torch.func.vmap(f))
    return torch.func.grad(together, places(inputs))(*two_of_each(inputs))


def checkpoint(reentrant: bool) -> Callable[[Function, Inputs], Any]:
    def transform(f: Function, inputs: Inputs) -> Any:
        leaves = leaves_of(inputs)
        run = torch.utils.checkpoint.checkpoint
        run(scalar(f), *leaves, use_reentrant=reentrant).backward()
        return [x.grad for x in leaves]

    return transform


def saved_elsewhere(f: Function, inputs: Inputs) -> Any:
    with torch.autograd.graph.save_on_cpu():
        return backward(f, inputs)


def inference(f: Function, inputs: Inputs) -> Any:
    with torch.inference_mode():
        return f(*inputs).clone()


def any_strides(f: Function, inputs: Inputs) -> Any:
    def spread(x: torch.Tensor) -> torch.Tensor:
        return torch.stack((x, x), dim=-1).mT.contiguous().mT[..., 0].detach()

    return backward(f, tuple(spread(x) for x in inputs))


def expanded(f: Function, inputs: Inputs) -> Any:
    """Tensors of one number each, seen as many."""
    return backward(f, tuple(x.flatten()[:1].expand(x.shape) for x in inputs))


def each_input_alone(f: Function, inputs: Inputs) -> Any:
    made = []
    for i, x in enumerate(inputs):
        leaf = x.detach().requires_grad_()
        made += torch.autograd.grad(scalar(f)(*inputs[:i], leaf, *inputs[i + 1 :]), leaf)
    return made


def functionalized(f: Function, inputs: Inputs) -> Any:
    return torch.func.functionalize(f)(*inputs)


def deterministic(f: Function, inputs: Inputs) -> Any:
    torch.use_deterministic_algorithms(True)
    try:
        return backward(f, inputs)
    finally:
        torch.use_deterministic_algorithms(False)


def compiled_dynamic(f: Function, inputs: Inputs) -> Any:
    return backward(torch.compile(f, fullgraph=True, dynamic=True, backend="aot_eager"), inputs)


def compiled(f: Function, inputs: Inputs) -> Any:
    return backward(torch.compile(f, fullgraph=True, backend="aot_eager"), inputs)


def compiled_func_grad(f: Function, inputs: Inputs) -> Any:
    whole = torch.func.grad(scalar(f), places(inputs))
    return torch.compile(whole, fullgraph=True, backend="aot_eager")(*inputs)


def compiled_jvp(f: Function, inputs: Inputs) -> Any:
    def whole(*inputs: torch.Tensor) -> Any:
        return torch.func.jvp(f, inputs, ones(inputs))

    return torch.compile(whole, fullgraph=True, backend="aot_eager")(*inputs)


def compiled_second(f: Function, inputs: Inputs) -> Any:
    return second(torch.compile(f, fullgraph=True, backend="aot_eager"), inputs)


def exported(f: Function, inputs: Inputs) -> Any:
    class Module(torch.nn.Module):
        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            return f(*inputs)

    return torch.export.export(Module(), inputs).module()(*inputs)


TRANSFORMS = {
    "backward": backward,
    "create_graph": second,
    "create_graph twice": third,
    "create_graph, one input": second_by_one_input,
    "backward, each input": each_input_alone,
    "backward twice": backward_twice,
    "is_grads_batched": batched_gradients,
    "functional.jvp": functional("jvp"),
    "functional.vhp": functional("vhp"),
    "functional.hvp": functional("hvp"),
    "functional.hessian": lambda f, inputs: torch.autograd.functional.hessian(scalar(f), inputs),
    "forward_ad": forward_dual,
    "func.jvp": func_jvp,
    "func.jvp, one input": jvp_of_one_input,
    "func.vjp": func_vjp,
    "func.grad": func_grad,
    "func.jacrev": jacobian_of(torch.func.jacrev),
    "func.jacfwd": jacobian_of(torch.func.jacfwd),
    "func.hessian": hessian_of(torch.func.hessian),
    "func.jacrev of jacrev": reverse_reverse,
    "vmap": vmap,
    "vmap, one input": vmap_one_input_by_its_last_dimension,
    "vmap of grad": gradients_of_each_sample,
    "grad of vmap": gradient_of_a_vmap,
    "checkpoint": checkpoint(False),
    "checkpoint, reentrant": checkpoint(True),
    "save_on_cpu": saved_elsewhere,
    "inference_mode": inference,
    "any strides": any_strides,
    "expanded": expanded,
    "functionalize": functionalized,
    "deterministic": deterministic,
    "compile": compiled,
    "compile, dynamic": compiled_dynamic,
    "compile of func.grad": compiled_func_grad,
    "compile of func.jvp": compiled_jvp,
    "create_graph of compile": compiled_second,
    "export": exported,
}

# What torch's own kernels lack, and torch.compile; each says so.
NO_SECOND = "derivative for aten::_scaled_dot_product_.* is not implemented"
NO_FORWARD = "Trying to use forward AD with _scaled_dot_product_.* does not support it"
SDPA_LACKS = {
    **dict.fromkeys(
        (
            "create_graph",
            "create_graph twice",
            "create_graph, one input",
            "functional.jvp",
            "functional.vhp",
            "functional.hvp",
            "functional.hessian",
            "func.jacrev of jacrev",
        ),
        NO_SECOND,
    ),
    **dict.fromkeys(
        ("forward_ad", "func.jvp", "func.jvp, one input", "func.jacfwd", "func.hessian"),
        NO_FORWARD,
    ),
    "compile of func.jvp": "Trying to use forward AD|NotImplementedError",
}
COMPILE_LACKS = {"create_graph of compile": "does not currently support double backward"}


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_transform_is_right_or_says_why_not(operator, transform):
    name, backend = operator
    call, exact_inputs = OPERATORS[name]
    inputs = tuple(x.float() for x in exact_inputs)
    function = functools.partial(call, backend=backend)
    torch.compiler.reset()

    lacking = COMPILE_LACKS | (SDPA_LACKS if backend == "sdpa" else {})
    if transform in lacking:
        with pytest.raises((RuntimeError, NotImplementedError), match=lacking[transform]):
            TRANSFORMS[transform](function, inputs)
        return

    found = tree_leaves(TRANSFORMS[transform](function, inputs))
    exact = reference_under(name, transform)
    assert len(found) == len(exact)
    for a, b in zip(found, exact, strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a.double(), b, rtol=1e-3, atol=1e-4 * (1 + float(b.abs().max())))


@functools.cache
def reference_under(name: str, transform: str) -> list[torch.Tensor]:
    """The float64 reference under the transform: not zero, or comparing would show nothing."""
    call, inputs = OPERATORS[name]
    exact = tree_leaves(TRANSFORMS[transform](functools.partial(call, backend="reference"), inputs))
    assert all(x.dtype == torch.float64 for x in exact)
    assert any(x.any() for x in exact)
    return exact


@pytest.mark.parametrize("name", ["attention", "linear_cross_entropy"])
@pytest.mark.parametrize("transform", ["create_graph", "func.jvp", "vmap of grad"])
def test_bfloat16_has_the_same_derivatives_at_its_own_accuracy(name, transform):
    call, exact_inputs = OPERATORS[name]
    inputs = tuple(x.bfloat16() for x in exact_inputs)
    function = functools.partial(call, backend=None)
    found = tree_leaves(TRANSFORMS[transform](function, inputs))
    reference = functools.partial(call, backend="reference")
    exact = tree_leaves(TRANSFORMS[transform](reference, tuple(x.double() for x in inputs)))
    for a, b in zip(found, exact, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=0.05, atol=0.1 * float(b.abs().max()))


def test_gradgradcheck_of_the_chunked_loss(monkeypatch):
    monkeypatch.setattr(lce_module, "CHUNK_BYTES", 1)
    call, inputs = OPERATORS["linear_cross_entropy"]
    leaves = leaves_of(inputs)
    loss = functools.partial(call, backend="chunked")
    assert torch.autograd.gradcheck(
        loss,
        leaves,
        check_forward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=True,
    )
    assert torch.autograd.gradgradcheck(loss, leaves, check_batched_grad=True)


@pytest.mark.skipif(not library.LOADED, reason="the operators are not compiled")
def test_the_operators_below_have_their_own_second_derivative():
    """torch.ops.pytorch_ext.* themselves, which a compiled graph holds."""
    q, k, v = leaves_of(tuple(x.float() for x in OPERATORS["attention"].inputs))
    out, log_sum = torch.ops.pytorch_ext.attention_forward(q, k, v, ROW_START, 0.5, -1)
    assert not log_sum.requires_grad
    grad = torch.ones_like(out).requires_grad_()
    made = torch.autograd.grad(out, (q, k, v), grad, create_graph=True)
    found = again(made, (grad, q, k, v))

    exact = tuple(x.detach().double().requires_grad_() for x in (q, k, v))
    exact_grad = grad.detach().double().requires_grad_()
    true_out = attention(*exact, row_start=ROW_START, scale=0.5, backend="reference")
    true = torch.autograd.grad(true_out, exact, exact_grad, create_graph=True)
    for a, b in zip(found, again(true, (exact_grad, *exact)), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-3, atol=1e-4)
