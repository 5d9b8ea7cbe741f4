"""Values made on a thread, one ahead of who takes them: reading, encoding and writing overlap, as
each spends its time in native code that lets other threads run.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

__all__ = ["ahead"]

T = TypeVar("T")
END: Any = object()  # what a spent iterator gives


@contextmanager
def ahead(values: Iterator[T], threads: int) -> Iterator[Iterator[T]]:
    """Yields ``values`` as an iterator that computes the next one on a thread of its own; with one
    of the ``threads`` only, as they are. An error comes out where its value would have.
    """
    if threads < 2:
        yield values
        return

    with ThreadPoolExecutor(1, "ahead") as pool:
        yield _taken(values, pool)


def _taken(values: Iterator[T], pool: ThreadPoolExecutor) -> Iterator[T]:
    coming = pool.submit(next, values, END)
    while (value := coming.result()) is not END:
        coming = pool.submit(next, values, END)
        yield value
