"""Root-mean-square norm by Triton kernels: a tile of whole rows stays in registers between its sums
and its results, so each number is read once and written once.

Forward has one program for a tile. Backward has a few for each multiprocessor, which take every
n-th tile and keep their part of the weight's gradient in registers; their parts, [programs, C], are
added up afterwards: no atomics, the same bits each time. The root is computed again in backward,
whose row is there anyway.

Rows beyond 16,384 numbers still run, with registers spilled.
"""

# mypy: disable-error-code="no-untyped-def"
import torch
import triton
import triton.language as tl

from pytorch_ext.native import contiguous_like
from pytorch_ext.triton_rows import (
    as_rows,
    inverse_root,
    looping_blocks,
    slope_of,
    tile,
    warps_of,
)

NUMBERS = 2048  # of a tile, if a row isn't longer


@triton.jit
def forward_kernel(
    x, residual, weight, out, total, rows, width, x_row, residual_row, eps,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """out = norm of x, or of total = x + residual as it is rounded. residual (with total) and
    weight are None where they are absent.
    """
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.arange(0, COLUMNS)[None, :]
    there = (row < rows) & (column < width)
    to = row * width + column

    s = tl.load(x + row * x_row + column, mask=there, other=0.0).to(tl.float32)
    if residual is not None:
        r = tl.load(residual + row * residual_row + column, mask=there, other=0.0).to(tl.float32)
        rounded = (s + r).to(total.dtype.element_ty)
        tl.store(total + to, rounded, mask=there)
        s = rounded.to(tl.float32)

    normed = s * inverse_root(tl.sum(s * s, axis=1, keep_dims=True), width, eps)
    if weight is not None:
        normed *= tl.load(weight + column, mask=column < width, other=0.0)
    tl.store(out + to, normed.to(out.dtype.element_ty), mask=there)


@triton.jit
def backward_kernel(
    grad, grad_total, x, weight, grad_x, partial, rows, width, grad_row, total_row, x_row, eps,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """grad_x = r (w g - s r^2 mean(s w g)) + grad_total, with s the row, g its gradient, r its
    inverse root, w the weight; partial [programs, width] = sums of g s r over the program's rows.
    grad_total and weight (with partial) are None where they are absent.
    """
    column = tl.arange(0, COLUMNS)[None, :]
    own = tl.arange(0, ROWS)[:, None].to(tl.int64)
    if weight is not None:
        w = tl.load(weight + column, mask=column < width, other=0.0)
        sums = tl.zeros((ROWS, COLUMNS), tl.float32)

    for first in range(tl.program_id(0) * ROWS, rows, tl.num_programs(0) * ROWS):
        row = first + own
        there = (row < rows) & (column < width)
        s = tl.load(x + row * x_row + column, mask=there, other=0.0).to(tl.float32)
        g = tl.load(grad + row * grad_row + column, mask=there, other=0.0).to(tl.float32)
        r = inverse_root(tl.sum(s * s, axis=1, keep_dims=True), width, eps)
        if weight is not None:
            # Where, since zero times the root of nothing, infinite for an eps of zero, is NaN.
            sums += tl.where(there, g * (s * r), 0.0)
            g *= w
        made = r * (g + s * slope_of(r, tl.sum(s * g, axis=1, keep_dims=True) / width))
        if grad_total is not None:
            made += tl.load(grad_total + row * total_row + column, mask=there).to(tl.float32)
        tl.store(grad_x + row * width + column, made.to(grad_x.dtype.element_ty), mask=there)

    if weight is not None:
        to = partial + tl.program_id(0) * width + column
        tl.store(to, tl.sum(sums, axis=0, keep_dims=True), mask=column < width)


def rms_norm_forward(
    x: torch.Tensor, weight: torch.Tensor | None, eps: float, level: int
) -> torch.Tensor:
    """The norm of x [..., C]; weight: float32 [C]."""
    return _forward(x, None, weight, eps)[0]


def add_rms_norm_forward(
    x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor | None, eps: float, level: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """(norm of x + residual, x + residual)."""
    return _forward(x, residual, weight, eps)


def _forward(
    x: torch.Tensor, residual: torch.Tensor | None, weight: torch.Tensor | None, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The second is empty without a residual."""
    out = contiguous_like(x)
    total = x.new_empty(0) if residual is None else contiguous_like(x)
    if not x.numel():
        return out, total

    x_rows = as_rows(x)
    r_rows = None if residual is None else as_rows(residual)
    (count, width), (rows, columns) = x_rows.shape, tile(x.shape[-1], NUMBERS)
    forward_kernel[(triton.cdiv(count, rows),)](
        x_rows, r_rows, _dense(weight), out, None if residual is None else total, count, width,
        x_rows.stride(0), 0 if r_rows is None else r_rows.stride(0), eps,
        ROWS=rows, COLUMNS=columns, num_warps=warps_of(rows * columns),
    )  # fmt: skip
    return out, total


def rms_norm_backward(
    grad: torch.Tensor,
    grad_sum: torch.Tensor | None,
    x: torch.Tensor,
    weight: torch.Tensor | None,
    eps: float,
    level: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(gradient of x, of weight: float32, empty without one); x is the sum where a residual was
    added, grad_sum the gradient that came for it.
    """
    grad_x = contiguous_like(x)
    if not x.numel():
        return grad_x, x.new_zeros(0 if weight is None else weight.shape[0], dtype=torch.float32)

    x_rows, grad_rows = as_rows(x), as_rows(grad)
    sum_rows = None if grad_sum is None else as_rows(grad_sum)
    (count, width), (rows, columns) = x_rows.shape, tile(x.shape[-1], NUMBERS)
    programs = looping_blocks(x.device, triton.cdiv(count, rows))
    partial = x.new_empty((programs, 0 if weight is None else width), dtype=torch.float32)
    backward_kernel[(programs,)](
        grad_rows, sum_rows, x_rows, _dense(weight), grad_x, partial, count, width,
        grad_rows.stride(0), 0 if sum_rows is None else sum_rows.stride(0), x_rows.stride(0), eps,
        ROWS=rows, COLUMNS=columns, num_warps=warps_of(rows * columns),
    )  # fmt: skip
    return grad_x, partial.sum(dim=0)


def _dense(weight: torch.Tensor | None) -> torch.Tensor | None:
    return None if weight is None else weight.contiguous()
