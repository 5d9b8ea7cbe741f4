"""Attention by its Triton kernels, interpreted: the rules of tests/pytorch_ext/test_attention.py.

bfloat16 is compiled, in tests/pytorch_ext/test_attention_kernels.py, and not run: the interpreter's
tl.dot multiplies its bits as whole numbers.
"""

import math

import pytest
import torch

from pytorch_ext import attention
from pytorch_ext.dispatch import TRITON
from pytorch_ext.ops.attention import attention_triton
from pytorch_ext.ops.attention.attention_triton import Blocks, Cut
from tests.pytorch_ext.test_attention import (
    MASKS,
    Case,
    check_accuracy,
    make_inputs,
    make_row_start,
    run,
)
from tests.pytorch_ext.test_magnitudes import check, problem

# numpy warns of infinities and NaN, which a GPU makes in silence.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

DTYPES = {"fp32": torch.float32, "fp16": torch.float16}
# Of each padded head dimension one; one tile, a few, a last one that is nearly empty.
CASES = (
    (Case(2, 1, 2, 1, 16), "causal", "fp32"),
    (Case(1, 17, 2, 2, 7), "window", "fp16"),
    (Case(1, 127, 1, 1, 64), "window", "fp32"),
    (Case(1, 128, 1, 1, 40), "causal", "fp16"),
    (Case(1, 129, 2, 1, 64), "documents", "fp16"),
    (Case(1, 257, 1, 1, 64), "causal", "fp16"),
    (Case(1, 70, 1, 1, 96), "documents", "fp32"),
    (Case(1, 33, 1, 1, 256), "documents", "fp16"),
)
SMALL = (Blocks(16, 16, 4, 1), Blocks(32, 16, 4, 1), Blocks(16, 32, 4, 1))

LONG = pytest.mark.long


@pytest.fixture
def small_tiles(monkeypatch):
    """Tiles of 16 and 32 whatever the head dimension: many of them in a short time."""
    monkeypatch.setattr(attention_triton, "cut_of", lambda dim, dtype: Cut(*SMALL))


@pytest.mark.parametrize(("case", "mask", "dtype"), CASES, ids=str)
def test_matches_the_reference(case, mask, dtype):
    check_accuracy(case, DTYPES[dtype], mask, "triton")


@pytest.mark.parametrize("seed", [0, 3, 7, *(pytest.param(s, marks=LONG) for s in range(10, 30))])
def test_matches_the_reference_on_drawn_shapes(seed, monkeypatch):
    """Any sizes of tiles against any others."""
    sizes = torch.randint(1, 3, (3, 2), generator=torch.Generator().manual_seed(seed)) * 16
    cut = Cut(*(Blocks(rows, keys, 4, 1) for rows, keys in sizes.tolist()))
    monkeypatch.setattr(attention_triton, "cut_of", lambda dim, dtype: cut)
    case = Case(1, 40 + 7 * (seed % 10), 1 + seed % 2, 1, 7 + 5 * seed)
    check_accuracy(case, list(DTYPES.values())[seed % 2], MASKS[seed % 3], "triton", seed=seed)


@pytest.mark.long
@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 129, 191, 385, 1023])
@pytest.mark.parametrize("dim", [1, 16, 31, 64, 80, 128, 129])
@pytest.mark.parametrize("heads", [(1, 1), (4, 2), (3, 1)], ids=str)
def test_matches_the_reference_on_the_full_grid(length, dim, heads):
    """1,764 problems, each forward and backward."""
    for dtype in DTYPES.values():
        for mask in MASKS:
            check_accuracy(Case(1, length, *heads, dim), dtype, mask, "triton")


def test_large_logits_stay_exact():
    check_accuracy(Case(1, 50, 1, 1, 16), torch.float32, "documents", "triton", spread=100.0)


@pytest.mark.parametrize("exponent", [pytest.param(20, marks=LONG), 58])
def test_scores_as_large_as_float32_holds(exponent):
    check(problem(torch.float32, exponent), "triton")
    check(problem(torch.float32, exponent), "triton", torch.arange(70).sub(9).int()[None])


def test_a_single_key_is_taken_whole():
    inputs = problem(torch.float32, 40)
    found = run(inputs, torch.arange(70, dtype=torch.int32)[None], "triton")
    assert torch.equal(found[0], inputs[2])
    assert torch.equal(found[3], inputs[3])


