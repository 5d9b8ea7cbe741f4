"""RMS-norm and rotation of query and key heads by Triton kernels: q and k in one launch, each head
read once and written once.

A row is a head of a token. The first programs take tiles of q's rows, the others k's. The halves of
a head, which turn into each other, are tiles of their own. In backward, as in rms_norm_triton.py,
programs take every n-th tile of their tensor and leave a part of its weight's gradient each.
"""

# mypy: disable-error-code="no-untyped-def"
import torch
import triton
import triton.language as tl

from pytorch_ext.native import contiguous_like
from pytorch_ext.triton_rows import inverse_root, looping_blocks, slope_of, tile, warps_of

NUMBERS = 1024  # of a tile, half a head wide


@triton.jit
def _position(row, heads, length):
    """(batch, time, head) of rows of heads, in 64 bits for offsets. Divided in 32, of which there
    are enough rows for any memory: in 64 a division is a call.
    """
    token = row // heads
    batch, time, head = token // length, token % length, row % heads
    return batch.to(tl.int64), time.to(tl.int64), head.to(tl.int64)


@triton.jit
def _norm_and_turn(
    x, weight, cos, sin, out, rows, first, length, heads, half,
    x_batch, x_token, x_head, angle_batch, eps,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """out = rows first .. first + ROWS of x, normed, times weight, turned."""
    row = first + tl.arange(0, ROWS)[:, None]
    column = tl.arange(0, COLUMNS)[None, :]
    there = (row < rows) & (column < half)
    batch, time, head = _position(row, heads, length)
    place = x + batch * x_batch + time * x_token + head * x_head + column
    angle = batch * angle_batch + time * half + column

    a = tl.load(place, mask=there, other=0.0).to(tl.float32)
    b = tl.load(place + half, mask=there, other=0.0).to(tl.float32)
    r = inverse_root(tl.sum(a * a + b * b, axis=1, keep_dims=True), 2 * half, eps)
    a *= r * tl.load(weight + column, mask=column < half, other=0.0)
    b *= r * tl.load(weight + half + column, mask=column < half, other=0.0)

    c = tl.load(cos + angle, mask=there, other=0.0)
    s = tl.load(sin + angle, mask=there, other=0.0)
    to = out + row.to(tl.int64) * 2 * half + column
    tl.store(to, (a * c - b * s).to(out.dtype.element_ty), mask=there)
    tl.store(to + half, (b * c + a * s).to(out.dtype.element_ty), mask=there)


@triton.jit
def forward_kernel(
    q, k, q_weight, k_weight, cos, sin, out_q, out_k, q_rows, k_rows, length, q_heads, k_heads,
    half, q_batch, q_token, q_head, k_batch, k_token, k_head, angle_batch, eps,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """rope(norm(x) * weight) of the heads of q and k."""
    q_tiles = tl.cdiv(q_rows, ROWS)
    program = tl.program_id(0)
    if program < q_tiles:
        _norm_and_turn(
            q, q_weight, cos, sin, out_q, q_rows, program * ROWS, length, q_heads, half,
            q_batch, q_token, q_head, angle_batch, eps, ROWS, COLUMNS,
        )  # fmt: skip
    else:
        _norm_and_turn(
            k, k_weight, cos, sin, out_k, k_rows, (program - q_tiles) * ROWS, length, k_heads, half,
            k_batch, k_token, k_head, angle_batch, eps, ROWS, COLUMNS,
        )  # fmt: skip


@triton.jit
def _turn_back_and_unnorm(
    grad, x, weight, cos, sin, grad_x, partial, rows, start, step, length, heads, half,
    grad_batch, grad_token, grad_head, x_batch, x_token, x_head, angle_batch, eps,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Tiles start, start + step, … of grad_x, and their sums for the weight to partial [2 half].
    The equation is rms_norm_triton.py's, of the gradient turned back.
    """
    own = tl.arange(0, ROWS)[:, None]
    column = tl.arange(0, COLUMNS)[None, :]
    in_half = column < half
    w_a = tl.load(weight + column, mask=in_half, other=0.0)
    w_b = tl.load(weight + half + column, mask=in_half, other=0.0)
    sums_a = tl.zeros((ROWS, COLUMNS), tl.float32)
    sums_b = tl.zeros((ROWS, COLUMNS), tl.float32)

    for first in range(start * ROWS, rows, step * ROWS):
        row = first + own
        there = (row < rows) & in_half
        batch, time, head = _position(row, heads, length)
        angle = batch * angle_batch + time * half + column
        c = tl.load(cos + angle, mask=there, other=0.0)
        s = tl.load(sin + angle, mask=there, other=0.0)

        came = grad + batch * grad_batch + time * grad_token + head * grad_head + column
        g_a = tl.load(came, mask=there, other=0.0).to(tl.float32)
        g_b = tl.load(came + half, mask=there, other=0.0).to(tl.float32)
        back_a, back_b = g_a * c + g_b * s, g_b * c - g_a * s

        place = x + batch * x_batch + time * x_token + head * x_head + column
        a = tl.load(place, mask=there, other=0.0).to(tl.float32)
        b = tl.load(place + half, mask=there, other=0.0).to(tl.float32)
        r = inverse_root(tl.sum(a * a + b * b, axis=1, keep_dims=True), 2 * half, eps)
        sums_a += tl.where(there, back_a * (a * r), 0.0)
        sums_b += tl.where(there, back_b * (b * r), 0.0)

        g_a, g_b = back_a * w_a, back_b * w_b
        slope = slope_of(r, tl.sum(a * g_a + b * g_b, axis=1, keep_dims=True) / (2 * half))
        to = grad_x + row.to(tl.int64) * 2 * half + column
        tl.store(to, (r * (g_a + a * slope)).to(grad_x.dtype.element_ty), mask=there)
        tl.store(to + half, (r * (g_b + b * slope)).to(grad_x.dtype.element_ty), mask=there)

    tl.store(partial + column, tl.sum(sums_a, axis=0, keep_dims=True), mask=in_half)
    tl.store(partial + half + column, tl.sum(sums_b, axis=0, keep_dims=True), mask=in_half)


@triton.jit
def backward_kernel(
    grad_q, grad_k, q, k, q_weight, k_weight, cos, sin, made_q, made_k, partial,
    q_programs, q_rows, k_rows, length, q_heads, k_heads, half,
    grad_q_batch, grad_q_token, grad_q_head, grad_k_batch, grad_k_token, grad_k_head,
    q_batch, q_token, q_head, k_batch, k_token, k_head, angle_batch, eps,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """made_q, made_k: gradients of q and k; partial [programs, 2 half]: parts of those of the
    weights, the first q_programs of q's.
    """
    program = tl.program_id(0)
    partial += program * 2 * half
    if program < q_programs:
        _turn_back_and_unnorm(
            grad_q, q, q_weight, cos, sin, made_q, partial, q_rows, program, q_programs,
            length, q_heads, half, grad_q_batch, grad_q_token, grad_q_head,
            q_batch, q_token, q_head, angle_batch, eps, ROWS, COLUMNS,
        )  # fmt: skip
    else:
        _turn_back_and_unnorm(
            grad_k, k, k_weight, cos, sin, made_k, partial, k_rows, program - q_programs,
            tl.num_programs(0) - q_programs, length, k_heads, half,
            grad_k_batch, grad_k_token, grad_k_head,
            k_batch, k_token, k_head, angle_batch, eps, ROWS, COLUMNS,
        )  # fmt: skip


def qk_norm_rope_forward(
    q: torch.Tensor,
    k: torch.Tensor,
    q_weight: torch.Tensor,
    k_weight: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    eps: float,
    level: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """q [B, T, H, D] and k [B, T, Hkv, D], normed and turned; weights and angles float32."""
    made = contiguous_like(q), contiguous_like(k)
    half = q.shape[3] // 2
    if not q.numel() + k.numel():
        return made

    q, k = _dense_last(q), _dense_last(k)
    rows, columns = tile(half, NUMBERS)
    counts = made[0].numel() // (2 * half), made[1].numel() // (2 * half)
    forward_kernel[(sum(triton.cdiv(n, rows) for n in counts),)](
        q, k, *(x.contiguous() for x in (q_weight, k_weight, cos, sin)), *made, *counts,
        q.shape[1], q.shape[2], k.shape[2], half, *q.stride()[:3], *k.stride()[:3],
        q.shape[1] * half if cos.dim() == 3 else 0, eps,
        ROWS=rows, COLUMNS=columns, num_warps=warps_of(rows * columns, 256),
    )  # fmt: skip
    return made


def qk_norm_rope_backward(
    grad_q: torch.Tensor,
    grad_k: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    q_weight: torch.Tensor,
    k_weight: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    eps: float,
    level: int,
) -> tuple[torch.Tensor, ...]:
    """Gradients of q, k and the weights (float32)."""
    made = contiguous_like(q), contiguous_like(k)
    half = q.shape[3] // 2
    if not q.numel() + k.numel():
        return *made, torch.zeros_like(q_weight), torch.zeros_like(k_weight)

    grad_q, grad_k, q, k = (_dense_last(x) for x in (grad_q, grad_k, q, k))
    rows, columns = tile(half, NUMBERS)
    counts = made[0].numel() // (2 * half), made[1].numel() // (2 * half)
    programs = [looping_blocks(q.device, triton.cdiv(n, rows)) for n in counts]
    partial = q.new_empty((sum(programs), 2 * half), dtype=torch.float32)
    strides = (n for x in (grad_q, grad_k, q, k) for n in x.stride()[:3])
    backward_kernel[(sum(programs),)](
        grad_q, grad_k, q, k, *(x.contiguous() for x in (q_weight, k_weight, cos, sin)), *made,
        partial, programs[0], *counts, q.shape[1], q.shape[2], k.shape[2], half, *strides,
        q.shape[1] * half if cos.dim() == 3 else 0, eps,
        ROWS=rows, COLUMNS=columns, num_warps=warps_of(rows * columns, 256),
    )  # fmt: skip
    of_q, of_k = partial.split(programs)
    return *made, of_q.sum(dim=0), of_k.sum(dim=0)


def _dense_last(x: torch.Tensor) -> torch.Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()
