"""The loop of every check that leaves documents out: read them, keep some, write those."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from ...errors import UserError
from ...log import Log
from .table import DocumentWriter, open_documents, read_documents, slices

__all__ = ["write_kept"]


def write_kept(
    documents: Path,
    output: Path,
    kept: Callable[[pa.RecordBatch], pa.RecordBatch],
    nothing_left: Callable[[int], str],
    log: Log,
    *,
    schema: pa.Schema | None = None,
    slice_bytes: int | None = None,
    dropped: str | None = None,
) -> tuple[int, DocumentWriter]:
    """Writes to ``output`` what ``kept`` leaves of each batch; gives how many documents there were,
    and the writer with the counts of those that stayed.

    ``schema``: of ``output``, that of ``documents`` for None. ``slice_bytes``: most text that
    ``kept`` sees at a time, a batch for None. ``dropped``: the word for what went, where progress
    counts that; None counts what stays. UserError, with the words that ``nothing_left`` has for so
    many documents, where all go.
    """
    with open_documents(documents) as file:
        total, own = file.num_rows, file.schema

    with (
        log.progress(total, "documents") as bar,
        DocumentWriter(output, schema or own) as writer,
    ):
        done = 0
        for batch in read_documents(documents):
            for part in slices(batch, slice_bytes) if slice_bytes else (batch,):
                writer.append(kept(part))
                done += part.num_rows
                stays = writer.documents
                bar.update(done, f"{done - stays:,} {dropped}" if dropped else f"{stays:,} kept")

        if not writer.documents:
            raise UserError(f"{documents}: {nothing_left(total)}")
    return total, writer