@pytest.mark.parametrize("sign", [1, -1], ids=["upwards", "downwards"])
def test_a_score_that_overflows_stays_where_it_is_seen(sign):
    """Upwards the query's row is NaN, downwards the key weighs nothing."""
    inputs = problem(torch.float32, 0)
    row_start = torch.where(torch.arange(70) < 30, 0, 30).int()[None]
    clean = run(inputs, row_start, "triton")
    inputs[0][:, 20], inputs[1][:, 10] = 1e30, sign * 1e30
    found = run(inputs, row_start, "triton")
    for row in (found[0][:, 20], found[1][:, 20]):
        assert row.isnan().all() if sign > 0 else row.isfinite().all()
    for a, b in zip(found, clean, strict=True):
        assert torch.equal(a[:, 30:], b[:, 30:]), "the next document"
    assert found[0][:, torch.arange(70) != 20].isfinite().all()


@pytest.mark.parametrize(
    ("dtype", "poison"),
    [(torch.float32, math.nan), (torch.float16, math.inf)],
    ids=["fp32-nan", "fp16-inf"],
)
def test_a_poisoned_document_stays_alone(dtype, poison, small_tiles):
    """The neighbours' outputs and gradients keep every bit; the document itself becomes NaN."""
    first, last = 20, 37
    row_start = torch.zeros(1, 50, dtype=torch.int32)
    row_start[:, first:last], row_start[:, last:] = first, last
    clean = make_inputs(Case(1, 50, 2, 1, 16), dtype)
    sick = [x.clone() for x in clean]
    for x in sick:
        x[:, first:last] = poison
    intact, broken = run(clean, row_start, "triton"), run(sick, row_start, "triton")
    for a, b in zip(intact, broken, strict=True):
        assert torch.equal(a[:, :first], b[:, :first])
        assert torch.equal(a[:, last:], b[:, last:])
        assert b[:, first:last].isnan().all()


@pytest.mark.parametrize(
    ("which", "poison"),
    [
        ("k", math.inf),
        ("v", math.nan),
        ("grad", math.nan),
        pytest.param("q", math.nan, marks=LONG),
        pytest.param("v", math.inf, marks=LONG),
    ],
)
def test_a_single_number_reaches_exactly_what_sees_it(which, poison, small_tiles):
    at, cut = 13, 20
    row_start = torch.zeros(1, 36, dtype=torch.int32)
    row_start[:, cut:] = cut
    inputs = make_inputs(Case(1, 36, 2, 2, 16), torch.float32)
    inputs[0].abs_()  # an infinite key has a score of +inf then, not of -inf, which weighs nothing
    clean = run(inputs, row_start, "triton")
    inputs["qkv".find(which) if which != "grad" else 3][0, at, 0, 3] = poison
    out, grad_q, grad_k, grad_v = run(inputs, row_start, "triton")
    for found, before in zip((out, grad_q, grad_k, grad_v), clean, strict=True):
        assert torch.equal(found[:, cut:], before[:, cut:]), "the next document"
        assert torch.equal(found[:, :, 1], before[:, :, 1]), "the other head"

    seen_by = slice(at, cut) if which in "kv" else slice(at, at + 1)
    bad = out[0, :, 0].isnan().all(dim=-1)
    assert bad[seen_by].all() if which != "grad" else not bad.any()
    assert torch.equal(out[0, :at], clean[0][0, :at])
    assert torch.equal(grad_q[0, :at], clean[1][0, :at])
    assert grad_q[0, seen_by, 0].isnan().all()
    assert grad_k[0, : at + 1, 0].isnan().all(), "every key of the document before the broken query"
    assert grad_v[0, : at + 1, 0].isnan().all()


def test_tiles_outside_a_document_or_window_are_not_touched(small_tiles, monkeypatch):
    """NaN in all tiles but those of the last two documents: without the careful launch, which would
    clean what was read, these documents' results are what they were.
    """
    row_start = torch.arange(96, dtype=torch.int32)[None] // 32 * 32
    inputs = make_inputs(Case(1, 96, 1, 1, 16), torch.float32)
    before = run(inputs, row_start, "triton")

    def launch_once(kernel, problem, blocks, sizes, pointers, *factors):
        broken = torch.empty(sizes[1] * sizes[2], dtype=torch.int32)
        kernel[(sizes[1] * sizes[2],)](
            *pointers, broken, *problem.strides, *sizes, *factors, **problem.options,
            ROWS=blocks.rows, KEYS=blocks.keys, CAREFUL=False,
        )  # fmt: skip

    monkeypatch.setattr(attention_triton, "_launch_twice", launch_once)
    for x in inputs:
        x[:, :32] = math.nan
    for a, b in zip(before, run(inputs, row_start, "triton"), strict=True):
        assert torch.equal(a[:, 32:], b[:, 32:])
        assert b[:, :32].isnan().all()


