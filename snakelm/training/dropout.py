"""The keys of a step's dropout: a function of (seed, step, row of the whole batch), so that a
resumed run and another number of processes drop the same values (snakelm/model/dropout.py makes
masks of them).
"""

from dataclasses import dataclass

import numpy as np
import torch

from ..model.dropout import Dropout

__all__ = ["RowDropout", "row_dropout"]

PURPOSE = 0xD209  # keeps the keys apart from the other draws of the same seed and step


@dataclass(frozen=True)
class RowDropout:
    """What is dropped of some rows: the share of values, and a key for each row, int64 [R] of 32
    bits.
    """

    rate: float
    keys: np.ndarray

    def part(self, first: int, last: int) -> "RowDropout":
        """That of rows first … last - 1."""
        return RowDropout(self.rate, self.keys[first:last])

    def to(self, device: torch.device) -> Dropout:
        """As the model takes it."""
        return Dropout(self.rate, torch.from_numpy(self.keys).to(device))


def row_dropout(rate: float, seed: int, step: int, first: int, last: int) -> RowDropout | None:
    """The dropout of rows first … last - 1 of the batch of ``step``; None for a rate of 0."""
    if not rate:
        return None
    generator = np.random.Generator(np.random.PCG64([seed, step, PURPOSE]))
    keys = generator.integers(0, 2**32, last, np.int64)[first:]  # those before are drawn, too
    return RowDropout(rate, keys)
