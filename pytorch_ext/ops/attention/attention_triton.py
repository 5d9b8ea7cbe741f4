"""Attention by Triton kernels, for GPUs from sm_80 on: block sizes, memory, launches.

Tiles outside a document or window are not touched. There is no mask, no list of documents, no wait
for the device, and no recompilation for another T or other documents: row_start itself says which
tiles a block needs (attention_triton_tiles.py).

A row that a non-finite number reaches becomes NaN whole, as csrc/ops/attention/attention.h says,
with one exception: a key with an infinity in it counts by its score, as in the reference; where
that is -inf it weighs nothing.
"""

import math
from typing import Any, NamedTuple

import torch
import triton

from pytorch_ext.ops.attention.attention_triton_backward import (
    delta_kernel,
    grad_kv_kernel,
    grad_q_kernel,
)
from pytorch_ext.ops.attention.attention_triton_forward import forward_kernel

LOG2_E = math.log2(math.e)
LEAST_SCALE, LARGEST_SCALE = 1e-37, 1e38  # between them scale * log2(e) is a normal float


class Blocks(NamedTuple):
    """How one kernel is cut: queries and keys of a tile, warps, tiles on their way."""

    rows: int
    keys: int
    warps: int
    stages: int


class Cut(NamedTuple):
    """All kernels for one padded head dimension."""

    forward: Blocks
    grad_q: Blocks
    grad_kv: Blocks


# Not tuned at the first call: what a tuner picks hangs on a clock, and on it the order of sums, so
# the same run would give other bits another day. What fits was read from the compiler's output
# (tests/pytorch_ext/test_attention_kernels.py holds it): no spills inside the loops on sm_80, 90
# and 100, and up to 99 KB of shared memory on sm_80, which is what consumer cards have. Keys of a
# tile are few where there is a choice: small tiles waste less at the borders of documents.
HALVES = {
    64: Cut(Blocks(128, 64, 4, 3), Blocks(128, 64, 8, 3), Blocks(64, 64, 4, 2)),
    128: Cut(Blocks(128, 64, 8, 3), Blocks(128, 32, 8, 2), Blocks(32, 64, 4, 2)),
    256: Cut(Blocks(64, 32, 8, 2), Blocks(32, 32, 8, 1), Blocks(32, 32, 8, 1)),
}
# Products in plain float32, as exact as the reference's: four bytes each, and no tensor cores.
SINGLES = {
    64: Cut(Blocks(64, 32, 8, 2), Blocks(64, 32, 8, 2), Blocks(32, 32, 4, 2)),
    128: Cut(Blocks(32, 16, 8, 2), Blocks(32, 16, 4, 2), Blocks(32, 32, 8, 2)),
    256: Cut(Blocks(32, 16, 8, 1), Blocks(16, 16, 8, 1), Blocks(16, 16, 8, 1)),
}


def padded(dim: int) -> int:
    """The head dimension in registers: a power of two that tensor cores take."""
    return max(16, triton.next_power_of_2(dim))


def cut_of(dim: int, dtype: torch.dtype) -> Cut:
    """Block sizes for a head dimension."""
    table = SINGLES if dtype == torch.float32 else HALVES
    return table[max(64, padded(dim))]


class LaunchInputs:
    """Inputs as the kernels read them: the head dimension dense, row_start dense."""

    def __init__(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        row_start: torch.Tensor | None,
        scale: float,
    ):
        if not LEAST_SCALE <= scale <= LARGEST_SCALE:
            expected = f"a number from {LEAST_SCALE} to {LARGEST_SCALE} expected"
            raise RuntimeError(f"attention: scale is {scale}; {expected}")

        self.q, self.k, self.v = (_dense_rows(x) for x in (q, k, v))
        self.batch, self.length, self.heads, self.dim = q.shape
        self.kv_heads = k.shape[2]
        self.row_start = q if row_start is None else row_start.contiguous()  # q: never read
        self.options = {"HAS_START": row_start is not None, "D": self.dim, "DIM": padded(self.dim)}
        self.strides = tuple(x.stride(i) for x in (self.q, self.k, self.v) for i in range(3))
        self.group, self.c = self.heads // self.kv_heads, scale * LOG2_E
        self.cut = cut_of(self.dim, q.dtype)

    def sizes(self, block: int, heads: int) -> tuple[int, int, int, int]:
        """(T, tiles, batch times heads, heads) of a grid over blocks of positions and heads."""
        return self.length, triton.cdiv(self.length, block), self.batch * heads, heads


