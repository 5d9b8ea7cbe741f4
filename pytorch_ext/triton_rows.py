"""What the Triton kernels over rows share: rows of a tensor, tiles, thread blocks, a norm's parts.

Imports triton, which exists for Linux only: nothing imports this before a kernel is launched.
"""

import functools

import torch
import triton
import triton.language as tl

WAVES = 4  # thread blocks of a kernel that loops, for each multiprocessor: hides memory's latency


def as_rows(x: torch.Tensor) -> torch.Tensor:
    """x [..., C] as [rows, C] with dense rows; a copy only where its strides are no such rows'."""
    rows = x.reshape(x.numel() // max(x.shape[-1], 1), x.shape[-1])
    return rows if rows.stride(1) == 1 or rows.shape[1] == 1 else rows.contiguous()


def tile(width: int, numbers: int) -> tuple[int, int]:
    """(rows, columns) of a tile of about `numbers` that holds whole rows: powers of two."""
    columns = triton.next_power_of_2(max(width, 1))
    return max(1, numbers // columns), columns


def warps_of(numbers: int, each: int = 512) -> int:
    """Warps for a tile of so many numbers, of which a warp takes `each` if it can be."""
    return min(32, max(4, triton.next_power_of_2(numbers // each)))


def looping_blocks(device: torch.device, tiles: int) -> int:
    """Thread blocks that share `tiles`, each taking every n-th: as many sums are left for the
    weight's gradient, in an order that the device's size alone decides.
    """
    return min(tiles, WAVES * _multiprocessors(device))


@functools.cache
def _multiprocessors(device: torch.device) -> int:
    if device.type == "cpu":
        return 1  # the interpreter
    return torch.cuda.get_device_properties(device).multi_processor_count


@triton.jit
def inverse_root(squares, width, eps):
    """1 / sqrt(mean + eps), the mean of `width` squares that add up to `squares`. One instruction,
    2^-22.9 at most from the root; an exact one would be a call, around which a register is spilled.
    """
    return tl.rsqrt(squares / width + eps)


@triton.jit
def slope_of(inverse, mean):
    """-r^2 mean, r the inverse root: what s is multiplied by in a norm's gradient. Zero where the
    squares overflowed and r is zero, whatever the mean became.
    """
    return tl.where(inverse == 0.0, 0.0, -mean * inverse * inverse)
