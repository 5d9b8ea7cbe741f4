"""What the Triton kernels of attention share: which tiles a block of rows needs and in which order,
and what a non-finite number may reach.

A tile of queries against a tile of keys is needed if any of its queries sees any of its keys. Since
row_start does not decrease, the tiles that a block needs are one interval [low, high), and those of
them that are seen whole, which need no mask, one interval [whole_low, whole_high) inside. The whole
ones come first, then the others in order: one loop each.

0 * NaN is NaN, so a product over a tile carries a non-finite row, which most queries do not see, to
all of them. Guarding against that in the loops would cost every step of training. Instead a block
is computed as if all were finite and notes in `broken` whether its sums are; a second launch of the
same kernel, CAREFUL, leaves at once where they are, and else does the block again: operands are
cleaned, and rows that see what was cleaned become NaN. Order and numbers are the same, so all other
rows keep their bits. (Both in one kernel would spill registers inside the quick loops.)
"""

# mypy: disable-error-code="no-untyped-def"

import triton
import triton.language as tl


@triton.jit
def cdiv(a, b):
    """a / b, rounded up."""
    return (a + b - 1) // b


@triton.jit
def is_finite(x):
    """Neither infinite nor NaN."""
    return tl.abs(x.to(tl.float32)) < float("inf")


@triton.jit
def any_of_row(flags):
    """[rows, n] booleans -> [rows]."""
    return tl.max(flags.to(tl.int32), axis=1) > 0


@triton.jit
def not_finite(x):
    """Whether anything in [rows, n] is infinite or NaN, as int32. In one reduction: one by one,
    axis by axis, Triton 3.7 fails on sm_100.
    """
    return tl.max((is_finite(x) == 0).to(tl.int32))


@triton.jit
def start_of(row_start, t, T, HAS_START: tl.constexpr):
    """First key that query t sees, clamped to [0, t]; t: a position or several, within T or not."""
    if HAS_START:
        return tl.minimum(tl.maximum(tl.load(row_start + t, mask=t < T, other=0), 0), t)
    else:
        return t * 0


@triton.jit
def interval(low, whole_low, whole_high, high):
    """The four in order, as the loops need them."""
    whole_low = tl.minimum(tl.maximum(whole_low, low), high)
    return low, whole_low, tl.minimum(tl.maximum(whole_high, whole_low), high), high


@triton.jit
def keys_of(row_start, first, T, HAS_START: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr):
    """Tiles of KEYS keys for queries [first, first + ROWS): `interval`."""
    last = tl.minimum(first + ROWS, T) - 1
    low = start_of(row_start, first, T, HAS_START)
    whole_low = start_of(row_start, last, T, HAS_START)
    return interval(low // KEYS, cdiv(whole_low, KEYS), (first + 1) // KEYS, last // KEYS + 1)


@triton.jit
def nth_tile(i, low, whole_low, whole_high):
    """The tile that comes i-th: whole ones first."""
    whole = whole_high - whole_low
    other = low + i - whole
    return tl.where(i < whole, whole_low + i, tl.where(other < whole_low, other, other + whole))


@triton.jit
def load_rows(
    base, first, stride, T, D: tl.constexpr, ROWS: tl.constexpr, DIM: tl.constexpr,
    INSIDE: tl.constexpr,
):  # fmt: skip
    """Rows [first, first + ROWS) of one head as [ROWS, DIM], zeros beyond T and D. INSIDE: there
    are no rows beyond T.
    """
    row = tl.arange(0, ROWS)[:, None]
    d = tl.arange(0, DIM)[None, :]
    at = base + tl.cast(first, tl.int64) * stride + row * stride + d
    if INSIDE and D == DIM:
        return tl.load(at)
    elif INSIDE:
        return tl.load(at, mask=d < D, other=0.0)
    else:
        return tl.load(at, mask=(first + row < T) & (d < D), other=0.0)


@triton.jit
def store_rows(
    base, x, first, stride, T, D: tl.constexpr, ROWS: tl.constexpr, DIM: tl.constexpr,
):  # fmt: skip
    """The opposite of load_rows, rounding to the type of the array."""
    row = tl.arange(0, ROWS)[:, None]
    d = tl.arange(0, DIM)[None, :]
    at = base + tl.cast(first, tl.int64) * stride + row * stride + d
    tl.store(at, x.to(base.dtype.element_ty), mask=(first + row < T) & (d < D))


@triton.jit
def place_of(tiles, planes, heads, LONGEST_LAST: tl.constexpr):
    """(tile, batch, head) of this program. All heads' longest tiles begin first: of queries the
    last, of keys the first.
    """
    rank = tl.program_id(0) // planes
    plane = tl.program_id(0) % planes
    tile = tiles - 1 - rank if LONGEST_LAST else rank
    return tile, plane // heads, plane % heads
