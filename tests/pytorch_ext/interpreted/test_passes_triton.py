"""rms_norm, qk_norm_rope and swiglu by their Triton kernels, interpreted: the rules of
tests/pytorch_ext/test_passes.py.

The interpreter rounds to bfloat16 towards zero, where a GPU rounds to nearest: bfloat16 has a rule
of its own here.
"""

import math

import pytest
import torch

from pytorch_ext import qk_norm_rope, rms_norm, swiglu
from pytorch_ext.ops.rms_norm import rms_norm_triton
from tests.pytorch_ext.test_passes import (
    EPS,
    PASSES,
    angles,
    arguments_below,
    check_accuracy,
    exact_of,
    make_inputs,
    run,
)

# numpy warns of infinities and NaN, which a GPU makes in silence.
pytestmark = [
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:Conversion of an array:DeprecationWarning"),  # triton 3.6
]

NAMES = ("norm", "norm-unweighted", "add-norm", "add-norm-unweighted", "qk-norm-rope", "swiglu")
DTYPES = {"fp32": torch.float32, "fp16": torch.float16}
# (rows, width): every width of the rule once, several tiles and short last ones among them.
SIZES = ((1, 1), (17, 17), (70, 127), (9, 128), (33, 129), (2, 1023))

every_pass = pytest.mark.parametrize("name", NAMES)
every_dtype = pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)


@every_dtype
@every_pass
def test_matches_the_reference(name, dtype):
    for rows, width in SIZES:
        check_accuracy(name, make_inputs(name, rows, width, dtype), dtype, "triton")


@pytest.mark.long
@every_dtype
@every_pass
def test_matches_the_reference_on_all_small_sizes(name, dtype):
    for width in (*range(1, 137), 255, 256, 257, 769, 2049):
        for rows in (1, 3, 40):
            inputs = make_inputs(name, rows, width, dtype, seed=width)
            check_accuracy(name, inputs, dtype, "triton")


@every_pass
def test_bfloat16_is_within_a_unit(name):
    inputs = make_inputs(name, 9, 40, torch.bfloat16)
    exact = exact_of(name, inputs, torch.bfloat16)
    for a, b in zip(run(name, inputs, "triton"), exact, strict=True):
        unit = torch.finfo(a.dtype).eps if a.dtype == torch.bfloat16 else 1e-2
        torch.testing.assert_close(a.double(), b, rtol=2 * unit, atol=unit * float(b.abs().max()))


@every_pass
@pytest.mark.parametrize("spread", [1e-15, 30.0, 1e15])
def test_small_and_large_values(name, spread):
    inputs = make_inputs(name, 9, 40, torch.float32, spread=spread)
    check_accuracy(name, inputs, torch.float32, "triton", of_one_size=False)


@pytest.mark.parametrize("name", ["norm", "norm-unweighted", "swiglu"])
def test_values_at_the_edge_of_the_range_are_the_references(name):
    edge = torch.tensor([[3e38, -3e38, 1e30, -1e30, 89.0, -89.0, -0.0, 1e-38] * 3])
    inputs = {key: torch.ones_like(x) for key, x in make_inputs(name, 1, 24, edge.dtype).items()}
    inputs[next(iter(inputs))] = edge
    found, expected = (run(name, inputs, backend) for backend in ("triton", "reference"))
    for a, b in zip(found, expected, strict=True):
        known = b.isfinite()
        assert torch.allclose(a[known], b[known], rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf], ids=["nan", "inf", "-inf"])
@every_pass
def test_a_poisoned_row_stays_alone(name, poison):
    rows, at = 40, 7
    clean = make_inputs(name, rows, 24, torch.float32)
    sick = {key: x.clone() for key, x in clean.items()}
    for key, x in sick.items():
        if key not in PASSES[name].weights:
            x.select(x.shape.index(rows), at)[..., 3] = poison

    found, before = (run(name, inputs, "triton") for inputs in (sick, clean))
    others = torch.arange(rows) != at
    for a, b in zip(found, before, strict=True):
        if a.dim() == 1:
            assert a.isnan().any()
            continue
        row = a.shape.index(rows)
        assert torch.equal(a.movedim(row, 0)[others], b.movedim(row, 0)[others])
        assert not a.select(row, at).isfinite().all()


