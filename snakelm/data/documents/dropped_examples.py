"""A few documents for each reason why documents were dropped: to look at, not to count.

They are those with the least hash of text, seed and purpose, so they come from all over the corpus
and are the same however it was read.
"""

import heapq
from typing import Any

import pyarrow as pa

from ..split import mixed

__all__ = ["Examples"]

EACH, SHOWN = 5, 300  # documents a reason, characters of each


class Examples:
    """Collects examples; `found` gives them by reason."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._chosen: dict[str, list[tuple[int, int, dict[str, Any]]]] = {}
        self._met = 0

    def add(self, reason: str, batch: pa.RecordBatch, row: int, **more: Any) -> None:
        """A document (a row of SCHEMA) that was dropped for ``reason``, with what ``more`` says of
        it.
        """
        chosen = self._chosen.setdefault(reason, [])
        order = int(mixed(batch.column("id").slice(row, 1).to_numpy(), self.seed, "examples")[0])
        if len(chosen) < EACH or order < chosen[-1][0]:
            shown = {
                name: batch.column(name)[row].as_py()
                for name in ("source", "id", "origin_file", "origin_row")
            }
            self._met += 1  # of equal texts the first met comes first
            chosen.append(
                (
                    order,
                    self._met,
                    {**shown, **more, "text": batch.column("text")[row].as_py()[:SHOWN]},
                )
            )
            chosen[:] = heapq.nsmallest(EACH, chosen)

    def found(self) -> dict[str, list[dict[str, Any]]]:
        """Reason → documents, at most five."""
        return {
            reason: [shown for *_, shown in chosen]
            for reason, chosen in sorted(self._chosen.items())
        }
