"""Scores as large as float32 holds, at every instruction set: softmax of what is finite is finite
and right, and what overflows is NaN where it is seen and nowhere else.

Queries and keys are small whole numbers times a power of two, so that every score is exact in
float32 and bfloat16 alike, ties included, and the float64 reference sees the same scores.
"""

import math

import pytest
import torch

from pytorch_ext import attention, library, linear_cross_entropy
from pytorch_ext.dispatch import LEVELS
from pytorch_ext.ops.linear_cross_entropy import chunked as lce_module

# Not sdpa: torch's own kernel adds maximum and log-sum, and its gradients are wrong from 1e5 on.
BACKENDS = [f"cpu:{LEVELS[i]}" for i in library.LEVELS_HERE] + ["reference"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
EXPONENTS = (0, 5, 10, 15, 20, 30, 40, 50, 58)  # of either side: scores up to 1e37
LENGTH, DIM = 70, 16


def whole(*shape: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-3, 4, shape, generator=generator).double()


def problem(dtype: torch.dtype, exponent: int) -> list[torch.Tensor]:
    """q, k, v and a gradient."""
    q, k = (whole(1, LENGTH, 2, DIM, seed=seed) * 2.0**exponent for seed in (0, 1))
    v, grad = (whole(1, LENGTH, 2, DIM, seed=seed) for seed in (2, 3))
    return [x.to(dtype) for x in (q, k, v, grad)]


def run(inputs: list[torch.Tensor], backend: str, row_start=None) -> list[torch.Tensor]:
    """Output and the gradients of q, k, v."""
    leaves = [x.detach().requires_grad_() for x in inputs[:3]]
    out = attention(*leaves, row_start=row_start, backend=backend)
    return [out.detach(), *torch.autograd.grad(out, leaves, inputs[3])]


def check(inputs: list[torch.Tensor], backend: str, row_start=None) -> None:
    """Against the float64 reference; a gradient's rounding is that of the terms it sums."""
    found = run(inputs, backend, row_start)
    exact = run([x.double() for x in inputs], "reference", row_start)
    unit = torch.finfo(inputs[0].dtype).eps
    q, k, v, grad = (float(x.double().abs().max()) for x in inputs)
    product = grad * v * DIM / math.sqrt(DIM)
    for a, b, size in zip(found, exact, (v, product * k, product * q, grad), strict=True):
        terms = size if b is exact[0] else size * math.sqrt(LENGTH)
        torch.testing.assert_close(a.double(), b, rtol=8 * unit, atol=4 * unit * terms)


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_large_scores_give_softmax(backend, dtype, exponent):
    check(problem(dtype, exponent), backend)
    row_start = torch.arange(LENGTH).sub(9).int()[None]
    check(problem(dtype, exponent), backend, row_start)


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_equal_large_scores_weigh_the_same(backend, dtype, exponent):
    inputs = problem(dtype, exponent)
    inputs[1][:] = inputs[1][:, :1].clone()  # one key, so scores of one query are equal
    out = run(inputs, backend)[0]
    mean = inputs[2].double().cumsum(1) / torch.arange(1, LENGTH + 1)[None, :, None, None]
    torch.testing.assert_close(out.double(), mean, rtol=0, atol=4 * torch.finfo(dtype).eps)
    check(inputs, backend)


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_single_key_is_taken_whole(backend, dtype, exponent):
    """Also where its score is far below zero, and what is hidden far above."""
    inputs = problem(dtype, exponent)
    alone = torch.arange(LENGTH, dtype=torch.int32)[None]
    out, grad_q, grad_k, grad_v = run(inputs, backend, alone)
    assert torch.equal(out, inputs[2])
    assert torch.equal(grad_v, inputs[3])
    product = float(inputs[1].abs().max()) * DIM * 9 / math.sqrt(DIM)
    for grad in (grad_q, grad_k):  # a constant has none
        assert float(grad.abs().max()) <= 4 * torch.finfo(dtype).eps * product


@pytest.mark.parametrize("sign", [1, -1], ids=["upwards", "downwards"])
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("backend", BACKENDS[:-1])  # the reference multiplies what is hidden by 0
def test_a_score_that_overflows_stays_where_it_is_seen(backend, dtype, sign):
    """Upwards the query's row is NaN, downwards the key weighs nothing."""
    inputs = problem(dtype, 0)
    row_start = torch.where(torch.arange(LENGTH) < 30, 0, 30).int()[None]
    clean = run(inputs, backend, row_start)
    inputs[0][:, 20], inputs[1][:, 10] = 1e30, sign * 1e30
    found = run(inputs, backend, row_start)
    for row in (found[0][:, 20], found[1][:, 20]):
        assert row.isnan().all() if sign > 0 else row.isfinite().all()
    for a, b in zip(found, clean, strict=True):
        assert torch.equal(a[:, 30:], b[:, 30:]), "the next document"
    assert found[0][:, torch.arange(LENGTH) != 20].isfinite().all()


@pytest.mark.parametrize("ignored", [False, True], ids=["all", "some-ignored"])
@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("backend", ["chunked", *BACKENDS])
def test_large_logits_give_the_loss(backend, dtype, exponent, ignored, monkeypatch):
    monkeypatch.setattr(lce_module, "CHUNK_BYTES", 1)
    x, weight = (whole(n, DIM, seed=n) * 2.0**exponent for n in (40, 33))
    target = torch.arange(40) % 33
    if ignored:
        target[::3] = -100

    def loss_and_gradients(dtype: torch.dtype, backend: str) -> list[torch.Tensor]:
        leaves = [a.to(dtype).requires_grad_() for a in (x, weight)]
        loss = linear_cross_entropy(*leaves, target, backend=backend)
        return [loss.detach(), *torch.autograd.grad(loss, leaves)]

    # bfloat16 rounds the logits themselves: compared with plain torch, not with the exact ones.
    against = torch.float64 if dtype == torch.float32 else dtype
    for a, b in zip(
        loss_and_gradients(dtype, backend), loss_and_gradients(against, "reference"), strict=True
    ):
        unit = torch.finfo(dtype).eps
        torch.testing.assert_close(
            a.double(), b.double(), rtol=8 * unit, atol=2 * unit * float(b.double().abs().max())
        )
