"""Every operator and backend where torch runs it without computing, or in modes of its own: fakes,
autocast, empty batches, other devices, copies. What it is differentiated and traced by is in
test_transforms.py, whose table of operators this takes.
"""

import copy
import functools
import pickle

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import pytorch_ext
from pytorch_ext import attention, library, linear_cross_entropy, qk_norm_rope, rms_norm, swiglu
from tests.pytorch_ext.test_transforms import OPERATORS, leaves_of, operator

__all__ = ["operator"]  # the fixture: every operator and backend that is here

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# Products are most of the work, so autocast's dtype is theirs; the loss is float32 all the same.
PRODUCTS = ("attention", "linear_cross_entropy")
every_dtype = pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)


def below() -> list[str]:
    """Names of the operators that the library registers for those of the table."""
    names = (name.partition(".")[0] for name in torch._C._dispatch_get_all_op_names())
    ours = sorted({name for name in names if name.startswith("pytorch_ext::")})
    return [
        n for n in ours if n.partition("::")[2].removeprefix("add_").startswith(tuple(OPERATORS))
    ]


@pytest.mark.skipif(not library.LOADED, reason="the operators are not compiled")
def test_whatever_is_registered_has_a_fake_and_derivatives_and_changes_nothing():
    for name in OPERATORS:
        assert callable(getattr(pytorch_ext, name))  # its module registers fakes and derivatives
    names = below()
    assert len(names) >= 10
    for name in names:
        has = functools.partial(torch._C._dispatch_has_kernel_for_dispatch_key, name)
        assert has("Autograd") or has("AutogradCPU"), f"{name} has no derivative"
        assert has("Meta"), f"{name} has no fake"
        schema = getattr(torch.ops.pytorch_ext, name.partition("::")[2]).default._schema
        assert not schema.is_mutable, f"{name} writes to its arguments"


@every_dtype
def test_a_fake_has_the_layout_of_the_real_one(operator, dtype):
    name, backend = operator
    inputs = tuple(x.to(dtype) for x in OPERATORS[name].inputs)
    real = OPERATORS[name].call(*inputs, backend=backend)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fakes = tuple(mode.from_tensor(x) for x in inputs)
        fake = OPERATORS[name].call(*fakes, backend=backend)
    for attribute in ("shape", "dtype", "device"):
        assert getattr(fake, attribute) == getattr(real, attribute)
    assert fake.stride() == real.stride()


@every_dtype
def test_autocast_casts_products_alone_and_keeps_the_values(operator, dtype):
    name, backend = operator
    call, exact_inputs = OPERATORS[name]
    inputs = leaves_of(tuple(x.to(dtype) for x in exact_inputs))
    with torch.autocast("cpu", torch.bfloat16):
        out = call(*inputs, backend=backend)
    expected = {"attention": torch.bfloat16, "linear_cross_entropy": torch.float32}
    assert out.dtype == expected.get(name, dtype)
    grads = torch.autograd.grad(out.float().square().sum(), inputs)
    assert [g.dtype for g in grads] == [dtype] * len(inputs)

    exact = leaves_of(tuple(x.detach().double() for x in inputs))
    true = call(*exact, backend="reference")
    true_grads = torch.autograd.grad(true.square().sum(), exact)
    for a, b in zip((out.detach(), *grads), (true.detach(), *true_grads), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=0.05, atol=0.05 * float(b.abs().max()))


class Zeros(TorchDispatchMode):
    """Calls of operators that make zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if "zero" in func.name():
            self.made.append(func.name())
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", PRODUCTS)
@every_dtype
def test_backward_makes_no_zeros_for_outputs_that_have_no_gradient(name, dtype):
    """Of the loss those are as large as the head's matrix."""
    call, inputs = OPERATORS[name].call, OPERATORS[name].inputs
    leaves = leaves_of(tuple(x.to(dtype) for x in inputs))
    out = call(*leaves, backend=None)
    with Zeros() as zeros:
        torch.autograd.grad(out, leaves, torch.ones_like(out))
    assert not zeros.made


# A narrow tensor beside a wide one, as autocast leaves them: (call, dtype of the results).
NARROW, WIDE = torch.ones(2, 4, 2, 8).bfloat16(), torch.ones(2, 4, 2, 8)
GAIN, TURN = torch.ones(8), torch.ones(4, 4)
MIXED = {
    "attention": (lambda: attention(NARROW, WIDE, WIDE), torch.bfloat16),
    "qk_norm_rope": (lambda: qk_norm_rope(NARROW, WIDE, GAIN, GAIN, TURN, TURN), torch.float32),
    "rms_norm": (lambda: rms_norm(NARROW, GAIN, residual=WIDE), torch.float32),
    "swiglu": (lambda: swiglu(NARROW, WIDE), torch.float32),
}