def attention_forward(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    row_start: torch.Tensor | None,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(out [B, T, H, D], log_sum [B, H, 2, T]): see attention_triton_forward.py."""
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    log_sum = q.new_empty((q.shape[0], q.shape[2], 2, q.shape[1]), dtype=torch.float32)
    if q.numel() == 0:
        return out, log_sum

    problem = LaunchInputs(q, k, v, row_start, scale)
    blocks = problem.cut.forward
    pointers = problem.q, problem.k, problem.v, problem.row_start, out, log_sum
    sizes = problem.sizes(blocks.rows, problem.heads)
    _launch_twice(forward_kernel, problem, blocks, sizes, pointers, problem.group, problem.c)
    return out, log_sum


def attention_backward(
    grad_out: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    out: torch.Tensor,
    log_sum: torch.Tensor,
    row_start: torch.Tensor | None,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(grad_q [B, T, H, D], grad_k, grad_v [B, T, Hkv, D]): see attention_triton_backward.py."""
    grad_q, grad_k, grad_v = (
        torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v)
    )
    if q.numel() == 0:
        return grad_q, grad_k, grad_v

    problem, g = LaunchInputs(q, k, v, row_start, scale), _dense_rows(grad_out)
    problem.strides = (*problem.strides, *(g.stride(i) for i in range(3)))
    cut = problem.cut
    sizes = problem.sizes(cut.grad_kv.keys, problem.heads)
    delta = log_sum.new_empty((problem.batch, problem.heads, problem.length))
    ends = problem.row_start.new_empty((problem.batch, sizes[1], 2), dtype=torch.int32)
    read = problem.q, problem.k, problem.v, g, problem.row_start, log_sum.contiguous(), delta

    delta_kernel[(sizes[1] * sizes[2],)](
        g, out.contiguous(), problem.row_start, delta, ends, *problem.strides[-3:], *sizes,
        **problem.options, ROWS=cut.grad_kv.keys, num_warps=4,
    )  # fmt: skip
    factors = problem.group, problem.c, scale
    sizes = problem.sizes(cut.grad_q.rows, problem.heads)
    _launch_twice(grad_q_kernel, problem, cut.grad_q, sizes, (*read, grad_q), *factors)
    sizes = problem.sizes(cut.grad_kv.keys, problem.kv_heads)
    pointers = *read, ends, grad_k, grad_v
    _launch_twice(grad_kv_kernel, problem, cut.grad_kv, sizes, pointers, *factors)
    return grad_q, grad_k, grad_v


def _launch_twice(
    kernel: Any,
    problem: LaunchInputs,
    blocks: Blocks,
    sizes: tuple[int, int, int, int],
    pointers: tuple[torch.Tensor, ...],
    *factors: float,
) -> None:
    """A program for each block of positions and head; then CAREFUL, for what was broken."""
    programs = sizes[1] * sizes[2]
    broken = torch.empty(programs, dtype=torch.int32, device=problem.q.device)
    for careful in (False, True):
        kernel[(programs,)](
            *pointers, broken, *problem.strides, *sizes, *factors, **problem.options,
            ROWS=blocks.rows, KEYS=blocks.keys, CAREFUL=careful,
            num_warps=blocks.warps, num_stages=blocks.stages,
        )  # fmt: skip


def _dense_rows(x: torch.Tensor) -> torch.Tensor:
    return x if x.stride(3) == 1 else x.contiguous()
