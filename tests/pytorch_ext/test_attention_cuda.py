"""pytorch_ext.attention on a GPU. tests/csrc/test_cuda_emulation.py runs the same kernels on a CPU;
here are the compiler, the hardware and torch's side of it.
"""

import math

import pytest
import torch

from tests.pytorch_ext.test_attention import (
    MASKS,
    SHAPES,
    Case,
    errors,
    make_inputs,
    make_row_start,
    run,
    yardstick,
)

DEVICE, BACKEND = "cuda", "cuda"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Several tiles of queries and keys, and few blocks for all multiprocessors.
LONG = [Case(1, 1023, 4, 2, 64), Case(2, 640, 2, 2, 128), Case(1, 513, 3, 1, 96)]

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


def on_device(inputs, row_start, **options) -> list[torch.Tensor]:
    """Output and gradients, brought back."""
    moved = [x.to(DEVICE) for x in inputs]
    starts = None if row_start is None else row_start.to(DEVICE)
    return [x.cpu() for x in run(moved, starts, BACKEND, **options)]


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("case", [c for c in SHAPES if c.dim <= 128] + LONG, ids=str)
def test_matches_the_reference(case, dtype, mask):
    inputs, row_start = make_inputs(case, dtype), make_row_start(mask, case.batch, case.length)
    exact, theirs = yardstick(case, dtype, mask, 0, 1.0)
    ours_all = errors(on_device(inputs, row_start), exact)
    for name, ours, sdpa, true in zip("oqkv", ours_all, theirs, exact, strict=True):
        slack = 8 * torch.finfo(dtype).eps * true.abs().max().item()
        assert ours <= (2 if name == "o" else 3) * sdpa + slack, (
            f"{name}: {ours:.2e}, SDPA {sdpa:.2e}"
        )


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_any_strides_give_the_same_bits(dtype):
    inputs, row_start = (
        make_inputs(Case(2, 75, 4, 2, 40), dtype),
        make_row_start("documents", 2, 75),
    )
    plain = on_device(inputs, row_start)
    moved = [x.to(DEVICE) for x in inputs]
    fused = torch.cat(moved[:3], dim=2)
    odd = torch.cat([moved[3][..., :1], moved[3]], dim=3)[..., 1:]  # rows begin at odd addresses
    views = [*fused.split((4, 2, 2), dim=2), odd]
    for a, b in zip(plain, run(views, row_start.to(DEVICE), BACKEND), strict=True):
        assert torch.equal(a, b.cpu())


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("poison", [math.nan, math.inf], ids=["nan", "inf"])
def test_a_poisoned_document_stays_alone(dtype, poison):
    """The neighbours' outputs and gradients keep every bit; the document itself becomes NaN."""
    first, last = 150, 301
    row_start = torch.zeros(1, 450, dtype=torch.int32)
    row_start[:, first:last], row_start[:, last:] = first, last
    clean = make_inputs(Case(1, 450, 4, 2, 64), dtype)
    for x in clean:
        x[:, first:last] = 0
    sick = [x.clone() for x in clean]
    for x in sick:
        x[:, first:last] = poison
    for a, b in zip(on_device(clean, row_start), on_device(sick, row_start), strict=True):
        assert torch.equal(a[:, :first], b[:, :first])
        assert torch.equal(a[:, last:], b[:, last:])
        assert b[:, first:last].isnan().all()


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_repeats_give_the_same_bits(dtype):
    inputs, row_start = (
        make_inputs(Case(2, 700, 4, 2, 64), dtype),
        make_row_start("documents", 2, 700),
    )
    first = on_device(inputs, row_start)
    for _ in range(20):
        for a, b in zip(first, on_device(inputs, row_start), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("exponent", [0, 10, 20, 40, 58])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_equal_large_scores_weigh_the_same(dtype, exponent):
    """As in test_magnitudes.py: scores up to 1e37, all of one query's equal."""
    inputs = [x.double().mul(2).round() for x in make_inputs(Case(1, 70, 2, 2, 16), torch.float32)]
    q, k, v, grad = inputs
    scaled = [
        x.to(dtype) for x in (q * 2.0**exponent, k[:, :1].expand_as(k) * 2.0**exponent, v, grad)
    ]
    out = on_device(scaled, None)[0]
    mean = scaled[2].double().cumsum(1) / torch.arange(1, 71)[None, :, None, None]
    torch.testing.assert_close(out.double(), mean, rtol=0, atol=8 * torch.finfo(dtype).eps)


def test_a_head_dimension_above_128_is_refused():
    with pytest.raises(RuntimeError, match="the CUDA kernels take up to 128"):
        on_device(make_inputs(Case(1, 10, 1, 1, 136), torch.bfloat16), None)
