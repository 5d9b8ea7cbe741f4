"""Newton–Schulz on every backend: the singular values that the polynomials promise, the singular
vectors of the input, whatever its shape and scale.
"""

import math

import pytest
import torch

from pytorch_ext import library, orthogonalize
from pytorch_ext.dispatch import LEVELS
from pytorch_ext.ops.orthogonalize.reference import SMALLEST, STEPS

SHAPES = [
    *[(1, 1, 1), (3, 1, 1), (2, 1, 9), (2, 9, 1), (1, 1, 1023), (1, 1023, 1), (2, 17, 17)],
    *[(2, 31, 33), (2, 33, 31), (1, 127, 129), (1, 129, 128), (1, 96, 32), (1, 32, 96)],
    *[(2, 128, 128), (1, 64, 300), (1, 300, 64)],
]


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def with_singular_values(values: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """[1, rows, columns], float64, turned by random rotations."""
    count = len(values)
    u, v = (torch.linalg.qr(draw(n, count, seed=n))[0] for n in (rows, columns))
    return (u * values @ v.T)[None]


def exact(x: torch.Tensor) -> torch.Tensor:
    """The polynomials of the singular values, in float64."""
    u, s, vh = torch.linalg.svd(x.double(), full_matrices=False)
    norm = s.pow(4).sum(-1, keepdim=True).pow(0.25)
    s = s / norm.where(norm > 0, 1.0)
    for a, b, c in STEPS:
        s = s * (a + b * s**2 + c * s**4)
    return u * s[:, None] @ vh


def test_each_step_is_the_best_for_its_interval():
    """Chebyshev: a polynomial of three coefficients is the nearest to 1 when its error is as large,
    with alternating signs, at four places.
    """
    low, high = SMALLEST, 1.0
    for a, b, c in STEPS:
        x = torch.logspace(math.log10(low), math.log10(high * 1.02), 200_001, dtype=torch.float64)
        error = x * (a + b * x**2 + c * x**4) - 1
        inner = error[1:-1]
        turns = inner[(inner - error[:-2]) * (error[2:] - inner) < 0]
        extremes = torch.cat((error[:1], turns, error[-1:]))
        worst = error.abs().max()
        assert len(extremes) == 4
        torch.testing.assert_close(
            extremes / worst, torch.tensor([-1.0, 1, -1, 1]).double(), rtol=0, atol=1e-3
        )
        low, high = float(1 - worst), float(1 + worst)
    assert 0.7 < low < high < 1.3


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_is_the_polynomial_of_the_singular_values(backend, shape):
    x = draw(*shape).bfloat16()
    found, true = orthogonalize(x, backend=backend), exact(x)
    assert found.dtype == torch.bfloat16
    assert found.shape == x.shape
    assert found.is_contiguous()
    # bfloat16 rounds x xᵀ at 2^-9, which a step multiplies by up to |b| + 2 c = 54; over many rows
    # it averages out.
    bound = 0.12 if min(shape[1:]) < 16 else 0.025
    assert (found.double() - true).norm() < bound * true.norm()


@pytest.mark.parametrize("shape", [(64, 64), (48, 160), (160, 48)], ids=["square", "wide", "tall"])
@pytest.mark.parametrize("spread", ["even", "steep", "one large", "equal"])
def test_singular_values_end_near_one(backend, shape, spread):
    count = min(shape)
    values = {
        "even": torch.linspace(1, SMALLEST * 4, count),
        "steep": torch.logspace(0, math.log10(SMALLEST * 1.5), count),
        "one large": torch.tensor([1.0] + [SMALLEST * 1.5] * (count - 1)),
        "equal": torch.ones(count),
    }[spread].double()
    made = orthogonalize(with_singular_values(values, *shape).bfloat16(), backend=backend)
    ends = torch.linalg.svdvals(made.double())
    assert ends.max() < 1.33
    assert ends.min() > (
        0.65 if spread != "one large" else 0.5
    )  # noise of the input's own rounding


def test_diagonal_and_orthogonal_matrices_stay_so(backend):
    """Where rounding does not average out."""
    identity = orthogonalize(torch.eye(64).bfloat16()[None], backend=backend)[0].double()
    assert torch.equal(identity, identity.diag().diag())
    assert identity.diag().min() > 0.65
    assert identity.diag().max() < 1.35
    diagonal = torch.linspace(0.02, 1, 64).diag().bfloat16()[None]
    values = orthogonalize(diagonal, backend=backend)[0].diag()
    assert values.min() > 0.6
    assert values.max() < 1.35


def test_the_worst_spectra_stay_bounded(backend):
    """Ranks far below K, and values down to 1e-7 of the largest."""
    for values in (torch.logspace(0, -7, 96), torch.cat((torch.ones(3), torch.zeros(93)))):
        made = orthogonalize(
            with_singular_values(values.double(), 96, 96).bfloat16(), backend=backend
        )
        assert torch.linalg.svdvals(made.double()).max() < 1.35


@pytest.mark.parametrize("power", [-100, -30, 30, 100])
def test_the_scale_does_not_matter(backend, power):
    x = draw(2, 24, 40).bfloat16()
    assert torch.equal(
        orthogonalize(x * 2.0**power, backend=backend), orthogonalize(x, backend=backend)
    )


def test_zeros_stay_zeros_beside_others(backend):
    x = draw(3, 20, 12).bfloat16()
    x[1] = 0
    made = orthogonalize(x, backend=backend)
    assert not made[1].any()
    torch.testing.assert_close(
        made[[0, 2]], orthogonalize(x[[0, 2]], backend=backend), rtol=0, atol=0.02
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_stays_in_its_matrix(backend, bad):
    x = draw(3, 40, 50).bfloat16()
    clean = orthogonalize(x, backend=backend)
    x[1, 7, 9] = bad
    made = orthogonalize(x, backend=backend)
    assert made[1].isnan().all()
    torch.testing.assert_close(made[[0, 2]], clean[[0, 2]], rtol=0, atol=0)


def test_any_strides_and_nothing_at_all(backend):
    x = draw(40, 2, 30).bfloat16()
    spread = x.permute(1, 2, 0)
    assert torch.equal(
        orthogonalize(spread, backend=backend), orthogonalize(spread.contiguous(), backend=backend)
    )
    for shape in ((0, 3, 4), (2, 0, 4), (2, 3, 0)):
        assert orthogonalize(torch.empty(shape).bfloat16(), backend=backend).shape == shape


def test_threads_and_repeats_give_the_same_bits(backend):
    x = draw(5, 70, 100).bfloat16()
    threads, first = torch.get_num_threads(), orthogonalize(x, backend=backend)
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            if backend != "reference":  # whose products are torch's
                assert torch.equal(orthogonalize(x, backend=backend), first)
        assert all(
            torch.equal(orthogonalize(x, backend=backend), orthogonalize(x, backend=backend))
            for _ in range(20)
        )
    finally:
        torch.set_num_threads(threads)


def test_float32_is_the_references():
    x = draw(2, 20, 30)
    torch.testing.assert_close(orthogonalize(x.float()).double(), exact(x), rtol=0, atol=1e-5)
    torch.testing.assert_close(orthogonalize(x), exact(x), rtol=0, atol=1e-12)


def test_what_it_cannot_do_is_an_error():
    x = draw(2, 4, 4)
    with pytest.raises(ValueError, match=r"x is \[4, 4\]; \[G, M, N\] expected"):
        orthogonalize(x[0])
    with pytest.raises(ValueError, match="floating point expected"):
        orthogonalize(x.int())
    with pytest.raises(ValueError, match="requires a gradient"):
        orthogonalize(x.requires_grad_())
    with pytest.raises(TypeError, match=r"a torch\.Tensor expected"):
        orthogonalize(3.0)
    with torch.no_grad():
        orthogonalize(x)


@pytest.mark.skipif(not library.LOADED, reason=library.REMEDY)
def test_the_operator_is_torchs_own():
    x = draw(2, 20, 33).bfloat16()
    operator = torch.ops.pytorch_ext.orthogonalize
    coefficients = [v for step in STEPS for v in step]
    torch.library.opcheck(operator.default, (x, coefficients, -1))
    for wrong in ((x[0], coefficients), (x.float(), coefficients), (x, coefficients[:4]), (x, [])):
        with pytest.raises(RuntimeError, match="expected"):
            operator(*wrong, -1)
    with pytest.raises(RuntimeError, match="lacks the requested instruction set"):
        operator(x, coefficients, len(LEVELS))
    compiled = torch.compile(orthogonalize, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), orthogonalize(x))
