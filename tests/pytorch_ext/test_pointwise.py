"""rms_norm, rope and swiglu: values against their definitions, gradients, dtypes, compilation,
errors.
"""

import math

import pytest
import torch

from pytorch_ext import rms_norm, rope, swiglu

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp64": torch.float64}


def draw(*shape: int, dtype=torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def angles(length: int, half: int) -> tuple[torch.Tensor, torch.Tensor]:
    angle = torch.arange(length)[:, None] * 0.9 ** torch.arange(half)
    return angle.cos(), angle.sin()


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 17), (2, 5, 64), (4, 127)], ids=str)
def test_rms_norm_scales_rows_to_a_root_mean_square_of_one(shape, dtype):
    x, weight = draw(*shape, dtype=dtype) * 30, draw(shape[-1], dtype=dtype, seed=1)
    exact = x.double() / (x.double().square().mean(-1, keepdim=True) + 1e-6).sqrt()
    unit = torch.finfo(dtype).eps
    for found, true in (
        (rms_norm(x, None, 1e-6), exact),
        (rms_norm(x, weight, 1e-6), exact * weight.double()),
    ):
        assert found.dtype == dtype
        assert torch.allclose(found.double(), true, rtol=4 * unit, atol=0)


def test_rms_norm_of_zeros_is_zero_and_of_infinity_is_nan():
    assert torch.equal(rms_norm(torch.zeros(2, 8), None, 1e-6), torch.zeros(2, 8))
    x = torch.ones(2, 8)
    x[0, 3] = math.inf
    assert rms_norm(x)[0, 3].isnan()
    assert torch.allclose(rms_norm(x)[1], torch.ones(8))


def test_rope_turns_pairs_and_leaves_lengths():
    x, (cos, sin) = draw(2, 9, 3, 8), angles(9, 4)
    turned = rope(x, cos, sin)
    pairs = torch.complex(x[..., :4], x[..., 4:]) * torch.complex(cos, sin)[:, None]
    assert torch.allclose(turned, torch.cat((pairs.real, pairs.imag), -1), atol=1e-6)
    assert torch.allclose(turned.norm(dim=-1), x.norm(dim=-1), rtol=1e-5)
    assert torch.equal(turned[:, 0], x[:, 0]), "position 0 does not turn"


def test_rope_products_depend_on_distance_only():
    q, k, (cos, sin) = draw(1, 1, 1, 16).double(), draw(1, 1, 1, 16, seed=1).double(), angles(40, 8)

    def product(t: int, s: int) -> torch.Tensor:
        return (
            rope(q, cos[t : t + 1], sin[t : t + 1]) * rope(k, cos[s : s + 1], sin[s : s + 1])
        ).sum()

    assert torch.allclose(product(7, 3), product(39, 35), atol=1e-5)


def test_rope_takes_positions_by_row():
    x, (cos, sin) = draw(2, 5, 2, 8), angles(20, 4)
    position = torch.tensor([[0, 1, 2, 0, 1], [3, 4, 5, 6, 7]])
    by_row = rope(x, cos[position], sin[position])
    for row in range(2):
        assert torch.equal(
            by_row[row : row + 1], rope(x[row : row + 1], cos[position[row]], sin[position[row]])
        )


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_swiglu_gates(dtype):
    gate, up = draw(3, 33, dtype=dtype) * 5, draw(3, 33, dtype=dtype, seed=1)
    exact = gate.double() * gate.double().sigmoid() * up.double()
    unit = torch.finfo(dtype).eps
    assert torch.allclose(swiglu(gate, up).double(), exact, rtol=4 * unit, atol=unit * 1e-3)
    extreme = torch.tensor([-1e30, 1e30], dtype=dtype)
    assert torch.equal(swiglu(extreme, torch.ones_like(extreme)), extreme.clamp(min=0))


def test_gradients_are_those_of_the_values():
    shapes = ((2, 3, 2, 4), (2, 3, 2, 4), (4,))
    x, other, weight = (
        draw(*s, dtype=torch.float64, seed=i).requires_grad_() for i, s in enumerate(shapes)
    )
    cos, sin = angles(3, 2)
    assert torch.autograd.gradcheck(lambda a, w: rms_norm(a, w, 1e-6), (x, weight))
    assert torch.autograd.gradcheck(lambda a: rope(a, cos.double(), sin.double()), (x,))
    assert torch.autograd.gradcheck(swiglu, (x, other))


def test_compiles_whole():
    def block(x, gate, weight, cos, sin):
        return swiglu(rope(rms_norm(x, weight, 1e-6), cos, sin), gate)

    inputs = (
        draw(2, 6, 2, 8).bfloat16(),
        draw(2, 6, 2, 8, seed=1).bfloat16(),
        draw(8),
        *angles(6, 4),
    )
    assert torch.equal(
        torch.compile(block, fullgraph=True, backend="aot_eager")(*inputs), block(*inputs)
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rms_norm(torch.ones(2, 4), torch.ones(3)), r"weight is \[3\], x \[2, 4\]"),
        (lambda: rms_norm(torch.ones(2, 4), torch.ones(1, 4)), r"weight \[C\] expected"),
        (lambda: rope(torch.ones(2, 4, 2, 5), *angles(4, 2)), r"an even D expected"),
        (
            lambda: rope(torch.ones(2, 4, 2, 8), *angles(5, 4)),
            r"cos \[5, 4\].*\[4, 4\] or \[2, 4, 4\] expected",
        ),
        (lambda: swiglu(torch.ones(2, 4), torch.ones(4)), "the same expected"),
        (lambda: swiglu(torch.ones(4), torch.ones(4).bfloat16()), "the same expected"),
    ],
    ids=["rms-length", "rms-rank", "rope-odd", "rope-length", "swiglu-shape", "swiglu-dtype"],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: rms_norm([1.0]), TypeError, "rms_norm: x is a list; a torch.Tensor expected"),
        (lambda: rms_norm(torch.ones(4), [1.0] * 4), TypeError, "weight is a list"),
        (lambda: rms_norm(torch.ones(4), None, "1e-6"), TypeError, "eps is a str; a number"),
        (lambda: rms_norm(torch.ones(4).long()), ValueError, "x is torch.int64; floating point"),
        (lambda: rms_norm(torch.tensor(1.0)), ValueError, r"x is \[\]"),
        (lambda: rope(torch.ones(1, 4, 2, 4), None, None), TypeError, "cos is a NoneType"),
        (lambda: rope(torch.ones(1, 4, 2, 4).int(), *angles(4, 2)), ValueError, "x is torch.int32"),
        (lambda: swiglu(torch.ones(4), 2.0), TypeError, "up is a float; a torch.Tensor expected"),
        (lambda: swiglu(torch.ones(4).int(), torch.ones(4).int()), ValueError, "gate is torch.int"),
    ],
)
def test_what_is_no_tensor_number_or_float_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
