"""Products of float32 matrices at every level: the float64 product, whatever the sizes, strides and
threads.
"""

import pytest
import torch

from pytorch_ext import library
from pytorch_ext.dispatch import BEST, LEVELS

pytestmark = pytest.mark.skipif(not library.LOADED, reason="the operators are not compiled")

# (M, K, N): edges of blocks of rows, of depths and of panels
SIZES = [
    *[(1, 1, 1), (5, 3, 17), (6, 256, 16), (7, 257, 15), (47, 40, 129), (48, 1, 256)],
    *[(97, 513, 33), (200, 130, 300), (1023, 17, 31), (31, 1023, 257)],
]


@pytest.fixture(params=library.LEVELS_HERE, ids=lambda level: LEVELS[level])
def level(request):
    return request.param


def products(lefts, rights, summed=False, level=BEST):
    return torch.ops.pytorch_ext.products(lefts, rights, summed, level)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def assert_exact(made, lefts, rights):
    """Of one product or a sum of several: within what adding all terms in float32, in any order,
    may lose.
    """
    exact = sum(a.double() @ b.double() for a, b in zip(lefts, rights, strict=True))
    sizes = sum(a.double().abs() @ b.double().abs() for a, b in zip(lefts, rights, strict=True))
    terms = sum(a.shape[1] for a in lefts)
    assert (made.dtype, made.shape) == (torch.float32, exact.shape)
    assert made.is_contiguous()
    assert ((made - exact).abs() <= (terms + 1) * 2**-24 * sizes).all()


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("turned", ["neither", "left", "right", "both"])
def test_it_is_the_product_of_float64(level, sizes, turned):
    m, k, n = sizes
    left = drawn(k, m).t() if turned in ("left", "both") else drawn(m, k)
    right = drawn(n, k, seed=1).t() if turned in ("right", "both") else drawn(k, n, seed=1)
    (made,) = products([left], [right], level=level)
    assert_exact(made, [left], [right])


def test_any_strides(level):
    wide = drawn(70, 200)
    lefts = [wide[:, 3:64], wide[::2, ::3][:, :61], wide[:1].expand(70, 200)[:, :61]]
    rights = [drawn(61, 40), drawn(61, 90)[:, ::2], drawn(1, 40).expand(61, 40)]
    for left in lefts:
        for right, made in zip(rights, products([left] * 3, rights, level=level), strict=True):
            assert_exact(made, [left], [right])


def test_several_at_once_and_their_sum(level):
    lefts = [drawn(50, k, seed=k) for k in (300, 7, 64)]
    rights = [drawn(k, 41, seed=k + 1) for k in (300, 7, 64)]
    each, (total,) = products(lefts, rights, level=level), products(lefts, rights, True, level)
    for one, left, right in zip(each, lefts, rights, strict=True):
        assert_exact(one, [left], [right])
    assert_exact(total, lefts, rights)


@pytest.mark.parametrize("sizes", [(0, 5, 3), (6, 0, 3), (6, 5, 0), (0, 0, 0)], ids=str)
def test_sums_over_nothing_are_zero_and_no_rows_are_fine(level, sizes):
    m, k, n = sizes
    (made,) = products([drawn(m, k)], [drawn(k, n)], level=level)
    assert torch.equal(made, torch.zeros(m, n))
    lefts, rights = [drawn(m, k), drawn(m, 2)], [drawn(k, n), drawn(2, n)]
    assert_exact(products(lefts, rights, True, level)[0], lefts, rights)


def test_what_is_not_finite_stays_in_its_row_and_its_column(level):
    left, right = drawn(45, 70), drawn(70, 50, seed=1)
    (clean,) = products([left], [right], level=level)
    left[44, 69], right[7, 49], right[0, 3] = torch.inf, torch.nan, -torch.inf
    (made,) = products([left], [right], level=level)
    reached = torch.zeros_like(clean, dtype=torch.bool)
    reached[44], reached[:, 49], reached[:, 3] = True, True, True
    assert torch.equal(made.isfinite(), ~reached)
    assert torch.equal(made[~reached], clean[~reached])


def test_the_same_bits_for_any_number_of_threads():
    lefts = [drawn(700, 300), drawn(300, 700, seed=1).t()]
    rights = [drawn(290, 300, seed=2).t(), drawn(300, 290, seed=3)]
    before, made = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 5, 5):
            torch.set_num_threads(threads)
            made.append([*products(lefts, rights), *products(lefts, rights, True)])
    finally:
        torch.set_num_threads(before)
    for other in made[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, made[0], strict=True))


@pytest.mark.parametrize(
    ("lefts", "rights", "summed"),
    [
        ([torch.ones(2, 3)], [], False),
        ([torch.ones(2, 3)], [torch.ones(2, 3)], False),
        ([torch.ones(3)], [torch.ones(3, 2)], False),
        ([torch.ones(2, 3).bfloat16()], [torch.ones(3, 2).bfloat16()], False),
        ([torch.ones(2, 3), torch.ones(3, 3)], [torch.ones(3, 2)] * 2, True),
    ],
)
def test_what_does_not_fit_is_refused(lefts, rights, summed):
    with pytest.raises(RuntimeError, match=r"products: .* expected"):
        products(lefts, rights, summed)
    with pytest.raises(RuntimeError, match="lacks the requested instruction set"):
        products([torch.ones(2, 3)], [torch.ones(3, 2)], False, len(LEVELS))
