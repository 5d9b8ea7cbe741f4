"""Dropout (Srivastava et al., 2014) whose masks are a function of a row's key and a place: nothing
to save, and the same for any number of processes, micro-batches, threads and devices.

Where Vaswani et al. (2017) put it: on the embedding and on what each sublayer adds to the residual
stream. Evaluation and generation pass no keys and drop nothing; a model that was trained with it
has the same shape.

A mask is no draw from a generator with a state. Each value's number is a hash of the key of its row
of the batch (drawn by the trainer from seed, step and row), of the place of the dropout in the
model, its position and its channel: a counter-based generator (Salmon et al., 2011), here with the
rounds of a 32-bit finaliser (Wellons, 2018, https://nullprogram.com/blog/2018/07/31/), in integers
that every device multiplies alike. Two more passes over memory than a mask from a file would take,
1 ms for half a million values on a core.

Legend: B rows, T positions, C width.
"""

from typing import NamedTuple

import torch

__all__ = ["Dropout"]


class Dropout(NamedTuple):
    """What is dropped in one forward pass: the share of values, and a key for each row, int64 [B]
    of 32 bits.
    """

    rate: float
    keys_B: torch.Tensor

    def __call__(self, x_BTC: torch.Tensor, place: int) -> torch.Tensor:
        """``x_BTC`` with a ``rate`` of its values zero and the others larger by as much; ``place``:
        a number of its own for each call in a forward pass.
        """
        kept_BTC = _kept(self.keys_B, place, x_BTC.shape[1], x_BTC.shape[2], self.rate)

        # The scale on its own, in float32: rounded to bfloat16 it would be off by up to 0.4%.
        return x_BTC * kept_BTC.to(x_BTC.dtype) * (1 / (1 - self.rate))


# An operator of its own, which torch.compile doesn't look into: its index arithmetic isn't int32's,
# and a compiled model would drop other values.
@torch.library.custom_op("snakelm::kept", mutates_args=())
def _kept(
    keys_B: torch.Tensor, place: int, positions: int, width: int, rate: float
) -> torch.Tensor:
    """Which values are kept: bool [B, T, C]."""
    device = keys_B.device

    # Hashes of (row, place, position) and of the channel, each mixed before they meet.
    rows_B1 = _mixed(_signed(keys_B) ^ (place * 0x01000193 & 0x7FFFFFFF))[:, None]
    steps_T = _mixed(torch.arange(positions, dtype=torch.int32, device=device))
    rows_BT1 = _mixed(rows_B1 ^ steps_T)[:, :, None]
    channels_C = _mixed(torch.arange(width, dtype=torch.int32, device=device) + (1 << 24))
    return _mixed(rows_BT1 ^ channels_C) >= round((rate - 0.5) * 2**32)


@_kept.register_fake
def _kept_fake(
    keys_B: torch.Tensor, place: int, positions: int, width: int, rate: float
) -> torch.Tensor:
    return keys_B.new_empty((keys_B.shape[0], positions, width), dtype=torch.bool)


def _signed(keys_B: torch.Tensor) -> torch.Tensor:
    """Numbers of 32 bits, int64, as the int32 of the same bits."""
    return (keys_B - (keys_B >> 31 << 32)).to(torch.int32)


def _mixed(x: torch.Tensor) -> torch.Tensor:
    """A bijection of int32 whose high bits depend on every bit of ``x``. In place but for the first
    pass: this is what dropout costs.
    """
    x = x * 0x21F0AAAD
    shifted = x >> 15  # of a signed number, so its sign comes with it
    x ^= shifted.bitwise_and_(0x1FFFF)
    x *= 0x735A2D97
    return x