def test_rows_beyond_the_last_do_not_enter_the_weights_gradient():
    """With an eps of zero the root of their zeros is infinite."""
    x, grad = torch.ones(5, 16), torch.ones(5, 16)
    _, grad_weight = rms_norm_triton.rms_norm_backward(grad, None, x, torch.ones(16), 0.0, -2)
    assert torch.equal(grad_weight, torch.full((16,), 5.0))


@every_pass
def test_any_strides_give_the_same_bits(name):
    inputs = make_inputs(name, 37, 48, torch.float16)
    plain = run(name, inputs, "triton")

    def longer_rows(x: torch.Tensor) -> torch.Tensor:  # as a view of a fused projection
        return torch.cat((x, x), dim=-1)[..., : x.shape[-1]]

    def columns(x: torch.Tensor) -> torch.Tensor:  # the last dimension isn't dense
        return x.mT.contiguous().mT if x.dim() > 1 else torch.stack((x, x), dim=-1)[:, 0]

    for layout in (longer_rows, columns):
        views = {key: layout(x) for key, x in inputs.items()}
        for a, b in zip(plain, run(name, views, "triton"), strict=True):
            assert torch.equal(a, b)
            assert a.is_contiguous()


def test_expanded_gradients_are_read_correctly():
    x = torch.randn(5, 16, requires_grad=True)
    (found,) = torch.autograd.grad(rms_norm(x, backend="triton").sum(), x)
    (expected,) = torch.autograd.grad(rms_norm(x, backend="triton"), x, torch.ones(5, 16))
    assert torch.equal(found, expected)


def test_angles_of_each_row_and_their_gradients():
    inputs = make_inputs("qk-norm-rope", 6, 8, torch.float32)
    cos, sin = angles(20, 4)
    position = torch.tensor([[0, 1, 2, 0, 1, 2], [3, 4, 5, 6, 7, 8]])

    def results(backend: str) -> list[torch.Tensor]:
        turned = cos[position].requires_grad_(), sin[position].requires_grad_()
        made = qk_norm_rope(*inputs.values(), *turned, EPS, backend=backend)
        return [*made, *torch.autograd.grad(sum(x.square().sum() for x in made), turned)]

    for a, b in zip(results("triton"), results("reference"), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@every_pass
@pytest.mark.parametrize("rows", [0, 3])
def test_empty_tensors_give_empty_results(name, rows):
    inputs = make_inputs(name, rows, 16 if rows == 0 else 0, torch.float32)
    found = run(name, inputs, "triton")
    for a, b in zip(found, run(name, inputs, "reference"), strict=True):
        assert a.shape == b.shape
        assert not a.any(), "gradients of the weights are zero"


@every_pass
def test_repeats_give_the_same_bits(name):
    inputs = make_inputs(name, 70, 48, torch.float32)
    first = run(name, inputs, "triton")
    for a, b in zip(first, run(name, inputs, "triton"), strict=True):
        assert torch.equal(a, b)


@every_pass
def test_opcheck(name):
    forward, backward, forward_arguments, backward_arguments = arguments_below(name, torch.float32)
    *forward_arguments, _ = forward_arguments
    *backward_arguments, _ = backward_arguments
    operators = torch.ops.pytorch_ext
    torch.library.opcheck(getattr(operators, f"{forward}_triton"), (*forward_arguments, -2))
    plain = (x.detach() if isinstance(x, torch.Tensor) else x for x in backward_arguments)
    torch.library.opcheck(getattr(operators, f"{backward}_triton"), (*plain, -2))


@every_pass
def test_compiles_whole_and_gives_the_same_bits(name):
    torch.compiler.reset()
    keys = list(PASSES[name].shapes(1, 1))

    def loss(*tensors: torch.Tensor) -> torch.Tensor:
        outputs = PASSES[name].call(dict(zip(keys, tensors, strict=True)), "triton")
        return sum(x.float().square().sum() for x in outputs)

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for rows in (33, 50):  # the second shape is traced with a symbolic length
        inputs = make_inputs(name, rows, 16, torch.float32)
        grads = []
        for function in (loss, compiled):
            leaves = [x.detach().requires_grad_() for x in inputs.values()]
            grads.append(torch.autograd.grad(function(*leaves), leaves))
        for a, b in zip(*grads, strict=True):
            assert torch.equal(a, b)


def test_other_dtypes_are_refused_by_name():
    x = torch.ones(2, 4, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="takes float32, bfloat16, float16; gate is"):
        swiglu(x, x, backend="triton")
