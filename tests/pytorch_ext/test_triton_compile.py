"""The helper that compiles Triton kernels without a GPU: what it reads of them is true."""

import pytest

from tests.pytorch_ext.triton_compile import CAPABILITIES, compile_kernel, triton

import triton.language as tl  # isort: skip


@triton.jit
def _multiply_kernel(x, y, n, STEPS: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    a, b, c = tl.load(x + at), tl.load(x + n + at), tl.load(x + 2 * n + at)
    for _ in range(n):
        for _ in tl.static_range(STEPS):
            a, b, c = a * b + c, b * c + a, c * a + b
    tl.store(y + at, a + b + c)


SIGNATURE = {"x": "*fp32", "y": "*fp32", "n": "i32"}


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_a_small_kernel_does_not_spill(capability):
    small = compile_kernel(_multiply_kernel, capability, SIGNATURE, {"STEPS": 1, "BLOCK": 512})
    assert 0 < small.registers <= 255
    assert small.stack == 0


def test_a_large_kernel_spills():
    large = compile_kernel(_multiply_kernel, 90, SIGNATURE, {"STEPS": 1, "BLOCK": 4096}, warps=1)
    assert large.stack > 0, "384 numbers a thread in 255 registers"


def test_alignment_decides_how_wide_a_load_is():
    wide, narrow = (
        compile_kernel(_multiply_kernel, 90, SIGNATURE, {"STEPS": 1, "BLOCK": 512}, odd=odd).ptx
        for odd in ((), ("x", "n"))
    )
    assert "ld.global.v4" in wide
    assert "ld.global.v4" not in narrow


def test_a_forgotten_argument_is_named():
    with pytest.raises(ValueError, match="'STEPS'"):
        compile_kernel(_multiply_kernel, 90, SIGNATURE, {"BLOCK": 512})
