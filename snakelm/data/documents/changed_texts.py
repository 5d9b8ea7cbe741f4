"""Documents whose text a check has changed: a new text has an id of its own.

Deduplication comes before, on fewer and cheaper terms: what is near goes with it, and what is
masked or judged needn't be twice. Documents that differed in nothing but what a check took out or
masked are equal after it, so of those it keeps the first, as deduplication would have.
"""

import numpy as np
import pyarrow as pa

from ..split import document_ids

__all__ = ["COPY", "NewTexts", "with_texts"]

COPY = "equal to another since it was changed"


class NewTexts:
    """The new texts so far, by their ids; ``exact``: whether exact duplicates are dropped at all
    (`deduplicate.exact`). A rule may change every document of a corpus, so ids are kept in sorted
    arrays, 8 bytes each, of which each is more than twice as long as the next.
    """

    def __init__(self, exact: bool) -> None:
        self.exact = exact
        self._seen: list[np.ndarray] = []

    def copies(self, changed: dict[int, str]) -> set[int]:
        """Those rows of ``changed``, row → new text, whose text was there before."""
        if not changed or not self.exact:
            return set()

        ids = document_ids(text.encode() for text in changed.values())
        _, first = np.unique(ids, return_index=True)
        again = np.ones(ids.size, bool)
        again[first] = False
        for seen in self._seen:
            at = np.minimum(np.searchsorted(seen, ids), seen.size - 1)
            again |= seen[at] == ids

        self._add(np.sort(ids[~again]))
        return {row for row, copied in zip(changed, again.tolist(), strict=True) if copied}

    def _add(self, ids: np.ndarray) -> None:
        while self._seen and self._seen[-1].size <= 2 * ids.size:
            ids = np.sort(np.concatenate([self._seen.pop(), ids]))
        if ids.size:
            self._seen.append(ids)


def with_texts(
    batch: pa.RecordBatch, texts: list[str], kept: list[int], changed: dict[int, str]
) -> pa.RecordBatch:
    """The rows ``kept`` of the batch; those ``changed`` with their new text and its id."""
    result = batch if len(kept) == batch.num_rows else batch.take(pa.array(kept, pa.int64()))
    if not changed:
        return result

    new = pa.array([changed.get(row, texts[row]) for row in kept], pa.large_string())
    ids = result.column("id").to_numpy().copy()
    places = [place for place, row in enumerate(kept) if row in changed]
    ids[places] = document_ids(changed[kept[place]].encode() for place in places)

    replaced = {"text": new, "id": pa.array(ids)}
    columns = [replaced.get(name, result.column(name)) for name in batch.schema.names]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)
