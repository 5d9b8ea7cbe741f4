"""A few documents for each reason why documents were dropped: to look at, not to count.

They are those with the smallest hash of text, seed and purpose, so they come from all over the
corpus and are the same however it was read.
"""

import heapq
from typing import Any

import pyarrow as pa

from ..split import mixed

__all__ = ["DroppedExamples"]

EACH = 5  # documents a reason
SHOWN = 300  # characters of each
ORIGIN = ("source", "id", "origin_file", "origin_row")


class DroppedExamples:
    """Collects examples; `by_reason` returns them."""

    def __init__(self, seed: int, shown: int = SHOWN) -> None:
        self.seed = seed
        self.shown = shown  # characters of a text; with 0 it is left out, and only its place given
        # Reason → (hash, order of arrival, example), ascending. The order of arrival breaks the tie
        # of equal texts: the first stays in front, and dictionaries are never compared.
        self._smallest: dict[str, list[tuple[int, int, dict[str, Any]]]] = {}
        self._arrivals = 0

    def add(self, reason: str, batch: pa.RecordBatch, row: int, **more: object) -> None:
        """A document (a row of SCHEMA) that was dropped for ``reason``; ``more`` is shown with
        it.
        """
        smallest = self._smallest.setdefault(reason, [])
        key = int(mixed(batch.column("id").slice(row, 1).to_numpy(), self.seed, "examples")[0])
        if len(smallest) == EACH and key >= smallest[-1][0]:
            return

        self._arrivals += 1
        origin = {name: batch.column(name)[row].as_py() for name in ORIGIN}
        example = {**origin, **more}
        if self.shown:
            example["text"] = batch.column("text")[row].as_py()[: self.shown]
        smallest.append((key, self._arrivals, example))
        smallest[:] = heapq.nsmallest(EACH, smallest)

    def by_reason(self) -> dict[str, list[dict[str, Any]]]:
        """Reason → documents, at most five."""
        return {
            reason: [example for *_, example in smallest]
            for reason, smallest in sorted(self._smallest.items())
        }
