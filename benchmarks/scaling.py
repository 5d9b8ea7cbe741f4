"""What threads gain, on a machine whose cores change between a fast and a slow state by themselves.

A best time of each number of threads says nothing there: one thread meets the fast state more often
than two do together. So work is timed on one thread, on N and on one again, right after each other,
and each such round gives a ratio of its own; the median of many is what N threads gain. Beside it
stands what the machine itself gives in the same rounds: independent products of 1024 x 1024
matrices, one thread's each, on N threads at once against one alone. No program gains more than
that.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

__all__ = ["Machine", "gained"]


def seconds(work: Callable[..., Any], *arguments: Any) -> float:
    begin = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - begin


def gained(one: tuple[float, float], many: float) -> float:
    """How many times as fast many threads are; ``one``: seconds on one thread before and after."""
    return sum(one) / 2 / many


class Machine:
    """``count`` threads of Python's, each with one of torch's."""

    def __init__(self, count: int, dtype: torch.dtype, products: int = 20) -> None:
        self.products, self.factors = products, torch.randn(2, 1024, 1024).to(dtype).unbind()
        self.threads = [ThreadPoolExecutor(1) for _ in range(count)]
        for thread in self.threads:
            thread.submit(torch.set_num_threads, 1).result()
            thread.submit(self._multiply).result()

    def gains(self) -> float:
        """As `gained`, of the products; `products` for each thread."""
        before = seconds(self._together, 1)
        many = seconds(self._together, len(self.threads))
        after = seconds(self._together, 1)
        return gained((before, after), many) * len(self.threads)

    def _together(self, count: int) -> None:
        for running in [thread.submit(self._multiply) for thread in self.threads[:count]]:
            running.result()

    def _multiply(self) -> None:
        for _ in range(self.products):
            torch.mm(*self.factors)