def test_any_strides_give_the_same_bits():
    inputs = make_inputs(Case(2, 35, 4, 2, 16), torch.float16)
    row_start = make_row_start("documents", 2, 35)
    plain = run(inputs, row_start, "triton")
    fused = torch.cat(inputs[:3], dim=2)  # as one projection makes them: views with a longer row
    views = [*fused.split((4, 2, 2), dim=2), inputs[3].transpose(1, 3).contiguous().transpose(1, 3)]
    heads_first = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in inputs]
    columns = torch.stack((row_start, row_start), dim=-1)[..., 0]
    assert not any(x.is_contiguous() for x in (*views, columns))
    for given in (views, heads_first):
        for a, b in zip(plain, run(given, columns, "triton"), strict=True):
            assert torch.equal(a, b)


def test_repeats_give_the_same_bits():
    inputs, row_start = make_inputs(Case(1, 70, 2, 1, 32), torch.float32), None
    first = run(inputs, row_start, "triton")
    for a, b in zip(first, run(inputs, row_start, "triton"), strict=True):
        assert torch.equal(a, b)


def test_row_start_is_clamped_to_the_query_and_zero():
    inputs = make_inputs(Case(1, 40, 2, 2, 16), torch.float32)
    far = torch.full((1, 40), 10_000, dtype=torch.int32)  # every query sees itself only
    assert torch.equal(run(inputs, far, "triton")[0], inputs[2])
    negative = torch.full((1, 40), -5, dtype=torch.int32)
    for a, b in zip(run(inputs, negative, "triton"), run(inputs, None, "triton"), strict=True):
        assert torch.equal(a, b)


def test_an_empty_batch_gives_empty_results():
    inputs = make_inputs(Case(0, 10, 2, 1, 16), torch.float32)
    assert [x.shape[0] for x in run(inputs, None, "triton")] == [0, 0, 0, 0]
    inputs = make_inputs(Case(2, 0, 2, 1, 16), torch.float32)
    row_start = torch.zeros(2, 0, dtype=torch.int32)
    assert [x.shape[1] for x in run(inputs, row_start, "triton")] == [0, 0, 0, 0]


@pytest.mark.parametrize("mask", [pytest.param("causal", marks=LONG), "documents"])
def test_opcheck(mask):
    q, k, v, grad = make_inputs(Case(1, 19, 2, 1, 16), torch.float32)
    row_start = make_row_start(mask, 1, 19)
    leaves = [x.requires_grad_() for x in (q, k, v)]
    operators, settings = torch.ops.pytorch_ext, (row_start, 0.25, TRITON)
    torch.library.opcheck(operators.attention_forward_triton, (*leaves, *settings))
    made = operators.attention_forward_triton(*leaves, *settings)
    arguments = [x.detach() for x in (grad, *leaves, *made)]
    torch.library.opcheck(operators.attention_backward_triton, (*arguments, *settings))


def test_compiles_whole_and_gives_the_same_bits():
    def loss(q, k, v, row_start):
        out = attention(q, k, v, row_start=row_start, backend="triton")
        return out.float().square().sum()

    torch.compiler.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for length in (33, 50):  # the second shape is traced with a symbolic length
        inputs = make_inputs(Case(1, length, 2, 1, 16), torch.float16)
        row_start = make_row_start("documents", 1, length)
        grads = []
        for function in (loss, compiled):
            leaves = [x.detach().requires_grad_() for x in inputs[:3]]
            grads.append(torch.autograd.grad(function(*leaves, row_start), leaves))
        for a, b in zip(*grads, strict=True):
            assert torch.equal(a, b)


def test_what_the_kernels_do_not_take_is_named():
    q = torch.zeros(1, 4, 1, 257)
    with pytest.raises(RuntimeError, match="takes D up to 256; D is 257: pass backend='sdpa'"):
        attention(q, q, q, backend="triton")
    q = torch.zeros(1, 4, 1, 16)
    with pytest.raises(RuntimeError, match="scale is 1e-38; a number from 1e-37 to"):
        attention(q, q, q, scale=1e-38, backend="triton")
    with pytest.raises(RuntimeError, match="takes float32, bfloat16, float16; q is"):
        attention(q.double(), q.double(), q.double(), backend="triton")
