"""The forward kernel in Triton. One program: a block of ROWS queries of one head, over the tiles of
keys that it sees.

    m' = max(m, max_j s_j)    keep = 2^(c (m - m'))    l' = l keep + sum_j 2^(c (s_j - m'))
    o' = o keep + sum_j 2^(c (s_j - m')) v_j           at the end: out = o / l,  log_sum = m, log2 l

with s = <q, k> and c = scale log2(e); m and l are `top` and `total`. m is subtracted before c
multiplies, and m and log2 l are saved apart: a sum of large numbers would round by more than an
exponent holds. (Online softmax: Milakov and Gimelshein 2018; tiles: Dao et al. 2022.)

Memory: q, o, m and l stay in registers (or shared memory, as the compiler has it), k and v come
through shared memory, STAGES tiles ahead. Nothing of [T, T] exists.
"""

# mypy: disable-error-code="no-untyped-def"

import triton
import triton.language as tl

from pytorch_ext.ops.attention.attention_triton_tiles import (
    any_of_row,
    is_finite,
    keys_of,
    load_rows,
    not_finite,
    nth_tile,
    place_of,
    start_of,
    store_rows,
)


@triton.jit
def attend(
    state, q, k, v, k_time, v_time, rows, start, begin, end, low, whole_low, whole_high, T, c,
    D: tl.constexpr, DIM: tl.constexpr, KEYS: tl.constexpr,
    MASKED: tl.constexpr, CAREFUL: tl.constexpr,
):  # fmt: skip
    """state = (o, total, top, poisoned) after the begin-th to end-th tile."""
    o, total, top, poisoned = state
    for i in range(begin, end):
        first = nth_tile(i, low, whole_low, whole_high) * KEYS
        k_tile = load_rows(k, first, k_time, T, D, KEYS, DIM, INSIDE=not MASKED)
        v_tile = load_rows(v, first, v_time, T, D, KEYS, DIM, INSIDE=not MASKED)
        s = tl.dot(q, tl.trans(k_tile), input_precision="ieee")
        if MASKED:
            key = (first + tl.arange(0, KEYS))[None, :]
            seen = (key <= rows[:, None]) & (key >= start[:, None])
            s = tl.where(seen, s, float("-inf"))
            if CAREFUL:
                v_finite = is_finite(v_tile)
                v_bad = any_of_row(v_finite == 0)
                v_tile = tl.where(v_finite, v_tile, 0.0).to(v_tile.dtype)
                poisoned = poisoned | any_of_row(seen & v_bad[None, :])

        grown = tl.maximum(top, tl.max(s, axis=1))
        base = tl.where(grown == float("-inf"), 0.0, grown)  # nothing seen yet
        p = tl.exp2((s - base[:, None]) * c)
        keep = tl.exp2((top - base) * c)
        total = total * keep + tl.sum(p, axis=1)
        o = tl.dot(p.to(v_tile.dtype), v_tile, o * keep[:, None], input_precision="ieee")
        top = grown
    return o, total, top, poisoned


@triton.jit
def nothing_yet(ROWS: tl.constexpr, DIM: tl.constexpr):
    """The state before the first tile."""
    o = tl.zeros((ROWS, DIM), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    return o, total, total - float("inf"), total > 0


@triton.jit(do_not_specialize=["T", "tiles", "planes"])
def forward_kernel(
    q, k, v, row_start, out, log_sum, broken,
    q_batch, q_time, q_head, k_batch, k_time, k_head, v_batch, v_time, v_head,
    T, tiles, planes, heads, group, c,
    HAS_START: tl.constexpr, D: tl.constexpr, DIM: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr, CAREFUL: tl.constexpr,
):  # fmt: skip
    """q, k, v: [B, T, heads, D] with these strides; row_start [B, T] dense; out [B, T, H, D] dense;
    log_sum [B, H, 2, T] dense; broken int32, one of a program. group: query heads of a key head.
    """
    if CAREFUL:  # noqa: SIM102  (compiled away where it is False)
        if tl.load(broken + tl.program_id(0)) == 0:
            return
    tile, batch, head = place_of(tiles, planes, heads, LONGEST_LAST=True)
    first = tile * ROWS
    rows = first + tl.arange(0, ROWS)
    wide = tl.cast(batch, tl.int64)
    q += wide * q_batch + head * q_head
    k += wide * k_batch + (head // group) * k_head
    v += wide * v_batch + (head // group) * v_head
    row_start += wide * T

    start = start_of(row_start, rows, T, HAS_START)
    low, whole_low, whole_high, high = keys_of(row_start, first, T, HAS_START, ROWS, KEYS)
    whole, count = whole_high - whole_low, high - low
    q_tile = load_rows(q, first, q_time, T, D, ROWS, DIM, INSIDE=False)
    if CAREFUL:
        o, total, top, poisoned = attend(
            nothing_yet(ROWS, DIM), q_tile, k, v, k_time, v_time, rows, start, 0, count,
            low, whole_low, whole_high, T, c, D, DIM, KEYS, MASKED=True, CAREFUL=True,
        )  # fmt: skip
        total = tl.where(poisoned, float("nan"), total)
    else:
        state = attend(
            nothing_yet(ROWS, DIM), q_tile, k, v, k_time, v_time, rows, start, 0, whole,
            low, whole_low, whole_high, T, c, D, DIM, KEYS, MASKED=False, CAREFUL=False,
        )  # fmt: skip
        o, total, top, poisoned = attend(
            state, q_tile, k, v, k_time, v_time, rows, start, whole, count,
            low, whole_low, whole_high, T, c, D, DIM, KEYS, MASKED=True, CAREFUL=False,
        )  # fmt: skip
        tl.store(broken + tl.program_id(0), not_finite(o))

    o = o * tl.math.div_rn(1.0, total)[:, None]
    out += (wide * T * heads + head) * D
    store_rows(out, o, first, heads * D, T, D, ROWS, DIM)
    log_sum += (wide * heads + head) * 2 * T
    tl.store(log_sum + rows, top, mask=rows < T)
    tl.store(log_sum + T + rows, tl.log2(total), mask=rows < T)