@pytest.mark.parametrize("name", MIXED)
def test_dtypes_that_differ_meet_under_autocast_and_nowhere_else(name):
    call, dtype = MIXED[name]
    with torch.autocast("cpu", torch.bfloat16):
        assert {x.dtype for x in tree_leaves(call())} == {dtype}
    with pytest.raises(ValueError, match=r"torch\.bfloat16.* the same expected"):
        call()


def test_autocast_leaves_integers_an_error_and_float64_alone():
    whole = torch.ones(1, 2, 1, 4).int()
    with torch.autocast("cpu", torch.bfloat16):
        with pytest.raises(ValueError, match=r"q is torch\.int32; floating point expected"):
            attention(whole, whole, whole)
        assert attention(*[whole.double()] * 3).dtype == torch.float64


def test_the_reference_of_attention_is_exact_under_autocast_too():
    """Its products are in float32, whatever autocast would make of them."""
    q, k, v = (x.bfloat16() for x in OPERATORS["attention"].inputs)
    alone = attention(q, k, v, backend="reference")
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(attention(q, k, v, backend="reference"), alone)


@pytest.mark.parametrize("name", PRODUCTS)
def test_autocast_is_traced(name):
    inputs = tuple(x.float() for x in OPERATORS[name].inputs)
    call = functools.partial(OPERATORS[name].call, backend=None)

    def run(*inputs: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return call(*inputs)

    torch.compiler.reset()
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")(*inputs)
    assert torch.equal(compiled, run(*inputs))


def test_an_empty_batch_gives_empty_results_and_gradients_of_zero(operator):
    name, backend = operator
    inputs = tuple(x.float() for x in OPERATORS[name].inputs)
    if name == "linear_cross_entropy":
        x, weight = leaves_of((inputs[0][:0], inputs[1]))
        none = torch.zeros(0, dtype=torch.int64)
        out, leaves = linear_cross_entropy(x, weight, none, backend=backend), (x, weight)
        assert out == 0
    elif name == "attention":
        leaves = leaves_of(tuple(x[:0] for x in inputs))
        out = attention(*leaves, backend=backend)
    else:
        leaves = leaves_of(tuple(x[:0] if x.dim() > 2 or name == "swiglu" else x for x in inputs))
        out = OPERATORS[name].call(*leaves, backend=backend)
    grads = torch.autograd.grad(out.sum(), leaves)
    assert [g.shape for g in grads] == [x.shape for x in leaves]
    assert not any(g.any() for g in grads)


@pytest.mark.parametrize("name", OPERATORS)
def test_tensors_on_two_devices_are_named(name):
    """meta stands for any other."""
    inputs = tuple(x.float() for x in OPERATORS[name].inputs)
    for i in range(1, len(inputs)):
        mixed = (*inputs[:i], inputs[i].to("meta"), *inputs[i + 1 :])
        with pytest.raises(ValueError, match=rf"{name}: \w+ is on meta, \w+ on cpu"):
            OPERATORS[name].call(*mixed, backend=None)


def test_meta_tensors_give_meta_tensors():
    for name, (call, exact) in OPERATORS.items():
        inputs = tuple(x.float() for x in exact)
        if name in PRODUCTS:
            continue  # the table's own row starts and targets lie on the CPU
        out = call(*(x.to("meta") for x in inputs), backend=None)
        assert (out.device.type, out.shape) == ("meta", call(*inputs, backend=None).shape)


@pytest.mark.parametrize("name", pytorch_ext.__all__)
def test_a_function_is_copied_and_pickled_by_name(name):
    function = getattr(pytorch_ext, name)
    assert pickle.loads(pickle.dumps(function)) is function  # noqa: S301
    held = functools.partial(function, backend="reference")
    assert copy.deepcopy(held).func is function


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_inductor_compiles_forward_and_backward(operator, dynamic):
    """Half a minute an operator: pytest -m long tests/pytorch_ext/test_citizenship.py"""
    name, backend = operator
    inputs = tuple(x.float() for x in OPERATORS[name].inputs)
    call = functools.partial(OPERATORS[name].call, backend=backend)
    torch.compiler.reset()
    made = []
    for run in (call, torch.compile(call, fullgraph=True, dynamic=dynamic)):
        leaves = leaves_of(inputs)
        out = run(*leaves)
        made.append((out.detach(), *torch.autograd.grad(out.square().sum(), leaves)))
    for a, b in zip(*made, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
