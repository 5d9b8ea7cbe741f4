"""Weights' gradients on every backend: the float64 product, whatever the sizes, strides and
threads.
"""

import pytest
import torch
from torch.library import opcheck

from pytorch_ext import library, weight_gradients

# (N, C, rows of each weight)
SIZES = [
    *[(1, 1, (1,)), (2, 31, (33, 1)), (17, 129, (5, 127, 64)), (31, 32, (32,))],
    *[(513, 40, (300,)), (1023, 17, (17,)), (1100, 290, (290, 96))],
]


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def problem(n: int, c: int, rows: tuple[int, ...]) -> tuple[torch.Tensor, list[torch.Tensor]]:
    return drawn(n, c), [drawn(n, r, seed=i + 1) for i, r in enumerate(rows)]


def assert_exact(made, x, gradients):
    """Within what adding N products in float32, in any order, may lose: N units in the last place
    of the sum of their sizes.
    """
    for one, g in zip(made, gradients, strict=True):
        assert (one.dtype, one.shape) == (torch.float32, (g.shape[1], x.shape[1]))
        assert one.is_contiguous()
        sizes = g.double().abs().t() @ x.double().abs()
        assert ((one - g.double().t() @ x.double()).abs() <= len(x) * 2**-24 * sizes).all()


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_it_is_the_product_of_float64(backend, sizes):
    x, gradients = problem(*sizes)
    assert_exact(weight_gradients(x, gradients, backend=backend), x, gradients)


def test_any_strides(backend):
    wide, tall = drawn(70, 200), drawn(90, 70, seed=1).t()
    for x in (wide[:, 3:64], tall[:, ::2], wide[:1].expand(70, 200)):
        gradients = [wide[:, 100:140], tall[:, 5:50], tall]
        assert_exact(weight_gradients(x, gradients, backend=backend), x, gradients)


@pytest.mark.parametrize("sizes", [(0, 5, (3, 40)), (6, 0, (3,)), (6, 5, (0, 2))], ids=str)
def test_sums_over_nothing_are_zero_and_no_rows_are_fine(backend, sizes):
    x, gradients = problem(*sizes)
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            made = weight_gradients(x, gradients, backend=backend)
            assert_exact(made, x, gradients)
            if not len(x):
                assert all((one == 0).all() for one in made)
    finally:
        torch.set_num_threads(before)


def test_what_is_not_finite_stays_in_its_row_and_its_column(backend):
    x, gradients = problem(45, 70, (50, 40))
    clean = weight_gradients(x, gradients, backend=backend)
    x[44, 69], gradients[0][7, 49], gradients[1][0, 3] = torch.inf, torch.nan, -torch.inf
    made = weight_gradients(x, gradients, backend=backend)
    reached = [torch.zeros_like(one, dtype=torch.bool) for one in clean]
    reached[0][:, 69], reached[0][49], reached[1][:, 69], reached[1][3] = True, True, True, True
    for one, before, touched in zip(made, clean, reached, strict=True):
        assert torch.equal(one.isfinite(), ~touched)
        assert torch.equal(one[~touched], before[~touched])
    assert made[0][49].isnan().all()


@pytest.mark.skipif(not library.LOADED, reason="the operators are not compiled")
def test_the_same_bits_for_any_number_of_threads():
    x, gradients = problem(700, 300, (290, 70, 256))
    before, made = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 5, 5):
            torch.set_num_threads(threads)
            made.append(weight_gradients(x, gradients))
    finally:
        torch.set_num_threads(before)
    for other in made[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, made[0], strict=True))


@pytest.mark.skipif(not library.LOADED, reason="the operators are not compiled")
def test_torch_knows_the_operator():
    x, gradients = problem(40, 33, (5, 64))
    opcheck(torch.ops.pytorch_ext.weight_gradients.default, (x, gradients, -1))
    compiled = torch.compile(weight_gradients, fullgraph=True, backend="aot_eager")(x, gradients)
    for one, other in zip(compiled, weight_gradients(x, gradients), strict=True):
        assert torch.equal(one, other)


def test_other_dtypes_are_multiplied_in_their_own_or_float32():
    for dtype, made in ((torch.float32, torch.float32), (torch.float64, torch.float64)):
        x, gradients = drawn(9, 4).to(dtype), [drawn(9, 3).to(dtype)]
        assert weight_gradients(x, gradients)[0].dtype == made


@pytest.mark.parametrize(
    ("x", "gradients", "error", "message"),
    [
        (torch.ones(3), [torch.ones(3, 2)], ValueError, r"x is \[3\]; \[N, C\] expected"),
        (torch.ones(3, 2), [torch.ones(4, 2)], ValueError, r"\[4, 2\]; torch.float32 \[3, R\]"),
        (torch.ones(3, 2), [torch.ones(3)], ValueError, r"gradients\[0\] is torch.float32 \[3\]"),
        (torch.ones(3, 2), [torch.ones(3, 2).bfloat16()], ValueError, "is torch.bfloat16"),
        (torch.ones(3, 2), [], ValueError, "gradients is empty"),
        (torch.ones(3, 2).int(), [torch.ones(3, 2)], ValueError, "floating point expected"),
        ([1.0], [torch.ones(3, 2)], TypeError, "x is a list"),
        (torch.ones(3, 2, requires_grad=True), [torch.ones(3, 2)], ValueError, "detach it"),
    ],
)
def test_arguments_that_do_not_fit_are_errors(x, gradients, error, message):
    with pytest.raises(error, match=message):
        weight_gradients(x, gradients)
