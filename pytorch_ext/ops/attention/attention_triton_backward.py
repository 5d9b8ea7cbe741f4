"""The backward kernels in Triton, one pass for the gradient of q and one for those of k and v: no
atomics, so the sums have one order and every repeat the same bits.

    p = 2^(c (s - m) - log2 l)    dp = grad_out v^T    ds = p (dp - delta),  delta = <grad_out, out>
    grad_v = p^T grad_out    grad_q = scale ds k    grad_k = scale ds^T q

A tile of keys is seen by the queries from its own first position to the last one whose document
begins no later than the tile's last key. delta_kernel finds that, by bisection in row_start, for
all heads at once. p and ds are recomputed in either pass: 7 products instead of 5, the price of
being deterministic without a buffer of partial sums.
"""

# mypy: disable-error-code="no-untyped-def"

import triton
import triton.language as tl

from pytorch_ext.ops.attention.attention_triton_tiles import (
    any_of_row,
    cdiv,
    interval,
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
def queries_from(row_start, key, T):
    """The first query after `key` whose document begins after it, or T."""
    low, high = key + 1, T
    while low < high:
        middle = (low + high) // 2
        if start_of(row_start, middle, T, HAS_START=True) <= key:
            low = middle + 1
        else:
            high = middle
    return low


@triton.jit(do_not_specialize=["T", "tiles", "planes"])
def delta_kernel(
    grad_out, out, row_start, delta, ends, g_batch, g_time, g_head,
    T, tiles, planes, heads,
    HAS_START: tl.constexpr, D: tl.constexpr, DIM: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """delta [B, H, T]; ends [B, tiles, 2]: for each tile of ROWS keys the end of the queries that
    see its first key, and of those that see its last.
    """
    tile, batch, head = place_of(tiles, planes, heads, LONGEST_LAST=False)
    first = tile * ROWS
    rows = first + tl.arange(0, ROWS)
    wide = tl.cast(batch, tl.int64)
    g_tile = load_rows(
        grad_out + wide * g_batch + head * g_head, first, g_time, T, D, ROWS, DIM, INSIDE=False
    )
    own = out + (wide * T * heads + head) * D
    o_tile = load_rows(own, first, heads * D, T, D, ROWS, DIM, INSIDE=False)
    products = g_tile.to(tl.float32) * o_tile.to(tl.float32)
    to = delta + (wide * heads + head) * T + rows
    tl.store(to, tl.sum(products, axis=1), mask=rows < T)

    if HAS_START:  # noqa: SIM102
        if head == 0:
            last = tl.minimum(first + ROWS, T) - 1
            own_ends = ends + (wide * tiles + tile) * 2
            tl.store(own_ends, queries_from(row_start + wide * T, first, T))
            tl.store(own_ends + 1, queries_from(row_start + wide * T, last, T))


@triton.jit
def pull_q(
    grad, poisoned, q, g, top, log2_l, delta, k, v, k_time, v_time, rows, start, begin, end,
    low, whole_low, whole_high, T, c, D: tl.constexpr, DIM: tl.constexpr, KEYS: tl.constexpr,
    MASKED: tl.constexpr, CAREFUL: tl.constexpr,
):  # fmt: skip
    """grad = ds k after the begin-th to end-th tile of keys, and the rows that saw a bad key."""
    for i in range(begin, end):
        first = nth_tile(i, low, whole_low, whole_high) * KEYS
        k_tile = load_rows(k, first, k_time, T, D, KEYS, DIM, INSIDE=not MASKED)
        v_tile = load_rows(v, first, v_time, T, D, KEYS, DIM, INSIDE=not MASKED)
        s = tl.dot(q, tl.trans(k_tile), input_precision="ieee")
        dp = tl.dot(g, tl.trans(v_tile), input_precision="ieee")
        p = tl.exp2((s - top[:, None]) * c - log2_l[:, None])
        ds = p * (dp - delta[:, None])
        if MASKED:
            key = (first + tl.arange(0, KEYS))[None, :]
            seen = (key <= rows[:, None]) & (key >= start[:, None])
            ds = tl.where(seen, ds, 0.0)
            if CAREFUL:
                finite = is_finite(k_tile)
                bad = any_of_row(finite == 0)
                k_tile = tl.where(finite, k_tile, 0.0).to(k_tile.dtype)
                poisoned = poisoned | any_of_row(seen & bad[None, :])
        grad = tl.dot(ds.to(k_tile.dtype), k_tile, grad, input_precision="ieee")
    return grad, poisoned


@triton.jit(do_not_specialize=["T", "tiles", "planes"])
def grad_q_kernel(
    q, k, v, grad_out, row_start, log_sum, delta, grad_q, broken,
    q_batch, q_time, q_head, k_batch, k_time, k_head, v_batch, v_time, v_head,
    g_batch, g_time, g_head, T, tiles, planes, heads, group, c, scale,
    HAS_START: tl.constexpr, D: tl.constexpr, DIM: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr, CAREFUL: tl.constexpr,
):  # fmt: skip
    """As forward_kernel; one program: the gradient of ROWS queries of one head."""
    if CAREFUL:  # noqa: SIM102  (compiled away where it is False)
        if tl.load(broken + tl.program_id(0)) == 0:
            return
    tile, batch, head = place_of(tiles, planes, heads, LONGEST_LAST=True)
    first = tile * ROWS
    rows = first + tl.arange(0, ROWS)
    wide = tl.cast(batch, tl.int64)
    k += wide * k_batch + (head // group) * k_head
    v += wide * v_batch + (head // group) * v_head
    row_start += wide * T
    q_tile = load_rows(
        q + wide * q_batch + head * q_head, first, q_time, T, D, ROWS, DIM, INSIDE=False
    )
    g_tile = load_rows(
        grad_out + wide * g_batch + head * g_head, first, g_time, T, D, ROWS, DIM, INSIDE=False
    )
    plane = wide * heads + head
    top = tl.load(log_sum + plane * 2 * T + rows, mask=rows < T, other=0.0)
    log2_l = tl.load(log_sum + plane * 2 * T + T + rows, mask=rows < T, other=0.0)
    own_delta = tl.load(delta + plane * T + rows, mask=rows < T, other=0.0)

    start = start_of(row_start, rows, T, HAS_START)
    low, whole_low, whole_high, high = keys_of(row_start, first, T, HAS_START, ROWS, KEYS)
    whole, count = whole_high - whole_low, high - low
    zero = tl.zeros((ROWS, DIM), tl.float32)
    none = rows < 0
    if CAREFUL:
        grad, poisoned = pull_q(
            zero, none, q_tile, g_tile, top, log2_l, own_delta, k, v, k_time, v_time, rows, start,
            0, count, low, whole_low, whole_high, T, c, D, DIM, KEYS, MASKED=True, CAREFUL=True,
        )  # fmt: skip
        grad = tl.where(poisoned[:, None], float("nan"), grad)
    else:
        grad, none = pull_q(
            zero, none, q_tile, g_tile, top, log2_l, own_delta, k, v, k_time, v_time, rows, start,
            0, whole, low, whole_low, whole_high, T, c, D, DIM, KEYS, MASKED=False, CAREFUL=False,
        )  # fmt: skip
        grad, none = pull_q(
            grad, none, q_tile, g_tile, top, log2_l, own_delta, k, v, k_time, v_time, rows, start,
            whole, count, low, whole_low, whole_high, T, c, D, DIM, KEYS, MASKED=True,
            CAREFUL=False,
        )  # fmt: skip
        tl.store(broken + tl.program_id(0), not_finite(grad))

    to = grad_q + (wide * T * heads + head) * D
    store_rows(to, grad * scale, first, heads * D, T, D, ROWS, DIM)


@triton.jit
def pull_kv(
    grads, k, v, q, grad_out, q_time, g_time, row_start, log_sum, delta, keys, begin, end,
    low, whole_low, whole_high, T, c, HAS_START: tl.constexpr, D: tl.constexpr, DIM: tl.constexpr,
    ROWS: tl.constexpr, MASKED: tl.constexpr, CAREFUL: tl.constexpr,
):  # fmt: skip
    """grads = (ds^T q, p^T grad_out) after the begin-th to end-th tile of queries of one head."""
    grad_k, grad_v = grads
    for i in range(begin, end):
        first = nth_tile(i, low, whole_low, whole_high) * ROWS
        rows = first + tl.arange(0, ROWS)
        q_tile = load_rows(q, first, q_time, T, D, ROWS, DIM, INSIDE=not MASKED)
        g_tile = load_rows(grad_out, first, g_time, T, D, ROWS, DIM, INSIDE=not MASKED)
        top = tl.load(log_sum + rows, mask=rows < T, other=0.0)
        log2_l = tl.load(log_sum + T + rows, mask=rows < T, other=0.0)
        own_delta = tl.load(delta + rows, mask=rows < T, other=0.0)

        s = tl.dot(k, tl.trans(q_tile), input_precision="ieee")  # [keys, rows], as p and ds
        p = tl.exp2((s - top[None, :]) * c - log2_l[None, :])
        if MASKED:
            start = start_of(row_start, rows, T, HAS_START)[None, :]
            seen = (keys[:, None] <= rows[None, :]) & (keys[:, None] >= start)
            seen = seen & (rows < T)[None, :]
            if CAREFUL:
                q_finite, g_finite = is_finite(q_tile), is_finite(g_tile)
                bad = any_of_row((q_finite & g_finite) == 0)
                q_tile = tl.where(q_finite, q_tile, 0.0).to(q_tile.dtype)
                p = tl.where(bad[None, :], float("nan"), p)
            p = tl.where(seen, p, 0.0)
        dp = tl.dot(v, tl.trans(g_tile), input_precision="ieee")
        ds = p * (dp - own_delta[None, :])
        if MASKED:
            ds = tl.where(seen, ds, 0.0)
        if CAREFUL:
            g_tile = tl.where(g_finite, g_tile, 0.0).to(g_tile.dtype)
        grad_v = tl.dot(p.to(g_tile.dtype), g_tile, grad_v, input_precision="ieee")
        grad_k = tl.dot(ds.to(q_tile.dtype), q_tile, grad_k, input_precision="ieee")
    return grad_k, grad_v


@triton.jit
def pull_kv_of_group(
    k, v, q, grad_out, q_time, q_head, g_time, g_head, row_start, log_sum, delta, keys, group,
    low, whole_low, whole_high, high, T, c, HAS_START: tl.constexpr, D: tl.constexpr,
    DIM: tl.constexpr, ROWS: tl.constexpr, CAREFUL: tl.constexpr,
):  # fmt: skip
    """The same over all tiles of queries of all heads that share the key head, one after the
    other.
    """
    whole, count = whole_high - whole_low, high - low
    zero = tl.zeros((k.shape[0], DIM), tl.float32)
    grads = (zero, zero)

    for _ in range(group):
        if not CAREFUL:
            grads = pull_kv(
                grads, k, v, q, grad_out, q_time, g_time, row_start, log_sum, delta, keys, 0, whole,
                low, whole_low, whole_high, T, c, HAS_START, D, DIM, ROWS, False, False,
            )  # fmt: skip
        grads = pull_kv(
            grads, k, v, q, grad_out, q_time, g_time, row_start, log_sum, delta, keys,
            0 if CAREFUL else whole, count,
            low, whole_low, whole_high, T, c, HAS_START, D, DIM, ROWS, True, CAREFUL,
        )  # fmt: skip
        q += q_head
        grad_out += g_head
        log_sum += 2 * tl.cast(T, tl.int64)
        delta += T
    return grads


@triton.jit(do_not_specialize=["T", "tiles", "planes"])
def grad_kv_kernel(
    q, k, v, grad_out, row_start, log_sum, delta, ends, grad_k, grad_v, broken,
    q_batch, q_time, q_head, k_batch, k_time, k_head, v_batch, v_time, v_head,
    g_batch, g_time, g_head, T, tiles, planes, heads, group, c, scale,
    HAS_START: tl.constexpr, D: tl.constexpr, DIM: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr, CAREFUL: tl.constexpr,
):  # fmt: skip
    """As grad_q_kernel, but `heads` are key heads; one program: the gradients of KEYS keys and
    values of one of them.
    """
    if CAREFUL:  # noqa: SIM102  (compiled away where it is False)
        if tl.load(broken + tl.program_id(0)) == 0:
            return
    tile, batch, head = place_of(tiles, planes, heads, LONGEST_LAST=False)
    first = tile * KEYS
    keys = first + tl.arange(0, KEYS)
    wide = tl.cast(batch, tl.int64)
    k_tile = load_rows(
        k + wide * k_batch + head * k_head, first, k_time, T, D, KEYS, DIM, INSIDE=False
    )
    v_tile = load_rows(
        v + wide * v_batch + head * v_head, first, v_time, T, D, KEYS, DIM, INSIDE=False
    )
    q += wide * q_batch + head * group * q_head
    grad_out += wide * g_batch + head * group * g_head
    row_start += wide * T
    log_sum += (wide * heads + head) * group * 2 * T
    delta += (wide * heads + head) * group * T

    end_of_first, end = T, T
    if HAS_START:
        end_of_first = tl.load(ends + (wide * tiles + tile) * 2)
        end = tl.load(ends + (wide * tiles + tile) * 2 + 1)
    low, whole_low, whole_high, high = interval(
        first // ROWS, cdiv(first + KEYS - 1, ROWS), end_of_first // ROWS, cdiv(end, ROWS)
    )
    dk, dv = pull_kv_of_group(
        k_tile, v_tile, q, grad_out, q_time, q_head, g_time, g_head, row_start, log_sum, delta,
        keys, group, low, whole_low, whole_high, high, T, c, HAS_START, D, DIM, ROWS, CAREFUL,
    )  # fmt: skip
    if not CAREFUL:
        tl.store(broken + tl.program_id(0), not_finite(dk) | not_finite(dv))

    to = (wide * T * heads + head) * D
    store_rows(grad_k + to, dk * scale, first, heads * D, T, D, KEYS, DIM)
    store_rows(grad_v + to, dv, first, heads * D, T, D, KEYS, DIM)
