"""Documents whose text a check has changed: a new text has an id of its own.

Deduplication comes before, on fewer and cheaper terms: what is near goes with it, and what is
masked or judged needn't be twice. Documents that differed in nothing but what a check took out or
masked are equal after it, so of those it keeps the first, as deduplication would have.
"""

import pyarrow as pa

from ..split import document_ids

__all__ = ["COPY", "NewTexts", "with_texts"]

COPY = "equal to another since it was changed"


class NewTexts:
    """The new texts so far, by their ids; ``exact``: whether exact duplicates are dropped at all
    (`deduplicate.exact`). Takes some 70 bytes for each text that was changed.
    """

    def __init__(self, exact: bool) -> None:
        self.exact = exact
        self._seen: set[int] = set()

    def again(self, text: str) -> bool:
        """Whether this new text is to be dropped, for there was an equal one."""
        number = int(document_ids([text.encode()])[0])
        copied = self.exact and number in self._seen
        self._seen.add(number)
        return copied


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
