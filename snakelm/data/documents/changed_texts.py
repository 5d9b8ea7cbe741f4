"""Documents whose text a check has changed: a new text has an id of its own."""

import pyarrow as pa

from ..split import document_ids

__all__ = ["with_texts"]


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
