"""The CUDA kernels' own source on the CPU, thread by thread (cuda/emulation.h).

Values and gradients against the float64 reference by the rule of test_attention.py, NaN where it
belongs, and in every launch the emulation's checks of races, missing waits and addresses.
"""

import ctypes
import math
import os
import platform
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from tests.pytorch_ext.test_attention import (
    MASKS,
    Case,
    errors,
    make_inputs,
    make_row_start,
    yardstick,
)

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).parent / "cuda"
COMPILER = shlex.split(os.environ.get("CXX") or shutil.which("g++") or "")
FLAGS = ["-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]
FLAGS += ["-DSNAKELM_WITH_CUDA", f"-I{ROOT}/csrc", f"-I{FOLDER}"]

pytestmark = [
    pytest.mark.skipif(
        platform.machine().lower() not in {"x86_64", "amd64"},
        reason="the emulation switches stacks in x86-64 assembly",
    ),
    pytest.mark.skipif(not COMPILER, reason="no C++ compiler"),
]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
HALVES = {name: dtype for name, dtype in DTYPES.items() if name != "fp32"}


class View(ctypes.Structure):
    """snakelm::AttentionView."""

    _fields_ = [("data", ctypes.c_void_p)] + [
        (name, ctypes.c_int64) for name in ("batch", "time", "head")
    ]


class Problem(ctypes.Structure):
    """snakelm::AttentionProblem."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("batch", "time", "heads", "kv_heads", "head_dim")),
        ("scale", ctypes.c_float),
        ("type", ctypes.c_int),
        *((name, View) for name in ("q", "k", "v")),
        *((name, ctypes.c_void_p) for name in ("row_start", "out", "log_sum")),
        ("grad_out", View),
        *((name, ctypes.c_void_p) for name in ("grad_q", "grad_k", "grad_v")),
    ]


def build(source: Path, target: Path, *flags: str) -> Path:
    """Compiles one file of FOLDER."""
    command = [*COMPILER, *FLAGS, *flags, source, "-o", target]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return target


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The kernels, compiled for the CPU."""
    target = tmp_path_factory.mktemp("emulation") / "emulation.so"
    opened = ctypes.CDLL(str(build(FOLDER / "emulated.cpp", target, "-fPIC", "-shared")))
    opened.snakelm_cuda_error.restype = ctypes.c_char_p
    return opened


def run(library, inputs, row_start, scale=None, seed=1) -> list[torch.Tensor]:
    """Output and the gradients of q, k, v, by the emulated kernels."""
    q, k, v, grad_out = inputs
    row_start = None if row_start is None else row_start.contiguous()
    out, grad_q = (torch.full(q.shape, 7.0, dtype=q.dtype) for _ in range(2))
    grad_k, grad_v = (torch.full(k.shape, 7.0, dtype=k.dtype) for _ in range(2))
    batch, time, heads, dim = q.shape
    log_sum, delta = torch.empty(batch, heads, 2, time), torch.empty(batch, heads, time)

    def view(x):
        assert x.stride(3) == 1
        return View(x.data_ptr(), *x.stride()[:3])

    problem = Problem(
        *(batch, time, heads, k.shape[2], dim),
        scale or 1 / math.sqrt(dim),
        list(DTYPES.values()).index(q.dtype),
        *(view(q), view(k), view(v)),
        row_start.data_ptr() if row_start is not None else None,
        *(out.data_ptr(), log_sum.data_ptr(), view(grad_out)),
        *(grad_q.data_ptr(), grad_k.data_ptr(), grad_v.data_ptr()),
    )
    library.snakelm_emulation_seed(ctypes.c_uint64(seed))
    for name, arguments in (("forward", ()), ("backward", (ctypes.c_void_p(delta.data_ptr()),))):
        launcher = getattr(library, f"snakelm_attention_{name}_cuda")
        code = launcher(ctypes.byref(problem), *arguments, None)
        assert code == 0, f"{name}: {library.snakelm_cuda_error(code).decode()}"
    return [out, grad_q, grad_k, grad_v]


SHAPES = [
    Case(2, 1, 2, 1, 16),
    Case(1, 17, 2, 2, 40),
    Case(1, 64, 1, 1, 64),
    Case(1, 65, 2, 1, 128),
    Case(2, 129, 2, 1, 64),
    Case(1, 129, 1, 1, 128),
    Case(1, 100, 1, 1, 96),
    Case(1, 47, 2, 1, 7),
    Case(1, 261, 2, 1, 32),
]


def check_accuracy(
    library, case: Case, dtype: torch.dtype, mask: str, seed: int = 0, spread: float = 1.0
) -> None:
    inputs = make_inputs(case, dtype, seed, spread)
    row_start = make_row_start(mask, case.batch, case.length)
    exact, theirs = yardstick(case, dtype, mask, seed, spread)
    found = run(library, inputs, row_start, seed=seed)
    unit, largest = torch.finfo(torch.float32).eps, max(x.abs().max().item() for x in exact)
    for name, ours, sdpa in zip("oqkv", errors(found, exact), theirs, strict=True):
        bound = (2 if name == "o" else 3) * sdpa + 8 * unit * largest
        assert ours <= bound, f"{name}: {ours:.2e}, SDPA {sdpa:.2e}"


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("dtype", HALVES.values(), ids=HALVES)
@pytest.mark.parametrize("case", SHAPES, ids=str)
def test_matches_the_reference(library, case, dtype, mask):
    check_accuracy(library, case, dtype, mask)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("case", [Case(2, 33, 2, 1, 16), Case(1, 70, 1, 1, 40)], ids=str)
def test_float32_matches_the_reference(library, case, mask):
    check_accuracy(library, case, torch.float32, mask)


@pytest.mark.long
@pytest.mark.parametrize("dim", [8, 31, 64, 80, 128])
@pytest.mark.parametrize("heads", [(4, 2), (3, 1)], ids=str)
@pytest.mark.parametrize("length", [1, 16, 63, 65, 128, 193, 257])
def test_matches_the_reference_on_the_full_grid(library, length, heads, dim):
    """pytest -m long tests/csrc/test_cuda_emulation.py: 420 problems, each forward and backward."""
    for dtype in HALVES.values():
        for mask in MASKS:
            check_accuracy(library, Case(1, length, *heads, dim), dtype, mask)


def as_views(inputs: list[torch.Tensor], offset: int) -> list[torch.Tensor]:
    """The same values with gaps between rows, from an element on that vectors can't begin at."""
    views = []
    for x in inputs:
        batch, time, heads, dim = x.shape
        storage = torch.full((batch, heads, time + 1, dim + 2 + offset), math.nan, dtype=x.dtype)
        view = storage[:, :, :time, offset : offset + dim].transpose(1, 2)
        view.copy_(x)
        views.append(view)
    return views


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_any_strides_give_the_same_bits(library, dtype):
    inputs, row_start = (
        make_inputs(Case(2, 40, 4, 2, 32), dtype),
        make_row_start("documents", 2, 40),
    )
    plain = run(library, inputs, row_start)
    fused = torch.cat(inputs[:3], dim=2)
    for views in (
        as_views(inputs, 0),
        as_views(inputs, 3),
        [*fused.split((4, 2, 2), dim=2), inputs[3].transpose(1, 2).contiguous().transpose(1, 2)],
    ):
        for a, b in zip(plain, run(library, views, row_start, seed=2), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", HALVES.values(), ids=HALVES)
def test_an_odd_head_dimension_beside_poison(library, dtype):
    """The padding of 39 to 64 is zeros, whatever lies behind a row."""
    inputs, row_start = (
        make_inputs(Case(1, 70, 2, 1, 39), dtype),
        make_row_start("documents", 1, 70),
    )
    for a, b in zip(
        run(library, inputs, row_start), run(library, as_views(inputs, 1), row_start), strict=True
    ):
        assert a.isfinite().all()
        assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("poison", [math.nan, math.inf], ids=["nan", "inf"])
def test_a_poisoned_document_stays_alone(library, dtype, poison):
    """The neighbours' outputs and gradients keep every bit; the document itself becomes NaN."""
    case, first, last = Case(1, 140, 2, 1, 32), 50, 101
    row_start = torch.zeros(1, 140, dtype=torch.int32)
    row_start[:, first:last], row_start[:, last:] = first, last
    clean = make_inputs(case, dtype)
    for x in clean:
        x[:, first:last] = 0
    sick = [x.clone() for x in clean]
    for x in sick:
        x[:, first:last] = poison
    intact, broken = run(library, clean, row_start), run(library, sick, row_start)
    for a, b in zip(intact, broken, strict=True):
        assert torch.equal(a[:, :first], b[:, :first])
        assert torch.equal(a[:, last:], b[:, last:])
        assert b[:, first:last].isnan().all()


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("poison", [math.nan, -math.inf], ids=["nan", "inf"])
@pytest.mark.parametrize("which", ["q", "k", "v", "grad"])
def test_a_single_value_reaches_exactly_what_sees_it(library, which, poison, dtype):
    case, at = Case(1, 70, 2, 2, 16), 40
    row_start = torch.zeros(1, 70, dtype=torch.int32)
    row_start[:, 50:] = 50
    inputs = make_inputs(case, dtype)
    number = "qkv".find(which) if which != "grad" else 3
    inputs[number][0, at, 0] = 0
    clean = run(library, inputs, row_start)
    inputs[number][0, at, 0, 3] = poison
    found = run(library, inputs, row_start)

    seen_by = slice(at, 50) if which in "kv" else slice(at, at + 1)
    bad_query = torch.zeros(70, dtype=torch.bool)
    bad_query[seen_by] = True
    bad_key = torch.zeros(70, dtype=torch.bool)
    bad_key[: seen_by.stop] = True
    bad_out = bad_query if which != "grad" else torch.zeros(70, dtype=torch.bool)
    expected_bad = (bad_out, bad_query, bad_key, bad_key)
    for a, b, bad in zip(found, clean, expected_bad, strict=True):
        assert torch.equal(a[:, :, 1], b[:, :, 1]), "the other head"
        assert a[0, bad, 0].isnan().all()
        assert torch.equal(a[0, ~bad, 0], b[0, ~bad, 0])


@pytest.mark.parametrize("dtype", HALVES.values(), ids=HALVES)
def test_any_order_of_threads_gives_the_same_bits(library, dtype):
    inputs, row_start = (
        make_inputs(Case(1, 90, 2, 1, 64), dtype),
        make_row_start("documents", 1, 90),
    )
    first = run(library, inputs, row_start)
    for seed in (2, 3):
        for a, b in zip(first, run(library, inputs, row_start, seed=seed), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", HALVES.values(), ids=HALVES)
def test_large_logits_stay_exact(library, dtype):
    check_accuracy(library, Case(1, 80, 2, 1, 64), dtype, "documents", spread=100.0)


def test_row_start_is_clamped_to_the_query_and_zero(library):
    inputs = make_inputs(Case(1, 70, 2, 2, 16), torch.bfloat16)
    far = torch.full((1, 70), 10_000, dtype=torch.int32)  # every query sees itself only
    out, _, _, grad_v = run(library, inputs, far)
    assert torch.equal(out, inputs[2])
    assert torch.equal(grad_v, inputs[3])
    negative = torch.full((1, 70), -5, dtype=torch.int32)
    for a, b in zip(run(library, inputs, negative), run(library, inputs, None), strict=True):
        assert torch.equal(a, b)


def test_every_fault_is_noticed(tmp_path):
    """An emulation that sees nothing proves nothing: kernels with one fault each."""
    program = build(FOLDER / "faults.cpp", tmp_path / "faults")
    done = subprocess.run([program], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def fuzz(folder: Path, seed: int, seconds: int, *flags: str) -> None:
    """Random problems under the address and undefined-behaviour sanitizers."""
    sanitizers = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    trial = folder / "trial.cpp"
    trial.write_text("int main() {}\n")
    command = [*COMPILER, *sanitizers, trial, "-o", folder / "trial"]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip(f"{COMPILER[-1]} has no sanitizers")
    program = build(FOLDER / "fuzz.cpp", folder / "fuzz", *sanitizers, *flags)
    done = subprocess.run([program, str(seed), str(seconds)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    assert int(done.stdout.split()[0]) >= 1


def test_random_problems_under_sanitizers(tmp_path):
    fuzz(tmp_path, 1, 4)


@pytest.mark.long
def test_random_problems_for_minutes(tmp_path):
    """Three minutes: pytest -m long tests/csrc/test_cuda_emulation.py"""
    fuzz(tmp_path, 2, 150, "-DWIDE")
